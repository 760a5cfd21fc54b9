//! Flags that several commands share.

/// One option of `serve`, as `NAME=VALUE`.
///
/// # Errors
/// It has no such shape.
pub(crate) fn parse(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("allowed is NAME=VALUE".to_owned()),
    }
}
