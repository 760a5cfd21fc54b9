//! The client library: operations on keys, and the rules of retrying (F1).
//!
//! A read or a cart operation may be carried out twice, so it is made again elsewhere, with the same ids,
//! as soon as a node fails or is silent for a while. A register put may not: it is made again only where it is
//! certain that nothing was started. Success is what a node acknowledged, and nothing else.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cartwheel_protocol::{
    bucket::{BucketName, Kind},
    context::Context as Seen,
    key::Key,
    object::{Entry, Object},
    request::{Operation, Refusal, Request, Response},
};
use tokio::time::{sleep, timeout};

use crate::{
    connection::{Attempt, Connecting},
    error::{Doubt, Error},
    route::Routes,
    service::{Directory, RequestError},
    values::{Ask, Context, Found, Held, Options, Written, new_put_id},
};

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// How it connects.
    pub connecting: Connecting,
    /// How long a node may be silent before a read or a cart operation is made at the next one too. It
    /// doubles with every round.
    pub patience: Duration,
    /// How long beyond an operation's own time its answer is waited for: the node says *unavailable* just
    /// when the time is over.
    pub grace: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            connecting: Connecting::default(),
            patience: Duration::from_millis(100),
            grace: Duration::from_millis(250),
        }
    }
}

/// A client of a cluster. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    routes: Arc<Routes>,
    config: ClientConfig,
}

/// What a read gave, before it is made into values.
pub(crate) struct Read {
    pub(crate) object: Object,
    pub(crate) context: Context,
    pub(crate) owners: u8,
    pub(crate) fallbacks: u8,
}

impl Client {
    /// Asks the nodes at these addresses (`host:port`) for the layout.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if none of them tells.
    pub async fn connect(
        addresses: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, Error> {
        Self::connect_with(addresses, ClientConfig::default()).await
    }

    /// The same with a configuration.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if none of them tells.
    pub async fn connect_with(
        addresses: impl IntoIterator<Item = impl Into<String>>,
        config: ClientConfig,
    ) -> Result<Self, Error> {
        let seeds = addresses.into_iter().map(Into::into).collect();
        let routes = Arc::new(Routes::new(config.connecting.clone(), seeds));
        let within = config.connecting.limits.connect + config.connecting.limits.handshake;
        routes.refresh(within.max(Duration::from_secs(5))).await.map_err(Error::Unreachable)?;
        Ok(Self { routes, config })
    }

    /// The layout as this client knows it.
    pub fn directory(&self) -> Option<Arc<Directory>> {
        self.routes.directory()
    }

    /// Asks for the layout again.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if no node tells.
    pub async fn refresh(&self) -> Result<Arc<Directory>, Error> {
        let within = self.config.connecting.limits.connect * 2;
        self.routes.refresh(within).await.map_err(Error::Unreachable)
    }

    /// The values of a register.
    ///
    /// # Errors
    /// See [`Error`]; none leaves anything unknown.
    pub async fn get(&self, key: &[u8], options: &Options) -> Result<Found, Error> {
        found(self.read(key, Operation::Get, options).await?)
    }

    /// What the node that `options.ask` names itself stores of a register, merged with nothing.
    ///
    /// # Errors
    /// See [`Error`]; none leaves anything unknown.
    pub async fn get_local(
        &self,
        key: &[u8],
        options: &Options,
    ) -> Result<Held<Vec<Vec<u8>>>, Error> {
        self.held(key, Operation::GetLocal, options, values).await
    }

    /// Gives up what only damaged copies of a record held, at the owner that `options.ask` names: its copy counts as whole
    /// again with what all other owners hold, and the others mend theirs from it. Says how many values or additions are
    /// left.
    ///
    /// # Errors
    /// [`Error::Refused`] if that node's copy is not damaged or can be mended after all, or if some other owner has not told in time what
    /// it holds. See [`Error`]; where nothing was heard, asking again does no harm.
    pub async fn accept_loss(&self, key: &[u8], options: &Options) -> Result<Held<usize>, Error> {
        let left = |object: &Object| Ok(object.entries().len());
        self.held(key, Operation::AcceptLoss, options, left).await
    }

    /// Replaces what `context` covers by one value. Without a context nothing is replaced: a sibling.
    ///
    /// # Errors
    /// [`Error::Unknown`] if it was sent and not acknowledged; it is not sent again then.
    pub async fn put(
        &self,
        key: &[u8],
        context: Option<&Context>,
        value: &[u8],
        options: &Options,
    ) -> Result<Written, Error> {
        let operation = Operation::Put {
            context: context.map(|context| context.0.clone()),
            put_id: new_put_id(),
            // The coordinating node puts its own time in.
            time_us: 0,
            value: Arc::from(value),
        };
        self.write(key, operation, options).await
    }

    /// Removes what `context` covers.
    ///
    /// # Errors
    /// [`Error::Unknown`] if it was sent and not acknowledged; it is not sent again then.
    pub async fn delete(
        &self,
        key: &[u8],
        context: Option<&Context>,
        options: &Options,
    ) -> Result<Written, Error> {
        let context: Option<Seen> = context.map(|context| context.0.clone());
        self.write(key, Operation::Delete { context }, options).await
    }

    pub(crate) fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Every address that is known, in the order in which they are worth asking.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.routes.addresses()
    }

