//! What a checker concludes, and how conclusions are put together.

use serde::{Serialize, Serializer};

/// A checker's conclusion about a history. `Unknown` is never as good as `Valid`: it says that the
/// history cannot show whether the promise was kept (nothing was read at the end, a line is
/// damaged).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verdict {
    /// The history keeps every promise that the checker judges. Written `true`.
    Valid,
    /// At least one promise was broken. Written `false`.
    Invalid,
    /// The history does not tell. Written `"unknown"`.
    Unknown,
}

impl Verdict {
    /// One verdict for several: `Invalid` beats `Unknown`, which beats `Valid`. No verdict at all
    /// is `Unknown`, because nothing was judged.
    pub fn compose(verdicts: impl IntoIterator<Item = Self>) -> Self {
        verdicts.into_iter().reduce(Self::and).unwrap_or(Self::Unknown)
    }

    /// The worse of two verdicts, by the same priority as [`Verdict::compose`].
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Invalid, _) | (_, Self::Invalid) => Self::Invalid,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Valid, Self::Valid) => Self::Valid,
        }
    }

    /// The exit code of a command that ends with this verdict, as Jepsen has them: 0 valid,
    /// 1 invalid, 2 unknown.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Valid => 0,
            Self::Invalid => 1,
            Self::Unknown => 2,
        }
    }

    /// `Valid` for true, `Invalid` for false.
    pub fn from_bool(valid: bool) -> Self {
        if valid { Self::Valid } else { Self::Invalid }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Unknown => "unknown",
        })
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Valid => serializer.serialize_bool(true),
            Self::Invalid => serializer.serialize_bool(false),
            Self::Unknown => serializer.serialize_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{self, Invalid, Unknown, Valid};

    #[test]
    fn false_beats_unknown_beats_true() {
        assert_eq!(Verdict::compose([Valid, Unknown, Invalid, Valid]), Invalid);
        assert_eq!(Verdict::compose([Valid, Unknown, Valid]), Unknown);
        assert_eq!(Verdict::compose([Valid, Valid]), Valid);
        assert_eq!(Verdict::compose([]), Unknown, "nothing judged is not valid");
    }

    #[test]
    fn verdicts_are_written_and_exit_as_jepsen_does() {
        let written = [Valid, Invalid, Unknown].map(|v| serde_json::to_string(&v).expect("json"));
        assert_eq!(written, ["true", "false", "\"unknown\""]);
        assert_eq!([Valid, Invalid, Unknown].map(Verdict::exit_code), [0, 1, 2]);
    }
}
