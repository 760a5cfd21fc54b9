//! Workloads carried out on a cluster that is one map in memory.

use std::time::Duration;

use cartwheel_checker::cart::{CartValue, Item};

use super::{Manner, Workload};
use crate::fault::NodeNumber;
use crate::ground::fake::{FakeGround, Flaws};
use crate::ground::{Action, CallError};

const MANNER: Manner = Manner {
    node: None,
    only: false,
    strict: false,
    r: Some(1),
    w: Some(2),
    timeout: Duration::from_secs(1),
};

fn item(add_id: &str) -> Item {
    Item { add_id: add_id.to_owned(), sku: "milk".to_owned(), quantity: 2 }
}

fn add(add_id: &str) -> CartValue {
    CartValue::Add { cart: "c".to_owned(), item: item(add_id) }
}

async fn shown(workload: Workload, ground: &FakeGround) -> Vec<Item> {
    let read = CartValue::Read { cart: "c".to_owned(), items: None };
    let answer = workload.execute(ground, &read, MANNER).await.expect("a read");
    let CartValue::Read { items: Some(items), .. } = answer else { panic!("{answer:?}") };
    items
}

#[tokio::test]
async fn every_workload_adds_cancels_changes_and_shows() {
    for workload in Workload::ALL {
        let ground = FakeGround::new(3, Flaws::default());
        for add_id in ["a", "b", "c"] {
            workload.execute(&ground, &add(add_id), MANNER).await.expect("added");
        }
        let cancel = CartValue::Cancel { cart: "c".to_owned(), add_ids: vec!["a".to_owned()] };
        workload.execute(&ground, &cancel, MANNER).await.expect("cancelled");
        let cancel = vec!["b".to_owned()];
        let change = CartValue::Change { cart: "c".to_owned(), cancel, add: Some(item("d")) };
        let answer = workload.execute(&ground, &change, MANNER).await.expect("changed");
        assert_eq!(answer, change);
        assert_eq!(shown(workload, &ground).await, [item("c"), item("d")], "{workload}");
    }
}

#[tokio::test]
async fn concurrent_puts_of_a_cart_in_a_register_become_siblings_that_unite() {
    let ground = FakeGround::new(3, Flaws::default());
    let (one, other) = (add("a"), add("b"));
    let (one, other) = tokio::join!(
        Workload::PaperCart.execute(&ground, &one, MANNER),
        Workload::PaperCart.execute(&ground, &other, MANNER),
    );
    one.and(other).expect("both added");
    assert_eq!(shown(Workload::PaperCart, &ground).await, [item("a"), item("b")]);
}

#[tokio::test]
async fn only_a_write_can_leave_an_unknown_outcome() {
    let flaws = Flaws { silent_every: Some(1), ..Flaws::default() };
    for workload in Workload::ALL {
        let ground = FakeGround::new(3, flaws);
        let error = workload.execute(&ground, &add("a"), MANNER).await.expect_err("silence");
        assert_eq!(error, CallError { definite: false, message: "silence".to_owned() });
        assert_eq!(shown(workload, &ground).await, [item("a")]);
    }
}

#[test]
fn strict_calls_leave_the_quorum_to_the_bucket() {
    let add = Action::Change { cancel: Vec::new(), add: None };
    assert_eq!(MANNER.call("carts", "c", Action::Read).quorum, Some(1));
    assert_eq!(MANNER.call("carts", "c", add).quorum, Some(2));
    assert_eq!(MANNER.call("carts", "c", Action::ReadLocal).quorum, None);
    let strict = Manner { strict: true, node: Some(NodeNumber(1)), ..MANNER };
    let call = strict.call("carts", "c", Action::Read);
    assert_eq!((call.quorum, call.strict, call.node), (None, true, Some(NodeNumber(1))));
}
