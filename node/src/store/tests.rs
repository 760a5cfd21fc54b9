//! Which stores open, and what is said of those that do not.

use super::*;

const HOME: Served = Served { cluster: ClusterId(7), layout: FIRST, engine: EngineKind::Sled };
const FIRST: Option<LayoutHash> = Some(LayoutHash(0x1a));
const EDITED: Option<LayoutHash> = Some(LayoutHash(0x2b));

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A store that serves.
fn open(data: &Path, asked: Served) -> Result<Store, StoreError> {
    let store = Store::open(data, asked, 1)?;
    store.begin()?;
    Ok(store)
}

fn refused(result: Result<Store, StoreError>) -> String {
    result.err().expect("the store is refused").to_string()
}

#[test]
fn a_formatted_store_keeps_its_id() {
    let folder = folder();
    let made = format_store(&folder.path().join("data"), "n1").expect("a store");
    assert_eq!(store_id(&folder.path().join("data")).expect("the store"), made);
    assert_eq!(open(&folder.path().join("data"), HOME).expect("the store").id, made);
}

#[test]
fn two_stores_have_two_ids() {
    let (a, b) = (folder(), folder());
    let a = format_store(a.path(), "n1").expect("a store");
    let b = format_store(b.path(), "n1").expect("a store");
    assert_ne!(a.id, b.id);
}

#[test]
fn a_store_is_not_formatted_twice() {
    let folder = folder();
    let made = format_store(folder.path(), "n1").expect("a store");
    let error = format_store(folder.path(), "n2").expect_err("it exists");
    assert!(error.to_string().contains(&made.id.to_string()), "{error}");
    assert_eq!(store_id(folder.path()).expect("the store"), made);
}

#[test]
fn a_folder_with_other_things_is_left_alone() {
    let folder = folder();
    fs::write(folder.path().join("diary.txt"), "dear").expect("a file");
    let error = format_store(folder.path(), "n1").expect_err("it is not empty");
    assert!(error.to_string().contains("diary.txt"), "{error}");
    assert!(matches!(store_id(folder.path()), Err(StoreError::NotFormatted { .. })));
}

#[test]
fn a_name_is_checked_before_anything_is_made() {
    let folder = folder();
    for name in ["", "two words", &"x".repeat(65)] {
        let error = format_store(&folder.path().join("data"), name).expect_err("a bad name");
        assert!(matches!(error, StoreError::Name(_)), "{error}");
    }
    assert!(!folder.path().join("data").exists());
}

#[test]
fn a_folder_that_was_never_formatted_says_how_to() {
    let said = refused(open(folder().path(), HOME));
    assert!(said.contains("cartwheel format --data"), "{said}");
}

#[test]
fn a_store_of_another_cluster_is_refused_and_both_are_named() {
    let folder = folder();
    format_store(folder.path(), "n1").expect("a store");
    drop(open(folder.path(), HOME).expect("its first cluster"));
    let said = refused(open(folder.path(), Served { cluster: ClusterId(8), ..HOME }));
    assert!(said.contains("0000000000000007") && said.contains("0000000000000008"), "{said}");
    open(folder.path(), HOME).expect("its own cluster still");
}

#[test]
fn a_store_of_another_layout_is_refused_and_both_are_named() {
    let folder = folder();
    format_store(folder.path(), "n1").expect("a store");
    drop(open(folder.path(), HOME).expect("its first layout"));
    let said = refused(open(folder.path(), Served { layout: EDITED, ..HOME }));
    let hash = |layout: Option<LayoutHash>| layout.expect("a layout").to_string();
    for part in [&hash(FIRST), &hash(EDITED), "the file was edited"] {
        assert!(said.contains(part), "{part} is missing in: {said}");
    }
    drop(open(folder.path(), HOME).expect("its own layout still"));
    let joined = Served { layout: None, ..HOME };
    drop(open(folder.path(), joined).expect("a file is not needed any more"));
    assert!(refused(open(folder.path(), Served { layout: EDITED, ..HOME })).contains("edited"));
}

