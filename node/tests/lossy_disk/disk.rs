//! A file system in memory, mounted by FUSE, that forgets what was not fsynced.
//!
//! It holds any number of *disks*, the folders of its root. A power loss makes a new disk of what an old
//! one would have after it; the process that writes the old one notices nothing and is thrown away. The
//! rules are POSIX's strict ones: `fsync` of a file keeps its bytes and its length, not its name; a name is
//! kept by `fsync` of its folder. Of what was not synced anything may stay.
//!
//! Files are opened for direct I/O, so that the kernel keeps no pages of its own; `sync_file_range` is not
//! handed to FUSE file systems at all, and so does what it does on a disk with a cache: nothing.

mod requests;

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use fuser::{BackgroundSession, Config, Errno, FileAttr, FileType, INodeNo};
use rustix::mount::{UnmountFlags, unmount};

use self::requests::Lossy;
use crate::image::FileBytes;
use crate::random::Random;

/// How long the kernel may believe an attribute or a name: not at all.
const TTL: Duration = Duration::ZERO;
/// How long the last files of a disk may take to be closed.
const UNMOUNT_TIMEOUT: Duration = Duration::from_secs(10);
const ROOT: u64 = INodeNo::ROOT.0;

/// The mounted file system.
pub(crate) struct LossyDisks {
    state: Arc<Mutex<State>>,
    session: Option<BackgroundSession>,
    mountpoint: tempfile::TempDir,
}

impl LossyDisks {
    /// Mounts an empty file system.
    ///
    /// # Errors
    /// Why this machine cannot.
    pub(crate) fn mount() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("mounting needs root".into());
        }
        if !std::path::Path::new("/dev/fuse").exists() {
            return Err("there is no /dev/fuse".into());
        }
        let mountpoint = tempfile::tempdir().map_err(|error| error.to_string())?;
        let state = Arc::new(Mutex::new(State::new()));
        let session =
            fuser::spawn_mount(Lossy(state.clone()), mountpoint.path(), &Config::default())
                .map_err(|error| format!("the mount was refused: {error}"))?;
        Ok(Self { state, session: Some(session), mountpoint })
    }

    /// A new and empty disk.
    pub(crate) fn format(&self, name: &str) -> PathBuf {
        let mut state = locked(&self.state);
        let folder = state.insert(Node::Folder(Folder::default()));
        state.put_disk(name, folder);
        self.folder(name)
    }

    /// Where a disk is mounted.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.mountpoint.path().join(name)
    }

    /// The disk `old` as it would be after losing power now, as the new disk `new`.
    pub(crate) fn power_loss(&self, old: &str, new: &str, seed: u64) -> PathBuf {
        let mut state = locked(&self.state);
        state.lose_power(Loss { old: old.into(), new: new.into(), random: Random::new(seed) });
        self.folder(new)
    }

    /// Lets the power fail before change number `number` from now: `new` is then what `old` would be.
    pub(crate) fn power_loss_before_change(&self, number: u64, old: &str, new: &str, seed: u64) {
        let loss = Loss { old: old.into(), new: new.into(), random: Random::new(seed) };
        locked(&self.state).planned = Some((number, loss));
    }

    /// Whether the planned power loss has not come; it will not come any more.
    pub(crate) fn cancel_power_loss(&self) -> bool {
        locked(&self.state).planned.take().is_some()
    }

    /// Throws a disk away. What still has its files open gets errors.
    pub(crate) fn discard(&self, name: &str) {
        let mut state = locked(&self.state);
        if let Some(folder) = state.disk(name) {
            state.remove_all(folder);
            state.root().now.remove(OsStr::new(name));
        }
    }
}