    pub(crate) async fn read(
        &self,
        key: &[u8],
        operation: Operation,
        options: &Options,
    ) -> Result<Read, Error> {
        let request = request(key, operation, options.r, options)?;
        match self.carry_out(request, options).await? {
            Response::Found { object, context, owners, fallbacks } => {
                Ok(Read { object, context: Context(context), owners, fallbacks })
            }
            other @ (Response::Held { .. } | Response::Written { .. } | Response::Refused(_)) => {
                Err(Error::Unexpected(other.to_string()))
            }
        }
    }

    /// What one node stores, or is left with, shown by `content`.
    pub(crate) async fn held<T>(
        &self,
        key: &[u8],
        operation: Operation,
        options: &Options,
        content: impl FnOnce(&Object) -> Result<T, Error>,
    ) -> Result<Held<T>, Error> {
        let request = request(key, operation, None, options)?;
        let key = request.key.clone();
        match self.carry_out(request, options).await? {
            Response::Held { object, owes } => {
                let (digest, is_stored) = (object.digest(&key).0, owes > 0 || !object.is_new());
                Ok(Held { content: content(&object)?, digest, is_stored, owes })
            }
            other @ (Response::Found { .. } | Response::Written { .. } | Response::Refused(_)) => {
                Err(Error::Unexpected(other.to_string()))
            }
        }
    }

    pub(crate) async fn write(
        &self,
        key: &[u8],
        operation: Operation,
        options: &Options,
    ) -> Result<Written, Error> {
        let request = request(key, operation, options.w, options)?;
        match self.carry_out(request, options).await? {
            Response::Written { slots, nodes, zones } => Ok(Written { slots, nodes, zones }),
            other @ (Response::Found { .. } | Response::Held { .. } | Response::Refused(_)) => {
                Err(Error::Unknown(Doubt::Silence(format!("the node answered {other}"))))
            }
        }
    }

    /// Makes a request at one node after the other until one answers it or the time is over.
    async fn carry_out(&self, request: Request, options: &Options) -> Result<Response, Error> {
        self.routes.keep_fresh(false);
        let deadline = Instant::now() + options.timeout;
        let mut trying = Trying::new(&request, options.ask);
        let mut request = request;
        let mut patience = self.config.patience;
        let mut pause = Duration::from_millis(5);
        loop {
            for address in self.routes.candidates(&request.key, options.ask) {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(trying.give_up());
                }
                request.timeout_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1);
                let whole = left + self.config.grace;
                let within = if trying.may_repeat { patience.min(whole) } else { whole };
                let attempt = self.attempt(&address, &request, patience.min(left), within).await;
                if let Some(end) = trying.judge(attempt) {
                    return end;
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || matches!(options.ask, Ask::Only(_)) {
                return Err(trying.give_up());
            }
            sleep(pause.min(left)).await;
            pause = (pause * 2).min(Duration::from_millis(200));
            patience = patience.saturating_mul(2).min(options.timeout);
            if self.routes.may_refresh() {
                // Should it fail, the directory that is known is used on.
                let _: Result<Arc<Directory>, String> = self.routes.refresh(left).await;
            }
        }
    }

