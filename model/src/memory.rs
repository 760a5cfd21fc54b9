//! How much memory this process takes.

use std::time::{Duration, Instant};

/// The longest time between two looks at the allocator, and so the longest peak that is missed.
const EVERY: Duration = Duration::from_secs(1);
/// It is looked when so much time has passed as a share of all: short explorations are looked at often, long ones seldom.
const SHARE: u32 = 4;

/// How much more of the heap is in use than when it was begun.
pub(crate) struct Growth {
    begun: Instant,
    before: Option<u64>,
    peak: Option<u64>,
    looked: Instant,
}

impl Growth {
    pub(crate) fn begun() -> Self {
        let (begun, before) = (Instant::now(), in_use_bytes());
        Self { begun, before, peak: before, looked: begun }
    }

    /// Looks if it is time to.
    pub(crate) fn look(&mut self) {
        let now = Instant::now();
        if now - self.looked >= EVERY.min((now - self.begun) / SHARE) {
            self.looked = now;
            self.peak = self.peak.max(in_use_bytes());
        }
    }

    /// Looks, and tells the peak of all looks, in bytes; nothing where the allocator does not tell.
    pub(crate) fn up_to_now(mut self) -> Option<u64> {
        self.peak = self.peak.max(in_use_bytes());
        Some(self.peak?.saturating_sub(self.before?))
    }
}

/// The bytes that the program has asked the allocator for and not given back. Unlike resident memory it does not hide in
/// what earlier explorations left.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn in_use_bytes() -> Option<u64> {
    use malloc_info::info::{SystemType, TotalType};

    let info = malloc_info::malloc_info().ok()?;
    let total = |kind: &dyn Fn(&TotalType) -> bool| -> usize {
        info.total.iter().filter(|total| kind(&total.r#type)).map(|total| total.size).sum()
    };
    let current = |system: &&malloc_info::info::System| system.r#type == SystemType::Current;
    let held: usize = info.system.iter().filter(current).map(|system| system.size).sum();
    let mapped = total(&|kind| *kind == TotalType::Mmap);
    let free = total(&|kind| matches!(kind, TotalType::Fast | TotalType::Rest));
    Some((held + mapped).saturating_sub(free) as u64)
}

/// Nothing: only glibc tells.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn in_use_bytes() -> Option<u64> {
    None
}

/// The resident memory of this process, where `/proc` tells.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024)
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_told_and_what_was_given_back_before_does_not_hide_it() {
        const MANY: usize = 500_000;
        let boxes = || (0..MANY).map(|number| Box::new([number; 8])).collect::<Vec<_>>();
        drop(boxes());
        let growth = Growth::begun();
        let held = boxes();
        let grown = growth.up_to_now().expect("glibc tells") as usize;
        let asked = held.len() * size_of::<[usize; 8]>() + held.capacity() * size_of::<usize>();
        // The allocator adds sixteen bytes to each at most; other tests of this process allocate meanwhile, and far less.
        assert!(grown > asked * 9 / 10 && grown < asked * 3 / 2, "{grown} of {asked}");
    }
}
