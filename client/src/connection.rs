//! One client's connection to one node.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cartwheel_protocol::{
    format::{Formats, v1},
    id::{AddId, ClusterId, NodeId},
    limits::{MAX_KEY, MAX_SKU},
    request::{Operation, Refusal, Request, Response},
};
use tarpc::{
    client::{self, RpcError},
    context,
};
use tokio::{task::JoinHandle, time::timeout};

use crate::{
    Limits,
    codec::{Bytes, Frames, MAX_FRAME},
    handshake::{self, Hello, Kind, Welcome},
    members::{Members, NewWish, Outlook, StageError},
    peers::Closed,
    reaping::{ReapError, ReapSeen},
    service::{ClientApiClient, Directory, RequestError, Status},
    stream::open_stream,
};

/// How a client connects.
#[derive(Clone, Debug)]
pub struct Connecting {
    /// The cluster that it wants; `None` takes any.
    pub cluster: Option<ClusterId>,
    /// The formats that it speaks.
    pub formats: Formats,
    /// Bounds in time.
    pub limits: Limits,
}

impl Default for Connecting {
    fn default() -> Self {
        Self { cluster: None, formats: Formats::SPOKEN, limits: Limits::default() }
    }
}

/// A connection to one node, which requests share. It is not made again when it is lost.
#[derive(Debug)]
pub struct Connection {
    api: ClientApiClient,
    welcome: Welcome,
    dispatching: JoinHandle<()>,
}

/// What became of one request at one node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Attempt {
    /// The node answered.
    Answered(Response),
    /// The node did not let it in: nothing was started.
    Rejected(RequestError),
    /// It never left this process: nothing was started.
    NotSent(String),
    /// It may have left, and no answer came: a write's outcome is not known.
    Silent(String),
}

impl Connection {
    /// Connects to `address` (`host:port`).
    ///
    /// # Errors
    /// Why there is no connection: nobody listens, no handshake in time, a refusal.
    pub async fn open(address: &str, how: &Connecting) -> Result<Self, Closed> {
        let mut stream = open_stream(address, how.limits.connect)
            .await
            .map_err(|why| Closed::Unreachable { address: Arc::from(address), why })?;
        let hello =
            Hello { kind: Kind::Client, cluster: how.cluster, formats: how.formats, layout: None };
        let welcome = handshake::greet(&mut stream, &hello, how.limits.handshake).await?;
        let transport = Frames::of_dialler(welcome.format).over(stream);
        let client::NewClient { client, dispatch } =
            ClientApiClient::new(client::Config::default(), transport);
        let dispatching = tokio::spawn(async move {
            if let Err(error) = dispatch.await {
                tracing::debug!(%error, "a connection to a node broke");
            }
        });
        Ok(Self { api: client, welcome, dispatching })
    }

    /// The node at the other end.
    pub fn node(&self) -> NodeId {
        self.welcome.node
    }

    /// The cluster at the other end.
    pub fn cluster(&self) -> ClusterId {
        self.welcome.cluster
    }

    /// Whether requests can still be made.
    pub fn is_open(&self) -> bool {
        !self.dispatching.is_finished()
    }

    /// Makes a request and waits for the answer, at most so long. Whoever gives up sooner leaves a write's
    /// outcome unknown.
    pub async fn request(&self, request: &Request, within: Duration) -> Attempt {
        if !self.is_open() {
            return Attempt::NotSent("the connection is closed".into());
        }
        let bytes = v1::encode_request(request);
        if bytes.len() + 64 > MAX_FRAME {
            return Attempt::Answered(Response::Refused(too_long(request)));
        }
        match in_time(within, |context| self.api.request(context, Bytes(bytes))).await {
            Ok(Ok(Bytes(response))) => match v1::decode_response(&response) {
                Ok(response) => Attempt::Answered(response),
                Err(error) => Attempt::Silent(format!("the answer cannot be decoded: {error}")),
            },
            Ok(Err(rejected)) => Attempt::Rejected(rejected),
            Err(RpcError::Send(why)) => Attempt::NotSent(why.to_string()),
            Err(RpcError::DeadlineExceeded) => Attempt::Silent(format!("not within {within:?}")),
            Err(lost @ (RpcError::Shutdown | RpcError::Channel(_) | RpcError::Server(_))) => {
                Attempt::Silent(lost.to_string())
            }
        }
    }

