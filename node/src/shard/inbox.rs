//! The way into a shard: one channel, in order, with bounds for each kind of load from outside, in number and in bytes: where
//! the disk stalls, shards wait, and what comes meanwhile must not fill the memory. What is larger than the bound is taken
//! where nothing else waits.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Instant;

use cartwheel_protocol::format::v1;
use cartwheel_protocol::id::NodeId;
use cartwheel_protocol::request::{Request, Response};
use cartwheel_protocol::view::View;
use cartwheel_protocol::{Input, Message};
use tokio::sync::oneshot;

use crate::gate::Gate;

/// What a shard is given.
pub(crate) enum Delivery {
    /// A client asks; the answer goes back through `reply`.
    Request { request: Request, reply: oneshot::Sender<Response>, bytes: usize },
    /// A peer says something, and that arrived at this time.
    Messages { from: NodeId, messages: Vec<Message>, at: Instant, bytes: usize },
    /// Go by this view.
    View(Arc<View>),
    /// What the node thinks or wants: of a peer, of the disk, that the shard reaps.
    Told(Input),
    /// The watermark has moved.
    Durable,
    /// Let the thread end after what came before.
    Stop,
}

/// Why a delivery was not taken; nothing was started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// As many wait as may.
    Full,
    /// The shard's thread has ended.
    Stopped,
}

/// So many bytes of requests may wait for a shard, and as many of messages.
const BYTES: usize = 64 << 20;

/// How much is waiting, for both sides.
struct Gates {
    requests: Bounds,
    messages: Bounds,
}

/// The bounds of one kind of load.
struct Bounds {
    number: Gate,
    bytes: Gate,
}

impl Bounds {
    fn new(limit: usize) -> Self {
        Self { number: Gate::new(limit), bytes: Gate::new(BYTES) }
    }

    /// Lets in all of it, or nothing.
    fn enter(&self, count: usize, bytes: usize) -> bool {
        if !self.number.enter(count) {
            return false;
        }
        let fits = self.bytes.enter(bytes);
        if !fits {
            self.number.leave(count);
        }
        fits
    }

    fn leave(&self, count: usize, bytes: usize) {
        self.number.leave(count);
        self.bytes.leave(bytes);
    }
}

/// The senders' side.
#[derive(Clone)]
pub(crate) struct Inbox {
    sender: Sender<Delivery>,
    gates: Arc<Gates>,
}

/// The shard's side.
pub(crate) struct Outlet {
    receiver: Receiver<Delivery>,
    gates: Arc<Gates>,
}

/// Nobody can send any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Closed;

/// The two ends of an inbox, in which so many requests and so many messages may wait.
pub(crate) fn inbox(requests: usize, messages: usize) -> (Inbox, Outlet) {
    let (sender, receiver) = mpsc::channel();
    let gates =
        Arc::new(Gates { requests: Bounds::new(requests), messages: Bounds::new(messages) });
    (Inbox { sender, gates: gates.clone() }, Outlet { receiver, gates })
}

impl Inbox {
    /// A client's request, unless too many wait.
    pub(crate) fn request(
        &self,
        request: Request,
        reply: oneshot::Sender<Response>,
    ) -> Result<(), Refused> {
        let bytes = v1::request_size_hint(&request);
        if !self.gates.requests.enter(1, bytes) {
            return Err(Refused::Full);
        }
        self.send(Delivery::Request { request, reply, bytes })
    }

    /// A peer's messages, unless too many wait.
    pub(crate) fn messages(&self, from: NodeId, messages: Vec<Message>) -> Result<(), Refused> {
        let bytes = messages.iter().map(v1::message_size_hint).sum();
        if !self.gates.messages.enter(messages.len(), bytes) {
            return Err(Refused::Full);
        }
        self.send(Delivery::Messages { from, messages, at: Instant::now(), bytes })
    }

    /// What is never refused while the shard runs, because there can only be few of its kind.
    pub(crate) fn control(&self, delivery: Delivery) -> Result<(), Refused> {
        self.send(delivery)
    }

