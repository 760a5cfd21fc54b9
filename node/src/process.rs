//! What a node asks of the operating system: to be killed with its parent, and enough open files.

use std::io;

/// Arranges that this process is killed when the thread that started it ends, so that not even a killed
/// harness leaves nodes behind.
///
/// # Errors
/// When the system refuses, or the parent has ended already.
#[cfg(target_os = "linux")]
pub(crate) fn die_with_parent() -> io::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};

    let parent = getppid();
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // A parent that ended between the two calls sends nothing any more: then this process was given another. One that ended before
    // the first cannot be told from whoever took this process over.
    if parent.is_none() || getppid() != parent {
        return Err(io::Error::other("the process that started this one has ended"));
    }
    Ok(())
}

/// There is no such service here; the configuration refuses to ask for it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn die_with_parent() -> io::Result<()> {
    Err(io::Error::other("there is no way to die with the parent on this system"))
}

/// Descriptors for anything but connections of clients: those of peers, the store's files, the logs.
const OTHER_FILES: u64 = 2_048;

/// Lets this process open as many files as it may, and says so where that is too few for its connections: what is configured
/// for people is often a fraction of what programs may ask for.
pub(crate) fn allow_open_files(connections: usize) {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let before = getrlimit(Resource::Nofile);
    let needed = connections as u64 + OTHER_FILES;
    let mut limit = before;
    // Where there is no limit but the kernel's own, it refuses what is more than that.
    limit.current = Some(limit.maximum.unwrap_or(needed));
    let allowed = match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.current,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files stays as it is");
            before.current
        }
    };
    if let Some(allowed) = allowed.filter(|allowed| *allowed < needed) {
        tracing::warn!(
            allowed,
            needed,
            connections,
            "this process may open fewer files than its connections need: raise the limit, or allow fewer connections"
        );
    }
}