    /// Who owns what, as this node knows it; `None` before it has a view.
    ///
    /// # Errors
    /// The connection is lost, or no answer came in time.
    pub async fn directory(&self, within: Duration) -> Result<Option<Directory>, Closed> {
        let said = in_time(within, |context| self.api.directory(context)).await;
        said.map_err(|error| closed(&error, within))
    }

    /// How the node is.
    ///
    /// # Errors
    /// The connection is lost, or no answer came in time.
    pub async fn status(&self, within: Duration) -> Result<Status, Closed> {
        let said = in_time(within, |context| self.api.status(context)).await;
        said.map_err(|error| closed(&error, within))
    }

    /// How the cluster is, as this node knows it.
    ///
    /// # Errors
    /// The connection is lost, or no answer came in time.
    pub async fn members(&self, within: Duration) -> Result<Members, Closed> {
        let said = in_time(within, |context| self.api.members(context)).await;
        said.map_err(|error| closed(&error, within))
    }

    /// Stages wishes, all or none of them, and tells what they will do; with `only_plan` none.
    ///
    /// # Errors
    /// The connection is lost, or no answer came in time: then they may be staged, and staging them again, with
    /// the same ids, does no harm. Inside, why the node did not take them.
    pub async fn stage(
        &self,
        wishes: Vec<NewWish>,
        only_plan: bool,
        within: Duration,
    ) -> Result<Result<Outlook, StageError>, Closed> {
        let stage = |context| self.api.stage(context, wishes, only_plan);
        let answered = in_time(within, stage).await;
        answered.map_err(|error| closed(&error, within))
    }

    /// Begins a run of reap rounds there.
    ///
    /// # Errors
    /// The connection is lost, or no answer came in time: then it may have begun. Inside, why it did not.
    pub async fn reap(
        &self,
        up_to: Option<AddId>,
        within: Duration,
    ) -> Result<Result<(), ReapError>, Closed> {
        let reap = |context| self.api.reap(context, up_to.map(|up_to| up_to.0));
        let answered = in_time(within, reap).await;
        answered.map_err(|error| closed(&error, within))
    }

    /// How the node's runs of reap rounds are.
    ///
    /// # Errors
    /// The connection is lost, or no answer came in time.
    pub async fn reaping(&self, within: Duration) -> Result<ReapSeen, Closed> {
        let said = in_time(within, |context| self.api.reaping(context)).await;
        said.map_err(|error| closed(&error, within))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.dispatching.abort();
    }
}

/// Makes a call that ends in time. tarpc begins to look at the deadline when the call is written; one that waits
/// because the other side takes nothing, or because many wait before it, ends here.
async fn in_time<T, F: Future<Output = Result<T, RpcError>>>(
    within: Duration,
    call: impl FnOnce(context::Context) -> F,
) -> Result<T, RpcError> {
    const LONGEST: Duration = Duration::from_secs(3_600);
    let within = within.min(LONGEST);
    let mut context = context::current();
    context.deadline = Instant::now() + within;
    timeout(within, call(context)).await.unwrap_or(Err(RpcError::DeadlineExceeded))
}

fn closed(error: &RpcError, within: Duration) -> Closed {
    match error {
        RpcError::DeadlineExceeded => Closed::Silent(within),
        RpcError::Shutdown | RpcError::Send(_) | RpcError::Channel(_) | RpcError::Server(_) => {
            Closed::Ended
        }
    }
}

/// What a node would say of a request that is too long for a frame.
fn too_long(request: &Request) -> Refusal {
    match &request.operation {
        _ if request.key.name.len() > MAX_KEY => Refusal::KeyTooLong(request.key.name.len()),
        Operation::Put { value, .. } => Refusal::ValueTooLong(value.len()),
        Operation::Change { add: Some(add), .. } if add.sku.len() > MAX_SKU => {
            Refusal::SkuLength(add.sku.len())
        }
        Operation::Change { cancel, .. } => Refusal::TooManyCancels {
            named: cancel.len(),
            bound: cartwheel_protocol::bucket::Bucket::CANCELLED_BOUND as usize,
        },
        // Only a context can be that long: it names more writes than any key has seen.
        Operation::Get | Operation::GetLocal | Operation::AcceptLoss | Operation::Delete { .. } => {
            Refusal::ForeignContext
        }
    }
}
