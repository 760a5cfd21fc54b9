//! What the arguments of member and bucket commands become.

use super::*;

fn members() -> Members {
    let row = |node, name: &str, zone: Option<&str>, status: &str| RowSeen {
        node,
        name: name.into(),
        address: format!("127.0.0.1:{node}"),
        zone: zone.map(Into::into),
        weight: zone.map(|_| 2),
        status: status.into(),
        ..RowSeen::default()
    };
    let rows = vec![
        row(1, "n1", Some("a"), "up"),
        row(0xb, "n2", None, "removed"),
        row(2, "n2", Some("b"), "up"),
        row(3, "n2", None, "joining"),
    ];
    let staged = [0x1f << 120, 0x1e << 120];
    let wish = |id| cartwheel_client::members::StagedWish { id, ..Default::default() };
    Members { rows, staged: staged.map(wish).into(), ..Members::default() }
}

#[test]
fn names_mean_members_first_and_ids_mean_anybody() {
    let all = members();
    assert_eq!(find(&all, "n2").map(|row| row.node).ok(), Some(2));
    assert_eq!(find(&all, "nb").map(|row| row.node).ok(), Some(0xb));
    let unknown = find(&all, "n9").expect_err("there is none");
    assert_eq!(unknown.exit, Exit::BadArguments);
    assert!(unknown.message.contains("there is no node n9"), "{}", unknown.message);
}

#[test]
fn a_new_node_of_the_old_ones_name_takes_its_zone_and_weight() {
    let wish = replace(&members(), "n2", "n2").expect("both are there");
    let Wish::Replace { old: 2, new } = wish else { panic!("{wish:?}") };
    assert_eq!((new.node, new.zone.as_str(), new.weight), (3, "b", 2));
}

#[test]
fn a_wish_is_meant_by_the_beginning_of_its_id() {
    let all = members();
    assert_eq!(wish_id(&all, "1f").ok(), Some(0x1f << 120));
    assert_eq!(wish_id(&all, "#1e").ok(), Some(0x1e << 120));
    for (text, why) in [("1", "several"), ("", "several"), ("2", "no wish")] {
        let refused = wish_id(&all, text).expect_err(text);
        assert!(refused.message.contains(why), "{}", refused.message);
    }
}
