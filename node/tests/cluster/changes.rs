//! Layouts that change while carts are written to: nothing acknowledged is lost, and who went stays away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cartwheel_client::members::{NewWish, StageError, Standing, Wish};
use cartwheel_client::service::{BucketEntry, RequestError};
use cartwheel_client::{AddId, Ask, Client, Error, NodeId, Options, Progress};
use cartwheel_node::{EngineKind, NodeConfig};

use crate::cluster::{self, Cluster, PATIENCE, put, reserve};

const CARTS: usize = 40;

/// Adds to carts without end, and remembers what was acknowledged.
struct Writers {
    is_over: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<Vec<(usize, AddId)>>>,
}

impl Writers {
    fn start(client: &Client) -> Self {
        let (is_over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let write = |writer: usize| {
            let (client, is_over, count) = (client.clone(), is_over.clone(), count.clone());
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for round in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let number = (round * 7 + writer) % CARTS;
                    let mut options = Options::bucket("carts").within(Duration::from_secs(2));
                    options.strict = round % 2 == 0;
                    let cart = client.cart_with(format!("cart{number}"), options);
                    if let Ok(added) = cart.add("milk", 1).await {
                        acknowledged.push((number, added.add_id));
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
                acknowledged
            })
        };
        let tasks = (0..4).map(write).collect();
        Self { is_over, count, tasks }
    }

    /// Waits for so many more acknowledged additions.
    async fn go_on_for(&self, more: usize) {
        let enough = self.count.load(Ordering::Relaxed) + more;
        within("additions are acknowledged", async || {
            (self.count.load(Ordering::Relaxed) >= enough).then_some(())
        })
        .await;
    }

    async fn end(self) -> Vec<(usize, AddId)> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        for task in self.tasks {
            acknowledged.extend(task.await.expect("a writer ends"));
        }
        acknowledged
    }
}

/// Looks until there is something, within a deadline.
async fn within<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < 2 * PATIENCE, "not within {:?}: {what}", 2 * PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn client(cluster: &Cluster, nodes: &[usize]) -> Client {
    let addresses = nodes.iter().map(|node| cluster.configs[*node].listen.to_string());
    Client::connect(addresses).await.expect("a node answers")
}

fn id(cluster: &Cluster, node: usize) -> u64 {
    cluster.node(node).status().node
}

/// Stages a wish and waits until it is done.
async fn change(client: &Client, wish: Wish) {
    let wish = stage(client, wish).await.expect("the wish is staged");
    within("the wish is done", async || {
        let progress = client.progress(&wish, PATIENCE).await.ok()?;
        assert!(!matches!(progress, Progress::GivenUp { .. }), "{wish:?}: {progress}");
        matches!(progress, Progress::Done { .. }).then_some(())
    })
    .await;
}

async fn stage(client: &Client, wish: Wish) -> Result<NewWish, StageError> {
    let wish = NewWish::new(wish, false);
    let staged = client.stage(vec![wish.clone()], false, PATIENCE).await.expect("a node answers");
    staged.map(|_| wish)
}

/// Waits until a node counts as a member.
async fn is_member(client: &Client, node: u64) {
    within("the node is a member", async || {
        let members = client.members(PATIENCE).await.ok()?;
        let view = members.view.filter(|view| view.next.is_none())?;
        let row = members.rows.into_iter().find(|row| row.node == node)?;
        (row.is_member() && row.view == Some(view.id)).then_some(())
    })
    .await;
}

async fn quiet(client: &Client) {
    let ended = client.quiet(2 * PATIENCE, |_| {}).await;
    ended.expect("the cluster becomes quiet");
}