    /// How many requests and messages wait.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.gates.requests.number.within(), self.gates.messages.number.within())
    }

    fn send(&self, delivery: Delivery) -> Result<(), Refused> {
        self.sender.send(delivery).map_err(|_| Refused::Stopped)
    }
}

impl Outlet {
    /// What waits, or comes before `until`; `None` if nothing does.
    pub(crate) fn receive(
        &self,
        now: Instant,
        until: Option<Instant>,
    ) -> Result<Option<Delivery>, Closed> {
        let got = match until {
            None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(until) => self.receiver.recv_timeout(until.saturating_duration_since(now)),
        };
        match got {
            Ok(delivery) => Ok(Some(self.taken(delivery))),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Closed),
        }
    }

    /// What waits now.
    pub(crate) fn receive_more(&self) -> Option<Delivery> {
        self.receiver.try_recv().ok().map(|delivery| self.taken(delivery))
    }

    fn taken(&self, delivery: Delivery) -> Delivery {
        match &delivery {
            Delivery::Request { bytes, .. } => self.gates.requests.leave(1, *bytes),
            Delivery::Messages { messages, bytes, .. } => {
                self.gates.messages.leave(messages.len(), *bytes);
            }
            Delivery::View(_) | Delivery::Told(_) | Delivery::Durable | Delivery::Stop => {}
        }
        delivery
    }
}

#[cfg(test)]
mod tests {
    use cartwheel_protocol::bucket::BucketName;
    use cartwheel_protocol::id::PutId;
    use cartwheel_protocol::key::Key;
    use cartwheel_protocol::request::Operation;

    use super::*;

    fn get() -> Request {
        let bucket = BucketName::new("default").expect("a name");
        let key = Key::new(bucket, &b"k"[..]);
        Request { key, operation: Operation::Get, quorum: None, strict: false, timeout_ms: 1 }
    }

    #[test]
    fn a_full_inbox_refuses_requests_and_still_takes_what_must_not_be_refused() {
        let (inbox, outlet) = inbox(1, 1);
        let (reply, _hears) = oneshot::channel();
        assert_eq!(inbox.request(get(), reply), Ok(()));
        let (reply, _hears) = oneshot::channel();
        assert_eq!(inbox.request(get(), reply), Err(Refused::Full));
        assert_eq!(inbox.control(Delivery::Durable), Ok(()));
        assert_eq!(inbox.waiting(), (1, 0));
        assert!(matches!(outlet.receive_more(), Some(Delivery::Request { .. })));
        assert!(matches!(outlet.receive_more(), Some(Delivery::Durable)));
        let (reply, _hears) = oneshot::channel();
        assert_eq!(inbox.request(get(), reply), Ok(()), "there is room again");
    }

    #[test]
    fn large_requests_fill_an_inbox_before_many_do_and_one_is_always_taken() {
        let (inbox, outlet) = inbox(1_000, 1_000);
        let ask = |bytes: usize| {
            let value = vec![7; bytes].into();
            let operation = Operation::Put { context: None, put_id: PutId(1), time_us: 0, value };
            inbox.request(Request { operation, ..get() }, oneshot::channel().0)
        };
        assert_eq!(ask(2 * BYTES), Ok(()), "where nothing waits");
        assert_eq!(ask(1), Err(Refused::Full));
        assert_eq!(inbox.waiting(), (1, 0), "what was refused does not wait");
        outlet.receive_more().expect("it waits");
        let taken = (0..100).take_while(|_| ask(1 << 20).is_ok()).count();
        assert!((60..64).contains(&taken), "{taken} of a MiB");
    }

    #[test]
    fn a_shard_that_has_ended_takes_nothing() {
        let (inbox, outlet) = inbox(1, 1);
        drop(outlet);
        let (reply, _hears) = oneshot::channel();
        assert_eq!(inbox.request(get(), reply), Err(Refused::Stopped));
        assert_eq!(inbox.control(Delivery::Durable), Err(Refused::Stopped));
    }

    #[test]
    fn an_empty_inbox_gives_nothing_until_the_time_is_over() {
        let (_inbox, outlet) = inbox(1, 1);
        let now = Instant::now();
        assert!(matches!(outlet.receive(now, Some(now)), Ok(None)));
    }
}
