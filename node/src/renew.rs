//! Stores that cannot serve again: set aside, with a new one in their place (rule W1).
//!
//! A node is its disk. Where the records of a store are gone, or cannot be read, the node that it was cannot come back:
//! under its id it would deny what it acknowledged. What can come back is another node, of the same name and at the same
//! address, with a store that is empty. It joins as every new one does and takes the old one's place while that is
//! suspected. Nothing is deleted: whoever wants to look into the old folder finds it beside the new one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::committer::check_steps;
use crate::control::read_saved;
use crate::engine::{Engine, EngineError};
use crate::identity::read_identity;
use crate::store::{Served, Store, StoreError, format_store, lock};

/// As [`Store::open`]; a store that has served and whose records are gone or cannot be read is set aside if `renews`
/// says so, and a new one made in its place and under its name: another node (rule W1).
///
/// One that never served has nothing to deny: it is refused, since a new one would fare no better.
pub(crate) fn open_or_renew(
    data: &Path,
    asked: Served,
    cache_mib: u64,
    renews: bool,
) -> Result<Store, StoreError> {
    let opened = Store::open(data, asked, cache_mib).and_then(|store| {
        check_notes(store.engine.as_ref())?;
        Ok(store)
    });
    let why = match opened {
        Err(why) if is_spoilt(&why) => why,
        opened => return opened,
    };
    let (old, served) = read_identity(data)?;
    if served.is_none() {
        return Err(why);
    }
    if !renews {
        return Err(StoreError::Spoilt { path: data.to_owned(), why: Box::new(why) });
    }
    let aside = set_aside(data)?;
    let new = format_store(data, &old.name)?;
    tracing::warn!(
        %why, old = %old.id, new = %new.id, name = old.name, aside = %aside.display(),
        "the store cannot serve again: it was set aside, and this is a new node under the old name from now on"
    );
    Store::open(data, asked, cache_mib)
}

/// Whether what the node notes for itself beside the records can be read: without its view, or how far each shard was, it cannot
/// go on, whatever else is there.
fn check_notes(engine: &dyn Engine) -> Result<(), EngineError> {
    check_steps(engine)?;
    read_saved(engine).map(drop)
}

/// Whether the records of a store are gone or cannot be read, so that nobody can serve them again.
fn is_spoilt(error: &StoreError) -> bool {
    match error {
        StoreError::Lost { .. } => true,
        StoreError::Engine(error) => match error {
            EngineError::CannotOpen { .. } | EngineError::Damaged(_) | EngineError::Failed(_) => {
                true
            }
            // Nothing is wrong with what a later build wrote.
            EngineError::InUse { .. } | EngineError::Newer(_) | EngineError::Io(_) => false,
        },
        StoreError::NotFormatted { .. }
        | StoreError::NotEmpty { .. }
        | StoreError::Name(_)
        | StoreError::OtherCluster { .. }
        | StoreError::OtherLayout { .. }
        | StoreError::OtherEngine { .. }
        | StoreError::Spoilt { .. }
        | StoreError::Forgotten { .. }
        | StoreError::Identity { .. }
        | StoreError::InUse { .. }
        | StoreError::Io { .. } => false,
    }
}

