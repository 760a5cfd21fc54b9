//! Files and folders that are still there after a power loss.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Writes `text` to `path` so that a crash leaves the old file or the new one.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let beside = beside(path);
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder(parent(path))
}

/// Where a file is written before it gets its name: what a crash may leave behind.
pub(crate) fn beside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// Makes a folder with all above it. A file that is made durable in it is lost with it, unless each folder that was made is
/// durable in the one above.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let there = path.ancestors().find(|folder| folder.exists()).map(Path::to_owned);
    fs::create_dir_all(path)?;
    for folder in path.ancestors().skip(1) {
        sync_folder(folder)?;
        if Some(folder) == there.as_deref() {
            break;
        }
    }
    Ok(())
}

/// Makes durable which entries a folder has.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let here = path.as_os_str().is_empty();
    File::open(if here { Path::new(".") } else { path })?.sync_all()
}

/// The folder in which a path lies.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_made_with_all_above_them_and_files_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("a/b/c");
        create_folder(&deep).expect("it is made");
        create_folder(&deep).expect("it is there");
        let file = deep.join("name.toml");
        for text in ["one", "two"] {
            write(&file, text).expect("it is written");
            assert_eq!(fs::read_to_string(&file).expect("it is there"), text);
        }
        assert!(!beside(&file).exists());
        create_folder(&file).expect_err("a file is in the way");
    }
}
