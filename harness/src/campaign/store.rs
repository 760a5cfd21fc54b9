//! Where a campaign leaves its results: `store/<name>/<time>/`, and the link `store/latest` to the
//! newest.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use cartwheel_checker::{read_history, write_edn};
use serde::Serialize;

/// The folder of one campaign.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    store: PathBuf,
}

impl Folder {
    /// Makes a new folder under `store` and points `store/latest` at it.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(store: &Path, name: &str) -> anyhow::Result<Self> {
        let of_name = store.join(name);
        fs::create_dir_all(&of_name).with_context(|| of_name.display().to_string())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Two campaigns of one name within a millisecond get two folders.
        for later in 0..1_000 {
            let path = of_name.join(basic_date_time(now + Duration::from_millis(later)));
            match fs::create_dir(&path) {
                Ok(()) => {
                    let path = path.canonicalize()?;
                    let folder = Self { path, store: store.canonicalize()? };
                    folder.link().context("store/latest")?;
                    return Ok(folder);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).context(path.display().to_string()),
            }
        }
        anyhow::bail!("{} has no room for another folder", of_name.display())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a value as indented JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> anyhow::Result<()> {
        let path = self.join(name);
        let mut text = serde_json::to_string_pretty(value)?;
        text.push('\n');
        fs::write(&path, text).with_context(|| path.display().to_string())
    }

    /// Writes `history.edn` beside `history.jsonl`.
    ///
    /// # Errors
    /// The history cannot be read, or the file not be written.
    pub fn write_edn(&self) -> anyhow::Result<()> {
        let events = read_history(self.join("history.jsonl"))?;
        let mut file = BufWriter::new(File::create(self.join("history.edn"))?);
        write_edn(&events, &mut file)?;
        Ok(file.flush()?)
    }

    /// Replaces the link in one step, so that there always is one.
    #[cfg(unix)]
    fn link(&self) -> io::Result<()> {
        let target = self.path.strip_prefix(&self.store).unwrap_or(&self.path);
        let beside = self.store.join(format!(".latest-{}", std::process::id()));
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        std::os::unix::fs::symlink(target, &beside)?;
        fs::rename(&beside, self.store.join("latest"))
    }
}

/// A moment as `20261120T080734.766Z`, in UTC.
fn basic_date_time(since_1970: Duration) -> String {
    let (days, seconds) = (since_1970.as_secs() / 86_400, since_1970.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let millis = since_1970.subsec_millis();
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{millis:03}Z")
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    for (month, length) in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].iter().enumerate()
    {
        if days < *length {
            return (year, month as u64 + 1, days + 1);
        }
        days -= length;
    }
    (year, 12, 31)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Folder, basic_date_time};

    #[test]
    fn times_are_written_as_jepsen_writes_them() {
        let at = |seconds, millis| {
            basic_date_time(Duration::from_secs(seconds) + Duration::from_millis(millis))
        };
        assert_eq!(at(0, 0), "19700101T000000.000Z");
        assert_eq!(at(951_782_399, 5), "20000228T235959.005Z");
        assert_eq!(at(951_782_400, 0), "20000229T000000.000Z");
        assert_eq!(at(1_795_162_054, 766), "20261120T080734.766Z");
        assert_eq!(at(1_735_689_599, 0), "20241231T235959.000Z");
    }

    #[test]
    fn the_link_leads_to_the_newest() {
        let store = tempfile::tempdir().expect("a folder");
        let names: Vec<_> = (0..3)
            .map(|_| Folder::create(store.path(), "cart").expect("a folder of its own"))
            .collect();
        names[2].write_json("results.json", &[1]).expect("written");
        let latest = store.path().join("latest").join("results.json");
        assert_eq!(std::fs::read_to_string(latest).expect("through the link"), "[\n  1\n]\n");
        assert_ne!(names[0].path(), names[1].path());
    }
}
