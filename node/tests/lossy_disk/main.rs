//! Power loss: everything that the store acknowledged is there afterwards, and the barrier is why.
//!
//! The store runs on a [file system that forgets](disk) what was not fsynced. Two shards write through
//! overlays and the committer; at a random moment the power fails; the store is opened on what is left and
//! must hold, for each shard, exactly the steps up to some number that is not below the acknowledged one.
//! Needs root and /dev/fuse; elsewhere the tests say so and pass.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first error")]

mod disk;
mod image;
mod random;
mod shards;

use std::fs::{self, File};
use std::io::Write;

use bytes::Bytes;
use cartwheel_node::engine::{Batch, Engine, Options, SledEngine};

use self::disk::LossyDisks;
use self::shards::Lives;

const POWER_LOSSES: u64 = 50;
/// More changes than the creation of a store makes on the disk.
const MAX_CHANGES: u64 = 300;

/// The mounted file system, or `None` after saying why there is none. libtest shows nothing that a passing
/// test prints, so this goes to the standard error as such.
fn mount_or_skip() -> Option<LossyDisks> {
    match LossyDisks::mount() {
        Ok(disks) => Some(disks),
        Err(reason) => {
            let mut terminal = std::io::stderr();
            writeln!(terminal, "skipped: no lossy disk: {reason}").unwrap();
            None
        }
    }
}

#[test]
fn the_disk_keeps_what_was_synced_and_forgets_the_rest() {
    let Some(disks) = mount_or_skip() else { return };
    let mut kept_unsynced = 0;
    for seed in 0..40 {
        let folder = disks.format("before");
        fs::create_dir(folder.join("inner")).unwrap();
        fs::write(folder.join("synced"), [1; 10_000]).unwrap();
        let synced = File::options().write(true).open(folder.join("synced")).unwrap();
        synced.sync_data().unwrap();
        File::open(&folder).unwrap().sync_all().unwrap();
        (&synced).write_all(&[2; 5_000]).unwrap();
        fs::write(folder.join("inner/unsynced name"), b"x").unwrap();
        File::open(folder.join("inner/unsynced name")).unwrap().sync_all().unwrap();
        fs::rename(folder.join("synced"), folder.join("renamed")).unwrap();
        assert_eq!(fs::read(folder.join("renamed")).unwrap()[..5_000], [2; 5_000]);

        let after = disks.power_loss("before", "after", seed);
        let synced = ["synced", "renamed"].map(|name| fs::read(after.join(name)).ok());
        let ([Some(bytes), None] | [None, Some(bytes)]) = &synced else { panic!("{synced:?}") };
        assert_eq!(bytes[5_000..], [1; 5_000], "what was synced and not overwritten");
        assert!(bytes[..5_000].chunks(512).all(|sector| sector.iter().all(|b| *b == sector[0])));
        kept_unsynced += usize::from(bytes[..5_000].contains(&2));
        kept_unsynced += usize::from(after.join("inner/unsynced name").exists());
        disks.discard("before");
        disks.discard("after");
    }
    assert!((10..70).contains(&kept_unsynced), "{kept_unsynced} of 80 were kept by chance");
}

#[test]
fn fifty_power_losses_keep_everything_acknowledged() {
    let Some(disks) = mount_or_skip() else { return };
    let mut lives = Lives::begin(&disks, Options { cache_bytes: 8 << 20, ..Options::default() });
    for seed in 0..POWER_LOSSES {
        if let Err(loss) = lives.live_until_power_loss(seed) {
            panic!("power loss {seed}: {loss}");
        }
    }
}

#[test]
fn without_the_barrier_something_is_lost() {
    let Some(disks) = mount_or_skip() else { return };
    let options = Options { cache_bytes: 8 << 20, fdatasync: false };
    let mut lives = Lives::begin(&disks, options);
    let lost = (0..POWER_LOSSES).any(|seed| lives.live_until_power_loss(seed).is_err());
    assert!(
        lost,
        "{POWER_LOSSES} power losses without fdatasync lost nothing: the disk is not lossy"
    );
}

#[test]
fn what_a_killed_process_left_unsynced_is_durable_once_it_is_read() {
    let Some(disks) = mount_or_skip() else { return };
    for seed in 0..5 {
        let folder = disks.format("before");
        let mut batch = Batch::new();
        batch.write(Bytes::from("k"), Some(Bytes::from("v")));
        let killed = Options { fdatasync: false, ..Options::default() };
        SledEngine::open_with(&folder.join("store"), &killed).unwrap().commit(batch).unwrap();

        let next = SledEngine::open(&folder.join("store")).unwrap();
        assert_eq!(next.read(b"k").unwrap().as_deref(), Some(b"v".as_ref()));
        let after = disks.power_loss("before", "after", seed);
        let engine = SledEngine::open(&after.join("store")).unwrap();
        assert_eq!(engine.read(b"k").unwrap().as_deref(), Some(b"v".as_ref()));
        drop((next, engine));
        disks.discard("before");
        disks.discard("after");
    }
}

#[test]
fn a_creation_that_loses_power_leaves_no_store_or_a_good_one() {
    let Some(disks) = mount_or_skip() else { return };
    for number in 1..MAX_CHANGES {
        let folder = disks.format("before");
        disks.power_loss_before_change(number, "before", "after", number);
        let engine = SledEngine::open(&folder.join("store")).unwrap();
        if disks.cancel_power_loss() {
            assert!(number > 10, "a creation makes more than {number} changes");
            return;
        }
        let after = SledEngine::open(&disks.folder("after").join("store"))
            .unwrap_or_else(|error| panic!("power loss before change {number}: {error}"));
        assert_eq!(after.scan(b"", None, 1).unwrap(), []);
        let mut batch = Batch::new();
        batch.write(Bytes::from("k"), Some(Bytes::from("v")));
        after.commit(batch).unwrap();
        drop((engine, after));
        disks.discard("before");
        disks.discard("after");
    }
    panic!("a creation makes more than {MAX_CHANGES} changes");
}