/// All these additions are read, strictly, through each of these nodes.
async fn all_are_there(
    client: &Client,
    cluster: &Cluster,
    nodes: &[usize],
    acknowledged: &[(usize, AddId)],
) {
    for node in nodes {
        let ask = Ask::Only(NodeId(id(cluster, *node)));
        client.refresh().await.expect("a node tells the layout");
        for number in 0..CARTS {
            let options = Options::bucket("carts").strict().asking(ask);
            let shown = client.cart_with(format!("cart{number}"), options).show().await;
            let shown = shown.unwrap_or_else(|error| panic!("n{}: {error}", node + 1));
            let additions = shown.items.iter().flat_map(|item| &item.additions);
            let ids: Vec<AddId> = additions.map(|addition| addition.add_id).collect();
            let mine = acknowledged.iter().filter(|(cart, _)| *cart == number);
            for (_, add_id) in mine {
                assert!(ids.contains(add_id), "an addition to cart{number} is lost at {node}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fourth_node_joins_by_a_seed_while_carts_are_written() {
    let mut cluster = Cluster::start(3, EngineKind::Sled).await;
    let client = client(&cluster, &[0, 1, 2]).await;
    let writers = Writers::start(&client);
    writers.go_on_for(50).await;
    let fourth = cluster.join("n4", &[1]).await;
    is_member(&client, id(&cluster, fourth)).await;
    writers.go_on_for(50).await;
    let acknowledged = writers.end().await;
    quiet(&client).await;
    assert_eq!(client.refresh().await.expect("a layout").members.len(), 4);
    all_are_there(&client, &cluster, &[0, 1, 2, 3], &acknowledged).await;
    // Its view is on its disk: it comes back without seeds, and with nobody to ask.
    cluster.kill(fourth).await;
    for node in 0..3 {
        cluster.kill(node).await;
    }
    cluster.configs[fourth] =
        NodeConfig { seed: Vec::new(), join: false, ..cluster.configs[fourth].clone() };
    cluster.restart(fourth).await.expect("the store is sound");
    assert_eq!(cluster.node(fourth).status().view, "v2");
    for node in 0..3 {
        cluster.restart(node).await.expect("the store is sound");
        assert_eq!(cluster.node(node).status().view, "v2", "not the cluster file's");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_leaves_while_carts_are_written_and_is_done_when_it_has_drained() {
    let cluster = Cluster::start(4, EngineKind::Memory).await;
    // Its only seed is the node that leaves.
    let client = client(&cluster, &[3]).await;
    let writers = Writers::start(&client);
    writers.go_on_for(50).await;
    let leaver = id(&cluster, 3);
    change(&client, Wish::Leave(leaver)).await;
    writers.go_on_for(50).await;
    let acknowledged = writers.end().await;
    quiet(&client).await;
    let directory = client.refresh().await.expect("a layout");
    assert!(directory.members.len() == 3 && directory.member(NodeId(leaver)).is_none());
    all_are_there(&client, &cluster, &[0, 1, 2], &acknowledged).await;
    // It says that it was removed, and takes nothing.
    within("the node knows", async || {
        let members = client.members_at(&cluster.configs[3].listen.to_string(), PATIENCE).await;
        (members.ok()?.standing == Standing::Removed).then_some(())
    })
    .await;
    let refused = cluster.client(3).await.ask(&put("k", b"v")).await.expect("it answers");
    assert_eq!(refused, Err(RequestError::Removed));
    assert!(cluster.node(3).status().view.contains("removed"), "{:?}", cluster.node(3).status());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_is_replaced_and_when_it_returns_it_drains_and_is_told() {
    let mut cluster = Cluster::start(4, EngineKind::Sled).await;
    let client = client(&cluster, &[0, 1]).await;
    let writers = Writers::start(&client);
    writers.go_on_for(50).await;
    let dead = id(&cluster, 3);
    cluster.kill(3).await;
    // A new node of the dead one's name takes its place by itself once that one is suspected.
    let fresh = cluster.join("n4", &[0, 2]).await;
    let new = id(&cluster, fresh);
    is_member(&client, new).await;
    writers.go_on_for(50).await;
    cluster.restart(3).await.expect("the store is sound");
    within("the old node has drained", async || {
        let members = client.members(PATIENCE).await.ok()?;
        let view = members.view.filter(|view| view.next.is_none() && view.draining.is_empty())?;
        (view.layout > 2).then_some(())
    })
    .await;
    let acknowledged = writers.end().await;
    quiet(&client).await;
    let directory = client.refresh().await.expect("a layout");
    assert!(directory.member(NodeId(dead)).is_none() && directory.member(NodeId(new)).is_some());
    all_are_there(&client, &cluster, &[0, 1, 2, fresh], &acknowledged).await;
    within("the old node says so", async || {
        cluster.node(3).status().view.contains("removed").then_some(())
    })
    .await;
    // Its id does not return, not even if it wishes to.
    cluster.kill(3).await;
    cluster.configs[3].seed = vec![cluster.configs[0].listen.to_string()];
    cluster.configs[3].join = true;
    cluster.restart(3).await.expect("the store is sound");
    let back = cluster.client(3).await;
    let refused = back.ask(&put("k", b"v")).await.expect("it answers");
    assert_eq!(refused, Err(RequestError::Removed));
    assert_eq!(client.refresh().await.expect("a layout").members.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_store_cannot_be_opened_takes_its_old_place_as_a_new_node() {
    let mut cluster = Cluster::start(3, EngineKind::Sled).await;
    let client = client(&cluster, &[0, 1]).await;
    let writers = Writers::start(&client);
    writers.go_on_for(50).await;
    let old = id(&cluster, 2);
    cluster.kill(2).await;
    let data = cluster.configs[2].data.clone();
    std::fs::write(data.join("sled/db"), "no log").expect("the log of a node that has ended");
    let refused = cluster.restart(2).await.expect_err("it has no seed to come back as another");
    assert!(refused.to_string().contains("--name, --seed and --join"), "{refused}");

    cluster.configs[2].name = Some("n3".into());
    cluster.configs[2].seed = vec![cluster.configs[0].listen.to_string()];
    cluster.configs[2].join = true;
    cluster.restart(2).await.expect("a new node");
    let new = id(&cluster, 2);
    assert_ne!(new, old);
    is_member(&client, new).await;
    writers.go_on_for(50).await;
    let acknowledged = writers.end().await;
    // The old disk is lost for good.
    change(&client, Wish::Forget(old)).await;
    quiet(&client).await;
    let directory = client.refresh().await.expect("a layout");
    assert!(directory.member(NodeId(old)).is_none() && directory.members.len() == 3);
    all_are_there(&client, &cluster, &[0, 1, 2], &acknowledged).await;
    let aside = data.with_file_name("n3.set-aside-1");
    let kept = cartwheel_node::store_id(&aside).expect("the old store is kept");
    assert_eq!(kept.id, NodeId(old));
}

#[tokio::test]
async fn a_node_alone_forms_a_cluster_and_one_with_a_seed_that_does_not_answer_does_not() {
    let mut cluster = Cluster::start(1, EngineKind::Memory).await;
    let data = tempfile::tempdir().expect("a folder");
    let (listen, _reserved) = reserve();
    let alone = NodeConfig {
        data: data.path().join("data"),
        name: Some("alone".into()),
        listen,
        shards: 1,
        free_space_reserve_mib: Some(0),
        ..NodeConfig::default()
    };
    let start = |config: &NodeConfig| {
        cartwheel_node::Node::start(config.clone(), cartwheel_node::Options::default())
    };
    let node = start(&alone).await.expect("it forms a cluster");
    let address = node.address().to_string();
    let client = Client::connect([address.clone()]).await.expect("it answers");
    let one = Options::default().with_quorums(Some(1), Some(1));
    client.put(b"k", None, b"v", &one).await.expect("it serves");
    let (cluster_id, view) = (node.status().cluster, node.status().view);
    assert_eq!(view, "v1");
    node.kill().await;
    let node = start(&alone).await.expect("it comes back");
    assert_eq!((node.status().cluster, node.status().view), (cluster_id, view));
    node.kill().await;
    // Nobody answers there any more.
    let seeded = NodeConfig {
        data: data.path().join("other"),
        name: Some("other".into()),
        listen: ([127, 0, 0, 1], 0).into(),
        seed: vec![address],
        ..alone
    };
    let waits = tokio::time::timeout(Duration::from_millis(500), start(&seeded)).await;
    assert!(waits.is_err(), "it waits for its seed");
    // One that is no member takes no data, and answers questions.
    let stranger = cluster.join("n2", &[0]).await;
    assert_eq!(cluster.node(stranger).status().cluster, cluster.node(0).status().cluster);
}

#[tokio::test]
async fn a_wish_that_the_layout_refuses_is_not_staged_and_one_that_it_takes_can_be_looked_at() {
    let cluster = Cluster::start(3, EngineKind::Memory).await;
    let client = client(&cluster, &[0]).await;
    let refused = stage(&client, Wish::Leave(0xbad)).await.expect_err("there is no such node");
    assert!(refused.to_string().contains("nbad is not a member"), "{refused}");
    let refused = stage(&client, Wish::Zone(id(&cluster, 0), String::new())).await;
    assert!(matches!(refused, Err(StageError::Invalid(_))), "{refused:?}");
    let plan = NewWish { id: 1, wish: Wish::Weight(id(&cluster, 0), 3), accept_loss: false };
    let plan = client.stage(vec![plan], true, PATIENCE).await.expect("a node answers");
    let plan = plan.expect("the layout takes it");
    assert_eq!((plan.from, plan.to, plan.wishes.len()), (1, 2, 1));
    let members = client.members(PATIENCE).await.expect("a node answers");
    assert!(members.staged.is_empty() && members.view.is_some_and(|view| view.layout == 1));
    let bucket = BucketEntry {
        name: "lists".into(),
        n: 2,
        is_cart: true,
        is_last_write_wins: false,
        is_spread_over_zones: false,
        strict_r: 2,
        strict_w: 1,
        cancelled_bound: 2_048,
        r: 1,
        w: 1,
    };
    change(&client, Wish::BucketCreate(bucket)).await;
    // It is done where one node goes by it; others do not know the bucket until they do.
    cluster.wait_for("all go by the new layout", |status| status.view.starts_with("v2")).await;
    client.refresh().await.expect("a layout");
    let added = client.cart_with("ann", Options::bucket("lists")).add("milk", 1).await;
    assert!(!matches!(added, Err(Error::Refused(_))), "{added:?}");
    let first = cluster::add("ann", 1, "milk", 1);
    cluster.client(1).await.write(&first).await;
}

#[tokio::test]
async fn a_member_that_comes_back_elsewhere_is_found_there_and_listed_there() {
    let mut cluster = Cluster::start(3, EngineKind::Sled).await;
    let client = client(&cluster, &[0]).await;
    let moved = id(&cluster, 2);
    cluster.kill(2).await;
    let (elsewhere, _reserved) = reserve();
    cluster.configs[2].listen = elsewhere;
    cluster.configs[2].advertise = Some(elsewhere.to_string());
    cluster.restart(2).await.expect("the store is sound");
    within("the layout lists it there", async || {
        let directory = client.refresh().await.ok()?;
        let seat = directory.member(NodeId(moved))?;
        (seat.address == elsewhere.to_string()).then_some(())
    })
    .await;
    cluster.wait_for("all are connected", |status| status.connected.len() == 2).await;
}
