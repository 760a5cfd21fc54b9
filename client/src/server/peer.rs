//! A peer's connection: batches of messages, one after the other.

use std::sync::{Arc, Mutex, PoisonError, atomic::Ordering};

use cartwheel_protocol::{Message, format::v1, id::NodeId, membership::MemberMessage};
use futures::{StreamExt, TryStreamExt, future::ready};
use tarpc::{
    context::Context,
    server::{BaseChannel, Channel},
};
use tokio::{net::TcpStream, sync::Notify};

use super::{Common, NodeService, Overloaded, clamped};
use crate::{
    codec::Frames,
    handshake::Welcome,
    pieces::Assembler,
    refusals::Sender,
    service::{DeliverError, Peer, Piece},
};

/// Serves a peer until its connection ends, or it sends what cannot be decoded.
pub(super) async fn serve<S: NodeService>(
    stream: TcpStream,
    from: NodeId,
    welcome: Welcome,
    common: Arc<Common>,
    service: Arc<S>,
) {
    let broken = Arc::new(Notify::new());
    let assemblers = Arc::default();
    let transport = Frames::of_acceptor(welcome.format).over(stream);
    let channel = BaseChannel::with_defaults(transport.map_ok(clamped(common.limits.request)));
    let link = PeerLink { from, common, service, assemblers, broken: broken.clone() };
    let serve = link.clone().serve();
    // One after the other: batches and the parts of a message stay in order.
    let serving = channel
        .requests()
        .scan((), |(), next| ready(link.common.sound(Sender::Peer(from), next)))
        .for_each(|request| request.execute(serve.clone()));
    tokio::select! {
        () = serving => tracing::debug!(peer = %from, "a peer's connection ended"),
        () = broken.notified() => {}
    }
}

/// The service of one peer's connection.
struct PeerLink<S> {
    from: NodeId,
    common: Arc<Common>,
    service: Arc<S>,
    /// Of messages between shards, and of those between memberships.
    assemblers: Arc<[Mutex<Assembler>; 2]>,
    broken: Arc<Notify>,
}

impl<S: NodeService> PeerLink<S> {
    fn take(&self, batch: Vec<Piece>) -> Result<Vec<Message>, String> {
        let mut assembler = self.assemblers[0].lock().unwrap_or_else(PoisonError::into_inner);
        let mut messages = Vec::with_capacity(batch.len());
        for piece in batch {
            if let Some(bytes) = assembler.take(piece).map_err(|error| error.to_string())? {
                messages.push(v1::decode_message(&bytes).map_err(|error| error.to_string())?);
            }
        }
        Ok(messages)
    }

    fn take_gossip(&self, piece: Piece) -> Result<Option<MemberMessage>, String> {
        let mut assembler = self.assemblers[1].lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bytes) = assembler.take(piece).map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        v1::decode_member_message(&bytes).map(Some).map_err(|error| error.to_string())
    }

    /// The peer sent what cannot be decoded: its connection ends.
    fn broken(&self, why: String) -> DeliverError {
        self.common.refusals.note_undecodable(Sender::Peer(self.from), &why);
        self.broken.notify_one();
        DeliverError::Undecodable(why)
    }

    fn overloaded(&self) -> DeliverError {
        self.common.overloaded_batches.fetch_add(1, Ordering::Relaxed);
        DeliverError::Overloaded
    }
}

impl<S: NodeService> Peer for PeerLink<S> {
    async fn deliver(self, _: Context, batch: Vec<Piece>) -> Result<(), DeliverError> {
        let messages = self.take(batch).map_err(|why| self.broken(why))?;
        if messages.is_empty() {
            return Ok(());
        }
        self.service.deliver(self.from, messages).map_err(|Overloaded| self.overloaded())
    }

    async fn gossip(self, _: Context, piece: Piece) -> Result<(), DeliverError> {
        match self.take_gossip(piece).map_err(|why| self.broken(why))? {
            None => Ok(()),
            Some(message) => {
                self.service.gossip(self.from, message).map_err(|Overloaded| self.overloaded())
            }
        }
    }
}

impl<S> Clone for PeerLink<S> {
    fn clone(&self) -> Self {
        Self {
            from: self.from,
            common: self.common.clone(),
            service: self.service.clone(),
            assemblers: self.assemblers.clone(),
            broken: self.broken.clone(),
        }
    }
}
