//! What a node asks of the operating system: to be killed with its parent.

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
