//! Wishes that would give up what dead owners hold: what they are told, and whom they may name.

use cartwheel_client::members::{NewWish, Outlook, SizeChange, StageError, Wish};
use cartwheel_client::{Client, NodeId};
use cartwheel_node::EngineKind;

use crate::cluster::{Cluster, PATIENCE};

async fn plan(client: &Client, wish: Wish, accept_loss: bool) -> Result<Outlook, StageError> {
    let wish = NewWish::new(wish, accept_loss);
    client.stage(vec![wish], true, PATIENCE).await.expect("a node answers")
}

/// What is said of partitions for the only size in use.
fn figures(outlook: &Outlook) -> (u32, u32) {
    let [SizeChange { orphaned, thin, .. }] = outlook.sizes[..] else { panic!("{outlook:?}") };
    (orphaned, thin)
}

#[tokio::test]
async fn only_the_loss_of_a_suspected_owner_is_accepted_and_the_plan_counts_what_is_lost() {
    let mut cluster = Cluster::start(3, EngineKind::Memory).await;
    let client =
        Client::connect([cluster.configs[0].listen.to_string()]).await.expect("it answers");
    let id = |cluster: &Cluster, node: usize| cluster.node(node).status().node;
    let ids = [0, 1, 2].map(|node| id(&cluster, node));
    let removes = Wish::Remove(ids[2]);
    let refused = plan(&client, removes.clone(), true).await.expect_err("it lives");
    let living = format!("{} is not suspected", NodeId(ids[2]));
    assert!(refused.to_string().contains(&living), "{refused}");
    let outlook = plan(&client, removes.clone(), false).await.expect("nobody is named as lost");
    let all = outlook.partitions;
    assert_eq!(figures(&outlook), (0, 0));

    for node in [1, 2] {
        cluster.kill(node).await;
    }
    cluster.wait_for("both are suspected", |status| status.suspected.len() == 2).await;
    let blocked = plan(&client, removes.clone(), false).await.expect_err("too few owners live");
    let StageError::Refused { why, outlook } = blocked else { panic!("{blocked}") };
    assert!(why.contains(&format!("too few living owners of {all} partitions")), "{why}");
    assert_eq!(figures(&outlook), (0, all));
    assert_eq!((outlook.from, outlook.to), (1, 2), "it is shown what it would do");
    let outlook = plan(&client, removes, true).await.expect("its loss is accepted");
    assert_eq!(figures(&outlook), (0, all), "the living owner stays");
    let outlook = plan(&client, Wish::Leave(ids[0]), false).await.expect("it is not dead");
    assert_eq!(figures(&outlook), (all, all), "no living owner stays");
}
