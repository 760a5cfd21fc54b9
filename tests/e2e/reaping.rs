//! `cartwheel reap`: what is deleted everywhere is freed, and a node that is away is named.

use std::time::Instant;

use serde_json::{Deserializer, Value};

use crate::{
    cluster::{Cluster, run},
    command::cartwheel,
    refusals::{Row, check},
    running::PATIENCE,
};

fn records(said: &Value) -> u64 {
    said["freed"]["records"].as_u64().unwrap_or_else(|| panic!("no records in {said}"))
}

/// Has all nodes reap while all are there; how many records that freed. Where the machine stands still for a moment a node is
/// suspected all the same and ends the run, which is repeated.
fn reaped(node: &str, arguments: &[&str]) -> u64 {
    let (began, mut freed) = (Instant::now(), 0);
    loop {
        let (code, said) = cartwheel(&[&["reap", "--json", "--node", node], arguments].concat());
        // What a run freed comes before what stopped it.
        let report = Deserializer::from_str(&said).into_iter::<Value>().next();
        let report = report.and_then(Result::ok);
        freed += records(&report.unwrap_or_else(|| panic!("{code}, and no report:\n{said}")));
        if code == 0 {
            return freed;
        }
        assert!(code == 1 && said.contains("is away"), "{code}: {said}");
        assert!(began.elapsed() < PATIENCE, "no run comes through:\n{said}");
    }
}

#[test]
fn what_is_deleted_everywhere_is_freed_unless_a_node_is_away() {
    run(async {
        let cluster = Cluster::start(3).await;
        let node = cluster.ground.addresses()[0].to_string();
        let strictly = ["--strict", "-w", "3", "--node", node.as_str()];
        for arguments in [&["cart", "add", "ann", "milk"][..], &["cart", "remove", "ann", "milk"]] {
            let (code, said) = cartwheel(&[arguments, &strictly].concat());
            assert_eq!(code, 0, "{arguments:?} said:\n{said}");
        }
        let rows: &[Row<'_>] = &[
            (&["reap", "--at", "n9"], 254, "there is no node n9; there are n1, n2, n3"),
            (&["reap", "--older-than", "long"], 254, "--older-than"),
        ];
        check(&node, rows);

        assert_eq!(reaped(&node, &[]), 0, "nothing is older than a day");
        let mut freed = 0;
        for _ in 0..10 {
            // The first run learns which runs of the nodes go on; what it gives up is there the next time.
            freed += reaped(&node, &["--older-than", "0"]);
            if freed > 0 {
                break;
            }
        }
        assert_eq!(freed, 3, "the cart is gone from each owner");
        let (code, said) = cartwheel(&["reap", "--show", "--node", &node]);
        assert!(code == 0 && said.contains("n3: done"), "{said}");

        cluster.kill(2).await;
        let (code, said) = cartwheel(&["reap", "--node", &node]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("n3 is away"), "it does not name n3:\n{said}");
        // Of the dead node alone: no other one can have noticed for it.
        let (code, said) = cartwheel(&["reap", "--at", "n3", "--node", &node]);
        assert!(code == 1 && said.contains("stopped at n3: n3 is away"), "{code}: {said}");
        cluster.ground.stop().await;
    });
}
