//! The bytes of one file, as the process sees them and as the disk would have them after a power loss.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::random::Random;

/// What a disk writes at once, in bytes: a write that was not synced may be torn at each multiple.
const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// A file's bytes in pages; a page that is absent is zero.
#[derive(Clone, Default)]
struct Image {
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
    len: u64,
}

impl Image {
    fn read(&self, offset: u64, size: usize) -> Vec<u8> {
        let end = self.len.min(offset + size as u64);
        let mut bytes = vec![0; end.saturating_sub(offset) as usize];
        for (at, in_page, part) in parts(offset, bytes.len()) {
            if let Some(page) = self.pages.get(&at) {
                let from = &page[in_page..in_page + part.len()];
                bytes[part].copy_from_slice(from);
            }
        }
        bytes
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { offset, bytes } => {
                for (at, in_page, part) in parts(*offset, bytes.len()) {
                    let page = self.pages.entry(at).or_insert_with(|| Arc::new([0; PAGE]));
                    Arc::make_mut(page)[in_page..in_page + part.len()]
                        .copy_from_slice(&bytes[part]);
                }
                self.len = self.len.max(offset + bytes.len() as u64);
            }
            Change::Length(len) => {
                let last = len / PAGE as u64;
                self.pages.retain(|at, _| *at <= last);
                if let Some(page) = self.pages.get_mut(&last) {
                    Arc::make_mut(page)[(len % PAGE as u64) as usize..].fill(0);
                }
                self.len = *len;
            }
        }
    }
}

/// The pages that `size` bytes from `offset` on touch: number of the page, place in it, part of the bytes.
fn parts(offset: u64, size: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        (done < size).then(|| {
            let at = offset + done as u64;
            let in_page = (at % PAGE as u64) as usize;
            let part = done..size.min(done + PAGE - in_page);
            done = part.end;
            (at / PAGE as u64, in_page, part)
        })
    })
}

#[derive(Clone)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Length(u64),
}

/// One file on the lossy disk.
#[derive(Clone, Default)]
pub(crate) struct FileBytes {
    /// What reads see.
    now: Image,
    /// What was fsynced.
    durable: Image,
    /// What happened since, in order.
    pending: Vec<Change>,
}

impl FileBytes {
    pub(crate) fn len(&self) -> u64 {
        self.now.len
    }

    pub(crate) fn read(&self, offset: u64, size: usize) -> Vec<u8> {
        self.now.read(offset, size)
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.change(Change::Write { offset, bytes: bytes.to_vec() });
    }

    pub(crate) fn set_len(&mut self, len: u64) {
        self.change(Change::Length(len));
    }

    fn change(&mut self, change: Change) {
        self.now.apply(&change);
        self.pending.push(change);
    }

    pub(crate) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            self.durable.apply(&change);
        }
    }

    /// The file after a power loss. Of what was not synced stays, by chance: nothing; the oldest changes,
    /// the last of them torn; or any sectors of any of them.
    pub(crate) fn after_power_loss(&self, random: &mut Random) -> Self {
        let mut image = self.durable.clone();
        match random.below(3) {
            0 => {}
            1 => {
                let kept = random.below(self.pending.len() as u64 + 1) as usize;
                self.pending[..kept].iter().for_each(|change| image.apply(change));
                if let Some(Change::Write { offset, bytes }) = self.pending.get(kept) {
                    let torn = random.below((bytes.len() / SECTOR) as u64 + 1) as usize * SECTOR;
                    let bytes = bytes[..torn].to_vec();
                    image.apply(&Change::Write { offset: *offset, bytes });
                }
            }
            _ => {
                for change in &self.pending {
                    match change {
                        Change::Write { offset, bytes } => {
                            for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                                if random.below(2) == 0 {
                                    let offset = offset + (number * SECTOR) as u64;
                                    let bytes = sector.to_vec();
                                    image.apply(&Change::Write { offset, bytes });
                                }
                            }
                        }
                        Change::Length(_) if random.below(2) == 0 => image.apply(change),
                        Change::Length(_) => {}
                    }
                }
            }
        }
        Self { now: image.clone(), durable: image, pending: Vec::new() }
    }
}
