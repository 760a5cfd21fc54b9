//! What faults are called, and what is refused.

use super::{Connections, Damage, Fault, NodeNumber, Shape, ZoneNumber};

#[test]
fn faults_are_written_with_the_nodes_names() {
    let kill = Fault::Kill { node: NodeNumber(1) };
    let text = serde_json::to_string(&kill).expect("json");
    assert_eq!(text, r#"{"kind":"kill","node":"n2"}"#);
    assert_eq!(serde_json::from_str::<Fault>(&text).expect("fault"), kill);
    let partition = Fault::Partition {
        shape: Shape::OneWay,
        connections: Connections::Stall,
        cut: vec![(NodeNumber(0), NodeNumber(2))],
    };
    assert_eq!(partition.to_string(), "partition one-way n1→n3");
    let join = Fault::Join { node: NodeNumber(5), zone: ZoneNumber(0) };
    let text = serde_json::to_string(&join).expect("json");
    assert_eq!(text, r#"{"kind":"join","node":"n6","zone":"z1"}"#);
    assert_eq!(serde_json::from_str::<Fault>(&text).expect("fault"), join);
    let destroy = Fault::ZoneDestroy { zone: ZoneNumber(2), nodes: vec![NodeNumber(2)] };
    assert_eq!(destroy.to_string(), "zone-destroy z3 n3");
    let damage = Damage::Flip { at_ppm: vec![5, 900_000], bit: 3 };
    let corrupt = Fault::Corrupt { node: NodeNumber(0), damage };
    assert_eq!(corrupt.to_string(), "corrupt n1 flip 2 bits");
    let text = serde_json::to_string(&corrupt).expect("json");
    let damage = r#"{"how":"flip","at_ppm":[5,900000],"bit":3}"#;
    assert_eq!(text, format!(r#"{{"kind":"corrupt","node":"n1","damage":{damage}}}"#));
    assert_eq!(serde_json::from_str::<Fault>(&text).expect("fault"), corrupt);
    let reap = Fault::Reap { nodes: vec![NodeNumber(1), NodeNumber(0)], older_than_s: 20 };
    assert_eq!(reap.to_string(), "reap older than 20 s n2 n1");
    let text = serde_json::to_string(&reap).expect("json");
    assert_eq!(text, r#"{"kind":"reap","nodes":["n2","n1"],"older_than_s":20}"#);
    assert_eq!(serde_json::from_str::<Fault>(&text).expect("fault"), reap);
    let links = vec![(NodeNumber(0), NodeNumber(2))];
    let slow = Fault::Slow { delay_ms: 30, bytes_per_s: Some(9), links };
    assert_eq!(slow.to_string(), "slow 30 ms 9 bytes/s n1→n3");
    let text = serde_json::to_string(&slow).expect("json");
    assert_eq!(text, r#"{"kind":"slow","delay_ms":30,"bytes_per_s":9,"links":[["n1","n3"]]}"#);
    assert_eq!(serde_json::from_str::<Fault>(&text).expect("fault"), slow);
}

#[test]
fn a_fault_that_names_no_node_is_refused() {
    for bad in [
        r#"{"kind":"kill","node":"n0"}"#,
        r#"{"kind":"kill","node":"2"}"#,
        r#"{"kind":"kill"}"#,
        r#"{"kind":"kill","node":"n1","for":3}"#,
        r#"{"kind":"melt","node":"n1"}"#,
        r#"{"kind":"join","node":"n1","zone":"n1"}"#,
        r#"{"kind":"wipe","node":"n1","way":"hope"}"#,
    ] {
        assert!(serde_json::from_str::<Fault>(bad).is_err(), "{bad}");
    }
}