/// Moves a store's folder out of the way: beside itself, under the first name that is free. Nothing is deleted.
fn set_aside(data: &Path) -> Result<PathBuf, StoreError> {
    let failed = |source| StoreError::Io { path: data.to_owned(), source };
    // Nobody serves it, and nobody else is about to move it.
    let _lock = lock(data)?;
    // Where the folder is a link, what it leads to is moved, and the new one is made there.
    let folder = data.canonicalize().map_err(failed)?;
    for number in 1_u32.. {
        let mut aside = OsString::from(&folder);
        aside.push(format!(".set-aside-{number}"));
        let aside = PathBuf::from(aside);
        if aside.exists() {
            continue;
        }
        fs::rename(&folder, &aside).map_err(failed)?;
        fs::create_dir(&folder).map_err(failed)?;
        // The old folder must not be back after a power loss when the new node has acknowledged anything.
        if let Some(parent) = folder.parent() {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
        }
        return Ok(aside);
    }
    unreachable!("some name is free")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cartwheel_protocol::id::ClusterId;

    use super::*;
    use crate::committer::STEP_PREFIX;
    use crate::config::EngineKind;
    use crate::store::{SLED, store_id};

    const HOME: Served = Served { cluster: ClusterId(7), layout: None, engine: EngineKind::Sled };

    #[test]
    fn a_store_that_cannot_serve_again_is_set_aside_whole_and_a_new_one_has_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let spoil = || fs::remove_file(data.join(SLED).join("db")).expect("its log");
        let open = |renews| {
            let store = open_or_renew(&data, HOME, 1, renews)?;
            store.begin()?;
            Ok::<_, StoreError>(store.id.clone())
        };
        let mut ids = vec![format_store(&data, "n1").expect("a store").id];
        for number in 1..=2 {
            assert_eq!(open(true).expect("a sound store").id, ids[number - 1]);
            spoil();
            let said = open(false).expect_err("nobody said that it may be renewed").to_string();
            for part in ["--name, --seed and --join", "rule W1", "data"] {
                assert!(said.contains(part), "{part} is missing in: {said}");
            }
            let new = open(true).expect("a new store");
            assert!(new.name == "n1" && !ids.contains(&new.id), "{new:?}");
            let aside = folder.path().join(format!("data.set-aside-{number}"));
            assert_eq!(store_id(&aside).expect("the old store").id, ids[number - 1]);
            assert!(aside.join(SLED).join("conf").exists(), "nothing was deleted");
            ids.push(new.id);
        }
    }

    #[test]
    fn a_store_whose_own_notes_are_damaged_is_set_aside_as_one_that_cannot_be_opened() {
        use crate::engine::Batch;

        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let mut last = format_store(&data, "n1").expect("a store").id;
        for note in [vec![STEP_PREFIX, 0, 0], vec![STEP_PREFIX + 1]] {
            let store = Store::open(&data, HOME, 1).expect("it opens");
            store.begin().expect("it serves");
            let mut batch = Batch::new();
            batch.write(note.into(), Some(vec![1, 2, 3].into()));
            store.engine.commit(batch).expect("it is written");
            drop(store);
            let said = open_or_renew(&data, HOME, 1, false).err().expect("it is refused");
            assert!(said.to_string().contains("data"), "{said}");
            let new = open_or_renew(&data, HOME, 1, true).expect("a new store");
            assert_ne!(new.id.id, last);
            last = new.id.id;
        }
    }

    #[test]
    fn a_store_that_was_found_damaged_in_use_is_set_aside_and_one_of_a_later_build_is_not() {
        use crate::engine::{Batch, checksum};

        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let begun = || {
            let id = format_store(&data, "n1").expect("a store").id;
            let store = Store::open(&data, HOME, 1).expect("it opens");
            store.begin().expect("it serves");
            (id, store)
        };
        let (first, store) = begun();
        drop(store);
        fs::write(data.join(SLED).join("damaged"), "page 7\n").expect("a note");
        let said = open_or_renew(&data, HOME, 1, false).err().expect("it is refused").to_string();
        assert!(said.contains("page 7") && said.contains("rule W1"), "{said}");
        assert_ne!(open_or_renew(&data, HOME, 1, true).expect("a new store").id.id, first);

        fs::remove_dir_all(&data).expect("the new store");
        let (_, store) = begun();
        let (key, format) = (&[STEP_PREFIX + 1][..], [u8::MAX]);
        let mut batch = Batch::new();
        batch.write(Bytes::copy_from_slice(key), Some(checksum::seal(key, &format)));
        store.engine.commit(batch).expect("it is written");
        drop(store);
        let said = open_or_renew(&data, HOME, 1, true).err().expect("it is refused").to_string();
        assert!(said.contains("format 255; a later build wrote it"), "{said}");
        assert!(data.join(SLED).join("db").exists(), "it is left where it was");
    }

    #[test]
    fn a_store_that_never_served_or_is_asked_for_something_else_is_not_set_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let refused = |asked| {
            let error = open_or_renew(&data, asked, 1, true).err();
            error.expect("it is refused")
        };
        format_store(&data, "n1").expect("a store");
        drop(Store::open(&data, HOME, 1).expect("a start that fails later"));
        fs::remove_file(data.join(SLED).join("db")).expect("its log");
        let error = refused(HOME);
        assert!(matches!(error, StoreError::Engine(EngineError::CannotOpen { .. })), "{error}");
        fs::remove_dir_all(data.join(SLED)).expect("it was never served");
        let serves = Store::open(&data, HOME, 1).expect("its first run");
        serves.begin().expect("it is noted");
        assert!(matches!(refused(HOME), StoreError::InUse { .. }));
        drop(serves);
        let elsewhere = Served { cluster: ClusterId(8), ..HOME };
        assert!(matches!(refused(elsewhere), StoreError::OtherCluster { .. }));
        let beside = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(beside, 1, "nothing was set aside");
    }
}
