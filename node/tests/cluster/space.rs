//! A disk that fills up: a real small file system under one of three nodes.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cartwheel_client::service::Status;
use cartwheel_node::EngineKind;
use cartwheel_protocol::request::{Refusal, Request, Response};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::cluster::{Cluster, PATIENCE, add, cancel, get, get_local, put};

const DISK_MIB: u64 = 96;
const RESERVE_MIB: u64 = 16;
/// How much the ballast leaves free.
const FREE_MIB: u64 = 24;

/// Where small disks are mounted: a node that fails ends this process, which drops nothing then.
static MOUNTED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn mounted() -> MutexGuard<'static, Vec<PathBuf>> {
    MOUNTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Unmounts every small disk of this process, which is about to end.
pub(crate) fn unmount_all() {
    for path in mounted().drain(..) {
        // Nothing can be done where this fails.
        let _: Result<(), rustix::io::Errno> = unmount(&path, UnmountFlags::DETACH);
        let _: std::io::Result<()> = fs::remove_dir(&path);
    }
}

/// A file system in memory, mounted as long as this lives.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` after saying why there is none. libtest shows nothing that a passing test prints, so it is written
    /// past it.
    fn mount_or_skip() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let size = format!("size={DISK_MIB}m");
        let size = std::ffi::CString::new(size).expect("no zero byte");
        match mount("cartwheel", folder.path(), "tmpfs", MountFlags::empty(), Some(size.as_c_str()))
        {
            Ok(()) => {
                mounted().push(folder.path().to_owned());
                Some(Self(folder))
            }
            Err(why) => {
                let said = format!("skipped: a small file system cannot be mounted here: {why}\n");
                std::io::stderr().write_all(said.as_bytes()).expect("standard error takes it");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn free_mib(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.path()).expect("it is mounted");
        (stat.f_bavail * stat.f_frsize) >> 20
    }

    /// Takes all but [`FREE_MIB`] until the file is removed.
    fn fill(&self) {
        let ballast = vec![1; 1 << 20];
        let mut file = fs::File::create(self.path().join("ballast")).expect("a file");
        while self.free_mib() > FREE_MIB {
            file.write_all(&ballast).expect("there is space");
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.path().join("ballast")).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        mounted().retain(|path| path != self.path());
        // Whoever failed may still have files open there.
        let unmounted = unmount(self.path(), UnmountFlags::DETACH);
        assert!(unmounted.is_ok() || std::thread::panicking(), "{unmounted:?}");
    }
}

fn is_short(status: &Status) -> bool {
    status.counts.iter().any(|(name, count)| name == "short-of-space" && *count == 1)
}

fn all_three(request: Request) -> Request {
    Request { quorum: Some(3), ..request }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_takes_copies_and_recovers() {
    let Some(disk) = SmallDisk::mount_or_skip() else { return };
    let mut cluster = Cluster::start_with(3, EngineKind::Sled, |number, config| {
        if number == 0 {
            config.data = disk.path().join("n1");
            config.free_space_reserve_mib = Some(RESERVE_MIB);
        }
    })
    .await;
    let (short, other) = (cluster.client(0).await, cluster.client(1).await);
    short.write(&add("cart", 1, "milk", 1)).await;
    disk.fill();

    // Clients fill the rest; the last write that was taken is on all three nodes.
    let (full, value) = (Response::Refused(Refusal::DiskFull), vec![7; 64 << 10]);
    let mut taken = 0;
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < PATIENCE, "{taken} writes, {} MiB free", disk.free_mib());
        let response = short.answer(&all_three(put(&format!("k{taken}"), &value))).await;
        if response == full {
            break;
        }
        assert!(matches!(response, Response::Written { .. }), "{response}");
        taken += 1;
    }
    let left = disk.free_mib();
    assert!(taken > 10 && left < RESERVE_MIB && left > RESERVE_MIB / 2, "{taken}, {left} MiB left");
    assert!(is_short(&cluster.node(0).status()) && !is_short(&cluster.node(1).status()));

    // Nothing of a refused write is stored, and a cancellation is a write.
    assert_eq!(short.answer(&put("refused", b"v")).await, full);
    assert_eq!(short.answer(&cancel("cart", 1)).await, full);
    assert_eq!(other.values(&get("refused")).await, Vec::<Vec<u8>>::new());
    assert_eq!(short.cart("cart").await, [("milk".into(), 1)]);

    // What it holds is read, and what its peers send is taken and acknowledged.
    assert_eq!(short.values(&get(&format!("k{}", taken - 1))).await, [&value[..]]);
    other.write(&all_three(put("copied", b"1"))).await;
    assert_eq!(short.values(&get_local("copied")).await, [b"1"]);
    other.write(&all_three(cancel("cart", 1))).await;
    assert_eq!(short.cart("cart").await, []);

    // So it is after a restart, from the first request on.
    cluster.kill(0).await;
    cluster.restart(0).await.expect("the store is sound");
    let short = cluster.client(0).await;
    assert_eq!(short.answer(&put("refused", b"v")).await, full);
    assert_eq!(short.values(&get_local("copied")).await, [b"1"]);

    disk.make_room();
    cluster.wait_for("there is space again", |status| !is_short(status)).await;
    short.write(&put("after", b"2")).await;
    assert_eq!(other.values(&get("after")).await, [b"2"]);
    for number in 0..3 {
        cluster.kill(number).await;
    }
}

#[tokio::test]
async fn a_node_short_of_space_takes_a_hint_and_hands_it_over() {
    let Some(disk) = SmallDisk::mount_or_skip() else { return };
    let mut cluster = Cluster::start_with(4, EngineKind::Sled, |number, config| {
        // Nothing but hand-off is to bring a copy.
        config.anti_entropy_every_ms = 0;
        config.handoff_every_ms = 20;
        if number == 0 {
            config.data = disk.path().join("n1");
            config.free_space_reserve_mib = Some(FREE_MIB + RESERVE_MIB);
        }
    })
    .await;
    let (short, other) = (cluster.client(0).await, cluster.client(1).await);
    // With four nodes whoever does not own a key is its fallback.
    let mut key = String::new();
    for number in 0.. {
        key = format!("k{number}");
        other.write(&all_three(put(&key, b"1"))).await;
        if short.values(&get_local(&key)).await.is_empty() {
            break;
        }
    }
    disk.fill();
    let first = |status: &Status| status.name == "n1";
    cluster.wait_for("n1 is short of space", |status| !first(status) || is_short(status)).await;

    cluster.kill(3).await;
    other.write(&all_three(put(&key, b"2"))).await;
    let hint = short.values(&get_local(&key)).await;
    assert!(hint.contains(&b"2".to_vec()), "n1 holds the slot of n4: {hint:?}");

    cluster.restart(3).await.expect("the store is sound");
    let back = cluster.client(3).await;
    let began = Instant::now();
    while !short.values(&get_local(&key)).await.is_empty() {
        assert!(began.elapsed() < PATIENCE, "n1 does not hand over");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let owned = back.values(&get_local(&key)).await;
    assert!(owned.contains(&b"2".to_vec()), "n4 has it: {owned:?}");
    assert!(is_short(&cluster.node(0).status()), "all the time");
    for number in 0..4 {
        cluster.kill(number).await;
    }
}