#[test]
fn a_store_that_was_opened_and_never_served_takes_another_layout() {
    let folder = folder();
    format_store(folder.path(), "n1").expect("a store");
    drop(Store::open(folder.path(), HOME, 1).expect("a start that fails later"));
    let corrected = Served { layout: EDITED, ..HOME };
    drop(open(folder.path(), corrected).expect("nothing was noted"));
    assert!(refused(open(folder.path(), HOME)).contains("the file was edited"));
}

#[test]
fn a_store_that_has_served_and_lost_its_records_is_refused() {
    let folder = folder();
    format_store(folder.path(), "n1").expect("a store");
    let on_disk = || open(folder.path(), HOME);
    drop(on_disk().expect("a first run"));
    drop(on_disk().expect("a second run"));
    let said = refused(open(folder.path(), Served { engine: EngineKind::Memory, ..HOME }));
    assert!(said.contains("engine sled, not by memory"), "{said}");
    fs::remove_dir_all(folder.path().join(SLED)).expect("its records go");
    let error = on_disk().err().expect("it is refused");
    assert!(matches!(error, StoreError::Lost { .. }), "{error}");
    fs::create_dir(folder.path().join(SLED)).expect("an empty folder");
    let error = on_disk().err().expect("it is refused");
    assert!(matches!(error, StoreError::Lost { .. }), "{error}");
}

#[test]
fn a_store_whose_records_cannot_be_listed_is_not_taken_for_lost() {
    let folder = folder();
    format_store(folder.path(), "n1").expect("a store");
    drop(open(folder.path(), HOME).expect("its only run"));
    let records = folder.path().join(SLED);
    fs::rename(&records, folder.path().join("elsewhere")).expect("it is moved");
    fs::write(&records, "no folder").expect("something else is there");
    let error = open(folder.path(), HOME).err().expect("it is refused");
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
}

#[test]
fn what_an_interrupted_format_left_is_written_over() {
    let folder = folder();
    let half = durable::beside(&folder.path().join(IDENTITY));
    fs::write(&half, "half").expect("a crash came here");
    format_store(folder.path(), "n1").expect("a store");
    assert_eq!(store_id(folder.path()).expect("whole").name, "n1");
    assert!(!half.exists());
}

#[test]
fn a_store_that_has_served_in_memory_is_refused_and_told_to_be_formatted_again() {
    let folder = folder();
    let data = folder.path().join("data");
    format_store(&data, "n1").expect("a store");
    let in_memory = Served { engine: EngineKind::Memory, ..HOME };
    drop(Store::open(&data, in_memory, 1).expect("a start that fails later"));
    drop(open(&data, in_memory).expect("its only run"));
    let said = refused(open(&data, in_memory));
    assert!(said.contains("rule W1") && said.contains("format it again"), "{said}");
    fs::remove_dir_all(&data).expect("as it says");
    format_store(&data, "n1").expect("a new store");
    open(&data, in_memory).expect("a new node");
}

#[test]
fn a_store_serves_one_process_at_a_time() {
    let folder = folder();
    format_store(folder.path(), "n1").expect("a store");
    let first = open(folder.path(), HOME).expect("the store");
    assert!(refused(open(folder.path(), HOME)).contains("in use"));
    drop(first);
    open(folder.path(), HOME).expect("the store is free again");
}

#[test]
fn a_store_knows_whether_the_last_run_ended_cleanly() {
    let folder = folder();
    format_store(folder.path(), "n1").expect("a store");
    let first = open(folder.path(), HOME).expect("a first run");
    assert!(first.was_clean);
    drop(first);
    let second = open(folder.path(), HOME).expect("a second run");
    assert!(!second.was_clean);
    second.mark_clean(Incarnation(1)).expect("a mark");
    drop(second);
    assert!(open(folder.path(), HOME).expect("a third run").was_clean);
}
