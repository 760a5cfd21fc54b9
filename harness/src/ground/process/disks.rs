//! Disks that can be full: a file system of its own, in memory, for each place.
//!
//! A full disk is one that has become smaller: its file system is mounted anew with a limit a little above what is
//! on it, and with the old limit at the end. What nodes see (`statvfs`, and in the end `ENOSPC`) is the kernel's answer.
//! Mounts are made in a namespace of the campaign's own, so that they end with its last process, however it
//! ends. Where this is not allowed, there is no such fault: a folder on the machine's own disk cannot be filled without
//! harm to others.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::statvfs;

/// What nodes on such disks keep in reserve, in MiB.
pub const RESERVE_MIB: u64 = 128;
/// How much a full disk still takes, in MiB: less than the reserve, and more than peers send while it is full.
const LEFT_MIB: u64 = 96;
/// The limit of a disk that is not full, in MiB. Memory is taken only for what is on it.
const WHOLE_MIB: u64 = 8 << 10;

/// Lets this process mount file systems that nobody else sees. To be called once, before the process has a second
/// thread: those that it starts later, and its child processes, see them too.
///
/// # Errors
/// It is not allowed to.
pub fn make_private() -> anyhow::Result<()> {
    sys::make_private().context("mounting needs root")
}

/// A disk of its own for a node.
#[derive(Debug)]
pub struct Disk {
    mounted_at: PathBuf,
}

impl Disk {
    /// Makes the folder and mounts a disk there.
    ///
    /// # Errors
    /// The system does not.
    pub fn mount(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        sys::mount(folder, WHOLE_MIB << 20)
            .with_context(|| format!("no disk can be mounted at {}", folder.display()))?;
        Ok(Self { mounted_at: folder.to_owned() })
    }

    /// Where the node's store is to be: a folder that can be removed.
    pub fn store(&self) -> PathBuf {
        self.mounted_at.join("store")
    }

    /// Leaves less space than a node's reserve, or as much as at the beginning.
    ///
    /// # Errors
    /// The system does not.
    pub fn set_full(&self, full: bool) -> anyhow::Result<()> {
        let at = &self.mounted_at;
        let now = statvfs(at).with_context(|| at.display().to_string())?;
        let used = (now.f_blocks - now.f_bfree) * now.f_frsize;
        let bytes = if full { used + (LEFT_MIB << 20) } else { WHOLE_MIB << 20 };
        sys::resize(at, bytes)
            .with_context(|| format!("the disk at {} keeps its size", at.display()))
    }

    /// Unmounts it and leaves what was on it in its place, for whoever wants to look.
    ///
    /// # Errors
    /// The system does not, or a file cannot be copied.
    pub fn keep(self) -> anyhow::Result<()> {
        let at = &self.mounted_at;
        let kept = at.with_extension("kept");
        copy(at, &kept).with_context(|| format!("{} cannot be copied", at.display()))?;
        sys::unmount(at).with_context(|| at.display().to_string())?;
        fs::remove_dir(at).with_context(|| at.display().to_string())?;
        fs::rename(&kept, at).with_context(|| kept.display().to_string())
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&from, &to)?;
        } else if kind.is_file() {
            fs::copy(&from, &to)?;
        } else {
            bail!("{} is no file", from.display());
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
mod sys {
    use std::ffi::CString;
    use std::io;
    use std::path::Path;

    use rustix::mount::{
        MountFlags, MountPropagationFlags, UnmountFlags, mount_change, mount_remount,
    };
    use rustix::thread::UnshareFlags;

    pub(super) fn make_private() -> io::Result<()> {
        #[expect(deprecated, reason = "its twin is unsafe for flags that tear file tables apart")]
        rustix::thread::unshare(UnshareFlags::NEWNS)?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        Ok(())
    }

    pub(super) fn mount(at: &Path, bytes: u64) -> io::Result<()> {
        let size = CString::new(size(bytes))?;
        let flags = MountFlags::empty();
        rustix::mount::mount("cartwheel", at, "tmpfs", flags, Some(size.as_c_str()))?;
        Ok(())
    }

    pub(super) fn resize(at: &Path, bytes: u64) -> io::Result<()> {
        mount_remount(at, MountFlags::empty(), size(bytes))?;
        Ok(())
    }

    pub(super) fn unmount(at: &Path) -> io::Result<()> {
        rustix::mount::unmount(at, UnmountFlags::DETACH)?;
        Ok(())
    }

    fn size(bytes: u64) -> String {
        format!("size={bytes}")
    }
}

/// Elsewhere nothing is mounted.
#[cfg(not(target_os = "linux"))]
mod sys {
    use std::io;
    use std::path::Path;

    pub(super) fn make_private() -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn mount(_: &Path, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn resize(_: &Path, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn unmount(_: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
