//! A client's connection: requests, many at a time, and questions about the cluster.

use std::sync::{Arc, atomic::Ordering};

use cartwheel_protocol::{
    format::{DecodeError, v1},
    id::AddId,
};
use futures::{StreamExt, TryStreamExt, future::ready};
use tarpc::{
    context::Context,
    server::{BaseChannel, Channel},
};
use tokio::{net::TcpStream, sync::watch};

use super::{Common, NodeService, Stage, clamped};
use crate::{
    codec::{Bytes, Frames},
    handshake::Welcome,
    members::{Members, NewWish, Outlook, StageError},
    reaping::{ReapError, ReapSeen},
    refusals::Sender,
    service::{ClientApi, Directory, RequestError, Status},
};

/// Serves a client until its connection ends.
pub(super) async fn serve<S: NodeService>(
    stream: TcpStream,
    from: Sender,
    welcome: Welcome,
    common: Arc<Common>,
    stages: watch::Receiver<Stage>,
    service: Arc<S>,
) {
    let transport = Frames::of_acceptor(welcome.format).over(stream);
    let channel = BaseChannel::with_defaults(transport.map_ok(clamped(common.limits.request)));
    let link = ClientLink { from, common, stages, service };
    let serve = link.clone().serve();
    channel
        .requests()
        .scan((), |(), next| ready(link.common.sound(from, next)))
        .for_each_concurrent(UNDER_WAY, |request| request.execute(serve.clone()))
        .await;
}

/// So many requests of one connection are under way, those included whose answers the client has not taken: more are not read.
const UNDER_WAY: usize = 1_024;

/// The service of one client's connection.
struct ClientLink<S> {
    from: Sender,
    common: Arc<Common>,
    stages: watch::Receiver<Stage>,
    service: Arc<S>,
}

impl<S: NodeService> ClientApi for ClientLink<S> {
    async fn request(self, _: Context, request: Bytes) -> Result<Bytes, RequestError> {
        if *self.stages.borrow() != Stage::Open {
            return Err(RequestError::ShuttingDown);
        }
        if let Some(why) = self.service.refuses() {
            return Err(why);
        }
        let Ok(permit) = self.common.requests.clone().try_acquire_owned() else {
            self.common.overloaded_requests.fetch_add(1, Ordering::Relaxed);
            return Err(RequestError::Overloaded);
        };
        let mut request = v1::decode_request(&request.0).map_err(|error| {
            if error == DecodeError::DamagedContext {
                return RequestError::DamagedContext;
            }
            self.common.refusals.note_undecodable(self.from, &error);
            RequestError::Undecodable(error.to_string())
        })?;
        let most_ms = u32::try_from(self.common.limits.request.as_millis()).unwrap_or(u32::MAX);
        request.timeout_ms = request.timeout_ms.min(most_ms);
        let service = self.service;
        // Held by both: the request counts until its work is done, and until its answer is on its way.
        let permit = Arc::new(permit);
        let work = permit.clone();
        let handling = tokio::spawn(async move {
            let response = service.handle(request).await;
            drop(work);
            response
        });
        match handling.await {
            Ok(response) => Ok(v1::encode_response(&response).into()),
            // Our own fault: the client hears nothing and must take the outcome for unknown.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    async fn directory(self, _: Context) -> Option<Directory> {
        self.service.directory()
    }

    async fn status(self, _: Context) -> Status {
        self.service.status()
    }

    async fn members(self, _: Context) -> Members {
        self.service.members().await
    }

    async fn stage(
        self,
        _: Context,
        wishes: Vec<NewWish>,
        only_plan: bool,
    ) -> Result<Outlook, StageError> {
        self.service.stage(wishes, only_plan).await
    }

    async fn reap(self, _: Context, up_to: Option<u128>) -> Result<(), ReapError> {
        self.service.reap(up_to.map(AddId)).await
    }

    async fn reaping(self, _: Context) -> ReapSeen {
        self.service.reaping().await
    }
}

impl<S> Clone for ClientLink<S> {
    fn clone(&self) -> Self {
        Self {
            from: self.from,
            common: self.common.clone(),
            stages: self.stages.clone(),
            service: self.service.clone(),
        }
    }
}
