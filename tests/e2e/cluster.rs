//! A cluster of real processes for one test, and one cart operation on it.

use std::{path::PathBuf, time::Duration};

use cartwheel_checker::cart::Item;
use cartwheel_harness::{
    fault::{Fault, NodeNumber},
    ground::{
        Action, Answer, Call, CallError, Ground,
        process::{ClusterSpec, ProcessGround},
    },
};
use tempfile::TempDir;

/// How long one operation may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Nodes that end with the test, in a folder that goes with it.
pub(crate) struct Cluster {
    pub(crate) ground: ProcessGround,
    _folder: TempDir,
}

impl Cluster {
    /// Starts so many nodes and waits until all of them answer.
    pub(crate) async fn start(nodes: usize) -> Self {
        Self::start_with(nodes, &[]).await
    }

    /// The same, spread over so many zones.
    pub(crate) async fn start_in_zones(nodes: usize, zones: usize) -> Self {
        Self::start_as(nodes, zones, &[]).await
    }

    /// The same with these options of `serve`, without dashes, and their values.
    pub(crate) async fn start_with(nodes: usize, options: &[(&str, &str)]) -> Self {
        Self::start_as(nodes, 1, options).await
    }

    async fn start_as(nodes: usize, zones: usize, options: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Wherever temporary folders lie, they may be small.
        let no_reserve = ("free-space-reserve-mib", "0");
        let sets_its_own = options.iter().any(|(name, _)| *name == no_reserve.0);
        let default = (!sets_its_own).then_some(&no_reserve);
        let options = default.into_iter().chain(options);
        let spec = ClusterSpec {
            program: PathBuf::from(env!("CARGO_BIN_EXE_cartwheel")),
            nodes,
            data: folder.path().join("data"),
            logs: folder.path().join("logs"),
            first_port: None,
            first_http_port: None,
            options: options.map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            own_disks: false,
        };
        let ground = ProcessGround::start_in_zones(&spec, zones, false).await;
        let ground = ground.expect("the cluster starts");
        Self { ground, _folder: folder }
    }

    /// Kills a node with SIGKILL.
    pub(crate) async fn kill(&self, node: usize) {
        let fault = Fault::Kill { node: NodeNumber(node) };
        assert!(self.ground.begin(node, &fault).await.expect("a kill"), "n{} was dead", node + 1);
    }

    /// Starts a killed node again.
    pub(crate) async fn restart(&self, node: usize) {
        self.ground.end(node).await.expect("a start");
    }

    /// Adds one article to a cart; `node` is asked first.
    pub(crate) async fn add(
        &self,
        node: Option<usize>,
        cart: &str,
        add_id: &str,
        w: Option<u8>,
    ) -> Result<Answer, CallError> {
        let item = Item { add_id: add_id.to_owned(), sku: "milk".to_owned(), quantity: 1 };
        let action = Action::Change { cancel: Vec::new(), add: Some(item) };
        self.call(node, cart, action, w).await
    }

    /// The add_ids that a cart shows.
    pub(crate) async fn show(&self, node: Option<usize>, cart: &str, r: Option<u8>) -> Vec<String> {
        match self.call(node, cart, Action::Read, r).await {
            Ok(Answer::Cart { items, .. }) => items.into_iter().map(|item| item.add_id).collect(),
            other => panic!("{cart} was not shown: {other:?}"),
        }
    }

    async fn call(
        &self,
        node: Option<usize>,
        cart: &str,
        action: Action,
        quorum: Option<u8>,
    ) -> Result<Answer, CallError> {
        let call = Call {
            node: node.map(NodeNumber),
            only: false,
            bucket: "carts".to_owned(),
            key: cart.to_owned(),
            action,
            strict: false,
            quorum,
            timeout: TIMEOUT,
        };
        self.ground.call(call).await
    }
}

/// A fresh id for an addition.
pub(crate) fn add_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Runs a test's future on a runtime of its own, in the test's thread.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test)
}
