//! A store that notes which records it lists.

use std::{cell::RefCell, collections::BTreeMap};

use cartwheel_protocol::{
    key::{Partition, RecordKey},
    record::{Record, Storage, Stored},
};

/// A map, and what was listed of it.
#[derive(Default)]
pub(crate) struct Listing {
    records: BTreeMap<RecordKey, Record>,
    listed: RefCell<Vec<RecordKey>>,
}

impl Listing {
    pub(crate) fn of(records: BTreeMap<RecordKey, Record>) -> Self {
        Self { records, ..Self::default() }
    }

    /// What was listed since this was last asked.
    pub(crate) fn take_listed(&self) -> Vec<RecordKey> {
        self.listed.take()
    }
}

impl Storage for Listing {
    fn read(&self, key: &RecordKey) -> Stored {
        self.records.read(key)
    }

    fn write(&mut self, key: RecordKey, record: Option<Record>) {
        self.records.write(key, record);
    }

    fn scan(
        &self,
        from: &RecordKey,
        until: Option<Partition>,
        limit: usize,
    ) -> Vec<(RecordKey, Stored)> {
        let found = self.records.scan(from, until, limit);
        self.listed.borrow_mut().extend(found.iter().map(|(key, _)| key.clone()));
        found
    }
}