impl Drop for LossyDisks {
    fn drop(&mut self) {
        let began = Instant::now();
        // A store's background threads let go of its files a moment after it was closed.
        while let Err(error) = unmount(self.mountpoint.path(), UnmountFlags::empty()) {
            if error != rustix::io::Errno::BUSY || began.elapsed() > UNMOUNT_TIMEOUT {
                // Detached, it goes away with the last open file.
                let detached = unmount(self.mountpoint.path(), UnmountFlags::DETACH);
                if !std::thread::panicking() {
                    panic!("unmount: {error}; detach: {detached:?}");
                }
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let joined = self.session.take().map_or(Ok(()), BackgroundSession::join);
        if !std::thread::panicking() {
            joined.expect("the file system's thread ends well");
        }
    }
}

enum Node {
    File(FileBytes),
    Folder(Folder),
}

#[derive(Default)]
struct Folder {
    now: BTreeMap<OsString, u64>,
    durable: BTreeMap<OsString, u64>,
    pending: Vec<NameChange>,
}

#[derive(Clone)]
enum NameChange {
    Add(OsString, u64),
    Remove(OsString),
    Rename(OsString, OsString),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<OsString, u64>) {
        match self {
            Self::Add(name, node) => {
                names.insert(name.clone(), *node);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

impl Folder {
    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// The names after a power loss: of the changes that were not synced the oldest may stay.
    fn after_power_loss(&self, random: &mut Random) -> BTreeMap<OsString, u64> {
        let mut names = self.durable.clone();
        let kept = match random.below(2) {
            0 => 0,
            _ => random.below(self.pending.len() as u64 + 1) as usize,
        };
        self.pending[..kept].iter().for_each(|change| change.apply(&mut names));
        names
    }
}

struct State {
    nodes: HashMap<u64, Node>,
    next: u64,
    /// How many more changes come before a power loss, and which.
    planned: Option<(u64, Loss)>,
}

struct Loss {
    old: String,
    new: String,
    random: Random,
}

impl State {
    fn new() -> Self {
        let nodes = HashMap::from([(ROOT, Node::Folder(Folder::default()))]);
        Self { nodes, next: ROOT + 1, planned: None }
    }

    /// Counts a change that is about to be made.
    fn count_change(&mut self) {
        match self.planned.take() {
            Some((0 | 1, loss)) => self.lose_power(loss),
            Some((number, loss)) => self.planned = Some((number - 1, loss)),
            None => {}
        }
    }

    fn lose_power(&mut self, mut loss: Loss) {
        let old = self.disk(&loss.old).expect("the disk was formatted");
        let folder = self.copy_of_durable(old, &mut loss.random);
        self.put_disk(&loss.new, folder);
    }

    fn insert(&mut self, node: Node) -> u64 {
        let number = self.next;
        self.next += 1;
        self.nodes.insert(number, node);
        number
    }

    fn root(&mut self) -> &mut Folder {
        self.folder(ROOT).expect("the root is a folder")
    }

    fn disk(&mut self, name: &str) -> Option<u64> {
        self.root().now.get(OsStr::new(name)).copied()
    }

    fn put_disk(&mut self, name: &str, folder: u64) {
        self.root().now.insert(name.into(), folder);
    }

    fn folder(&mut self, number: u64) -> Result<&mut Folder, Errno> {
        match self.nodes.get_mut(&number) {
            Some(Node::Folder(folder)) => Ok(folder),
            Some(Node::File(_)) => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn file(&mut self, number: u64) -> Result<&mut FileBytes, Errno> {
        match self.nodes.get_mut(&number) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Folder(_)) => Err(Errno::EISDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn look_up(&mut self, parent: u64, name: &OsStr) -> Result<FileAttr, Errno> {
        let number = *self.folder(parent)?.now.get(name).ok_or(Errno::ENOENT)?;
        self.attributes(number)
    }

    fn attributes(&self, number: u64) -> Result<FileAttr, Errno> {
        let (kind, size) = match self.nodes.get(&number).ok_or(Errno::ENOENT)? {
            Node::File(file) => (FileType::RegularFile, file.len()),
            Node::Folder(_) => (FileType::Directory, 0),
        };
        let time = SystemTime::UNIX_EPOCH;
        Ok(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn add(&mut self, parent: u64, name: &OsStr, node: Node) -> Result<FileAttr, Errno> {
        if self.folder(parent)?.now.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let number = self.insert(node);
        self.folder(parent)?.change(NameChange::Add(name.to_owned(), number));
        self.attributes(number)
    }

    fn remove(&mut self, parent: u64, name: &OsStr, must_be_empty: bool) -> Result<(), Errno> {
        let number = *self.folder(parent)?.now.get(name).ok_or(Errno::ENOENT)?;
        if must_be_empty && !self.folder(number)?.now.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        // The node stays: a power loss may bring its name back.
        self.folder(parent)?.change(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Errno> {
        if from.0 != to.0 {
            return Err(Errno::EXDEV);
        }
        let folder = self.folder(from.0)?;
        if !folder.now.contains_key(from.1) {
            return Err(Errno::ENOENT);
        }
        folder.change(NameChange::Rename(from.1.to_owned(), to.1.to_owned()));
        Ok(())
    }

    fn copy_of_durable(&mut self, number: u64, random: &mut Random) -> u64 {
        let node = match self.nodes.get(&number).expect("names lead to nodes") {
            Node::File(file) => Node::File(file.after_power_loss(random)),
            Node::Folder(folder) => {
                let mut names = folder.after_power_loss(random);
                for number in names.values_mut() {
                    *number = self.copy_of_durable(*number, random);
                }
                Node::Folder(Folder { now: names.clone(), durable: names, pending: Vec::new() })
            }
        };
        self.insert(node)
    }

    fn remove_all(&mut self, number: u64) {
        if let Some(Node::Folder(folder)) = self.nodes.remove(&number) {
            let added = folder.pending.into_iter().filter_map(|change| match change {
                NameChange::Add(_, node) => Some(node),
                NameChange::Remove(_) | NameChange::Rename(..) => None,
            });
            for node in folder.durable.into_values().chain(folder.now.into_values()).chain(added) {
                self.remove_all(node);
            }
        }
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("the file system does not panic")
}
