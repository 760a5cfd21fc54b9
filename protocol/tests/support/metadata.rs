//! What a key costs beside its content, after many writes and restarts.

use cartwheel_protocol::{
    Config,
    bucket::BucketName,
    context::Context,
    format::v1,
    id::{AddId, ClusterId, NodeId, PutId},
    key::Key,
    object::{Addition, Entry},
    record::Stored,
    request::{Operation, Request, Response},
};

use super::cluster::{Cluster, Setup};

/// What is done to the key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Work {
    /// Each put replaces what a read has just shown.
    Register,
    /// An article is added and taken out again, by turns.
    Cart,
}

/// What the key's record at its first owner is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Cost {
    /// Entries of `seen`.
    pub(crate) clock_entries: usize,
    /// Of the context that a reader is given.
    pub(crate) context_bytes: usize,
    /// Of the record in format 1.
    pub(crate) record_bytes: usize,
    /// Values, articles and their quantities.
    pub(crate) content_bytes: usize,
    /// Remembered cancellations.
    pub(crate) cancelled: usize,
}

/// One key of three owners, each of which coordinates in turn.
pub(crate) struct Written {
    cluster: Cluster,
    key: Key,
    work: Work,
    writes: u64,
}

const OWNERS: u64 = 3;

impl Written {
    pub(crate) fn new(work: Work, clock_entries: Option<usize>) -> Self {
        let config = Config { clock_entries, ..Config::new(ClusterId(7)) };
        let cluster = Cluster::new(&Setup { nodes: OWNERS, config, ..Setup::default() });
        let bucket = match work {
            Work::Register => "default",
            Work::Cart => "carts",
        };
        let key = Key::new(BucketName::new(bucket).expect("a valid name"), *b"k");
        Self { cluster, key, work, writes: 0 }
    }

    /// Every node in turn ends in order and starts again: a new incarnation each.
    pub(crate) fn rolling_restart(&mut self) {
        for id in self.cluster.ids() {
            self.restart(id);
        }
    }

    /// One node does.
    pub(crate) fn restart(&mut self, id: NodeId) {
        self.cluster.crash(id, usize::MAX);
        self.cluster.start(id);
        self.cluster.adopt(id);
    }

    /// The next write, through this owner.
    pub(crate) fn write(&mut self, through: NodeId) {
        self.writes += 1;
        let id = u128::from(self.writes);
        let operation = match self.work {
            Work::Register => {
                let (context, put_id) = (Some(self.read(through).1), PutId(id));
                Operation::Put { context, put_id, time_us: 0, value: [7; 100].into() }
            }
            Work::Cart if self.writes.is_multiple_of(2) => {
                Operation::Change { cancel: [AddId(id - 1)].into(), add: None, context: None }
            }
            Work::Cart => {
                let add = Some(Addition { add_id: AddId(id), sku: "milk".into(), quantity: 1 });
                Operation::Change { cancel: [].into(), add, context: None }
            }
        };
        let response = self.ask(through, operation);
        assert!(matches!(response, Response::Written { .. }), "{response}");
    }

    /// The next of so many writes, the owners taking turns.
    pub(crate) fn write_in_turn(&mut self, writes: u64) {
        for number in 0..writes {
            self.write(NodeId(1 + number % OWNERS));
        }
    }

    /// All that may go does, but the newest `kept` of the add_ids that were given out.
    pub(crate) fn reap(&mut self, kept: u64) {
        let bound = AddId(self.writes.saturating_sub(kept).into());
        self.cluster.reap(NodeId(1), Some(bound));
    }

    /// What it costs now.
    pub(crate) fn cost(&mut self) -> Cost {
        let place = self.cluster.place(self.key.clone());
        let stored = self.cluster.stored(NodeId(1), &place);
        let Stored::Found(record) = stored else { panic!("n1 holds it: {stored}") };
        let content = |entry: &Entry| match entry {
            Entry::Value(value) => value.bytes.len(),
            Entry::Addition(added) => added.sku.len() + size_of_val(&added.quantity),
        };
        let entries = record.object.entries();
        Cost {
            clock_entries: record.object.seen().len(),
            context_bytes: self.read(NodeId(1)).1.encode().len(),
            record_bytes: v1::encode_record(&record).len(),
            content_bytes: entries.iter().map(|(_, entry)| content(entry)).sum(),
            cancelled: record.object.cancelled().len(),
        }
    }

    /// How many values or additions a read shows, and the context that comes with them.
    pub(crate) fn read(&mut self, through: NodeId) -> (usize, Context) {
        match self.ask(through, Operation::Get) {
            Response::Found { object, context, .. } => (object.entries().len(), context),
            other @ (Response::Held { .. } | Response::Written { .. } | Response::Refused(_)) => {
                panic!("{other}")
            }
        }
    }

    fn ask(&mut self, through: NodeId, operation: Operation) -> Response {
        let key = self.key.clone();
        let request = Request { key, operation, quorum: None, strict: false, timeout_ms: 1_000 };
        let (number, _) = self.cluster.request(through, request);
        self.cluster.settle();
        self.cluster.replies.remove(&number).expect("everybody is up")
    }
}