    /// Makes a request at one node. Until there is a connection nothing is sent, so giving up on that is
    /// definite, whatever the operation.
    async fn attempt(
        &self,
        address: &str,
        request: &Request,
        connect_within: Duration,
        within: Duration,
    ) -> Attempt {
        let attempt = match timeout(connect_within, self.routes.connection(address)).await {
            Ok(Ok(connection)) => {
                let _waiting = self.routes.wait(address);
                connection.request(request, within).await
            }
            Ok(Err(why)) => Attempt::NotSent(why),
            Err(_) => Attempt::NotSent(format!("no connection within {connect_within:?}")),
        };
        let refuses_all = matches!(
            &attempt,
            Attempt::Rejected(RequestError::Removed)
                | Attempt::Answered(Response::Refused(Refusal::NotReady))
        );
        if refuses_all {
            self.routes.keep_fresh(true);
        }
        match &attempt {
            Attempt::Answered(Response::Refused(why @ Refusal::NotReady)) => {
                self.routes.doubt(address, &why.to_string());
            }
            Attempt::Answered(_) => self.routes.trust(address),
            Attempt::NotSent(why) | Attempt::Silent(why) => self.routes.doubt(address, why),
            Attempt::Rejected(
                why @ (RequestError::Overloaded
                | RequestError::ShuttingDown
                | RequestError::Removed),
            ) => {
                self.routes.doubt(address, &why.to_string());
            }
            Attempt::Rejected(RequestError::DamagedContext | RequestError::Undecodable(_)) => {}
        }
        attempt
    }
}

/// One operation on its way from node to node: what is known of its outcome.
struct Trying {
    is_read: bool,
    /// Whether it may be made again after a silence.
    may_repeat: bool,
    /// Set once an attempt may have taken effect; no later refusal can take that back.
    doubt: Option<Doubt>,
    last: Error,
}

impl Trying {
    fn new(request: &Request, ask: Ask) -> Self {
        let operation = &request.operation;
        Self {
            is_read: operation.is_read(),
            may_repeat: operation.is_repeatable() && !matches!(ask, Ask::Only(_)),
            doubt: None,
            last: Error::Unreachable("no node is known".into()),
        }
    }

    /// Whether the operation has ended with this attempt, and how.
    fn judge(&mut self, attempt: Attempt) -> Option<Result<Response, Error>> {
        match attempt {
            Attempt::Answered(Response::Refused(refusal)) => self.judge_refusal(refusal),
            Attempt::Answered(response) => Some(Ok(response)),
            Attempt::Rejected(rejected) => match rejected {
                RequestError::Overloaded => self.next(Error::Refused(Refusal::Overloaded)),
                RequestError::ShuttingDown | RequestError::Removed => {
                    self.next(Error::Refused(Refusal::NotReady))
                }
                RequestError::DamagedContext => self.end(Error::DamagedContext),
                RequestError::Undecodable(why) => self.end(Error::Unexpected(why)),
            },
            Attempt::NotSent(why) => self.next(Error::Unreachable(why)),
            Attempt::Silent(why) => {
                self.may_have_happened(Doubt::Silence(why.clone()), Error::Unreachable(why))
            }
        }
    }

    fn judge_refusal(&mut self, refusal: Refusal) -> Option<Result<Response, Error>> {
        if let Refusal::Unavailable { have, need } = refusal {
            let doubt = Doubt::Unavailable { have, need };
            return self.may_have_happened(doubt, Error::Unavailable { have, need });
        }
        if refusal.is_the_nodes() {
            return self.next(Error::Refused(refusal));
        }
        self.end(Error::Refused(refusal))
    }

    fn may_have_happened(
        &mut self,
        doubt: Doubt,
        if_read: Error,
    ) -> Option<Result<Response, Error>> {
        if !self.is_read {
            self.doubt = Some(doubt);
        }
        let next = self.next(if_read);
        if self.may_repeat { next } else { Some(Err(self.give_up())) }
    }

    fn next(&mut self, error: Error) -> Option<Result<Response, Error>> {
        self.last = error;
        None
    }

    fn end(&mut self, error: Error) -> Option<Result<Response, Error>> {
        self.last = error;
        Some(Err(self.give_up()))
    }

    fn give_up(&self) -> Error {
        self.doubt.clone().map_or_else(|| self.last.clone(), Error::Unknown)
    }
}

fn request(
    key: &[u8],
    operation: Operation,
    quorum: Option<u8>,
    options: &Options,
) -> Result<Request, Error> {
    let bucket = BucketName::new(&options.bucket)
        .ok_or_else(|| Error::BucketName(options.bucket.clone()))?;
    let key = Key::new(bucket, key);
    Ok(Request { key, operation, quorum, strict: options.strict, timeout_ms: 0 })
}

fn found(read: Read) -> Result<Found, Error> {
    let values = values(&read.object)?;
    let Read { context, owners, fallbacks, .. } = read;
    Ok(Found { values, context, owners, fallbacks })
}

fn values(object: &Object) -> Result<Vec<Vec<u8>>, Error> {
    if object.entries().iter().any(|(_, entry)| matches!(entry, Entry::Addition(_))) {
        return Err(Error::Refused(Refusal::WrongKind(Kind::Cart)));
    }
    Ok(object.values().iter().map(|value| value.bytes.to_vec()).collect())
}
