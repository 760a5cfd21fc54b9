//! Members, wishes and plans as lines and as JSON.

use std::collections::BTreeMap;

use cartwheel_client::{
    NodeId,
    members::{Members, Outlook, RowSeen, SizeChange, StagedWish},
};
use serde_json::{Value, json};

use crate::{exit::Failure, output};

/// So many ranges of partitions are listed in a line; `--json` has all.
const RANGES: usize = 8;

/// Prints what a change would move. `stores` are the sizes of the stores of nodes that answered, by id, in bytes.
pub(super) fn show_plan(
    members: &Members,
    outlook: &Outlook,
    stores: &BTreeMap<u64, u64>,
    as_json: bool,
) -> Result<(), Failure> {
    if as_json {
        return output::json(&plan_json(members, outlook, stores));
    }
    output::line(format!(
        "layout {} to {}, {} partitions",
        outlook.from, outlook.to, outlook.partitions
    ));
    for wish in &outlook.wishes {
        output::line(format!("  {:032x} {}: {}", wish.id, wish.text, wish.why));
    }
    for size in &outlook.sizes {
        let total: u32 = size.loads.iter().map(|load| load.after).sum();
        let bytes = moved_bytes(size, stores);
        let bytes = bytes.map(|bytes| format!(", at most about {} KiB", bytes.div_ceil(1024)));
        let (n, moves, bytes) = (size.n, size.moves, bytes.unwrap_or_default());
        output::line(format!("n={n}: {moves} of {total} copies of partitions move{bytes}"));
        for load in &size.loads {
            let (node, before, after) = (members.name_of(load.node), load.before, load.after);
            let (gets, which) = (load.gets.len(), ranges(&load.gets));
            output::line(format!(
                "  {node:<10} {before:>5} to {after:>5}, {gets:>5} copied to it{which}"
            ));
        }
        if !size.zones_short.is_empty() {
            let short: Vec<u32> =
                size.zones_short.iter().map(|(partition, _)| *partition).collect();
            let (count, which) = (short.len(), ranges(&short));
            output::line(format!("  {count} partitions span fewer zones than they could{which}"));
        }
        let counted = [
            (size.thin, "have too few living owners to change without --accept-loss"),
            (size.orphaned, "keep no owner that is alive: what only the others hold is lost"),
        ];
        for (count, what) in counted.iter().filter(|(count, _)| *count > 0) {
            output::line(format!("  {count} partitions {what}"));
        }
    }
    Ok(())
}

/// Partitions in ranges, after a colon: `: 0 to 3, 17, 20 to 21`, or nothing if there are none.
fn ranges(partitions: &[u32]) -> String {
    let ranges: Vec<&[u32]> = partitions.chunk_by(|a, b| a + 1 == *b).collect();
    let text = |range: &&[u32]| match **range {
        [first, .., last] => format!("{first} to {last}"),
        [only] => only.to_string(),
        [] => String::new(),
    };
    let shown: Vec<String> = ranges.iter().take(RANGES).map(text).collect();
    let more = if ranges.len() > RANGES { ", … (--json lists all)" } else { "" };
    if shown.is_empty() { String::new() } else { format!(": {}{more}", shown.join(", ")) }
}

/// How much moves, going by what the stores that are known take on disk for each copy of a partition. Buckets of
/// other sizes are in those stores too, and space that the engine has not reused yet.
fn moved_bytes(size: &SizeChange, stores: &BTreeMap<u64, u64>) -> Option<u64> {
    let known = size.loads.iter().filter_map(|load| Some((load.before, *stores.get(&load.node)?)));
    let (copies, bytes) = known.fold((0, 0), |(copies, bytes), (before, size)| {
        if before > 0 { (copies + u64::from(before), bytes + size) } else { (copies, bytes) }
    });
    (u64::from(size.moves) * bytes).checked_div(copies)
}

fn plan_json(members: &Members, outlook: &Outlook, stores: &BTreeMap<u64, u64>) -> Value {
    let sizes = outlook.sizes.iter().map(|size| {
        let loads = size.loads.iter().map(|load| {
            json!({ "node": NodeId(load.node).to_string(), "name": members.name_of(load.node),
                "before": load.before, "after": load.after, "gets": load.gets })
        });
        let short = size.zones_short.iter();
        let short = short.map(|(partition, zones)| json!({ "partition": partition, "zones": zones }));
        json!({ "n": size.n, "moves": size.moves, "bytes_at_most": moved_bytes(size, stores),
            "zones_short": short.collect::<Vec<_>>(), "thin": size.thin, "orphaned": size.orphaned, "nodes": loads.collect::<Vec<_>>() })
    });
    let (sizes, wishes): (Vec<_>, Vec<_>) =
        (sizes.collect(), outlook.wishes.iter().map(wish_json).collect());
    json!({ "from": outlook.from, "to": outlook.to, "partitions": outlook.partitions,
        "wishes": wishes, "sizes": sizes })
}

fn wish_json(wish: &StagedWish) -> Value {
    json!({ "id": format!("{:032x}", wish.id), "wish": wish.text, "why": wish.why })
}

/// A node in a line.
pub(crate) fn row_line(row: &RowSeen) -> String {
    let (zone, view) = (row.zone.as_deref().unwrap_or("-"), row.view.as_deref().unwrap_or("-"));
    let weight = row.weight.map_or_else(|| "-".to_owned(), |weight| weight.to_string());
    let mut line = format!(
        "{:<10} {:<17} {:<8} zone {zone:<6} weight {weight:<3} {view:<7} {}",
        row.name,
        NodeId(row.node).to_string(),
        row.status,
        row.address
    );
    if row.must_catch_up {
        line.push_str(if row.has_caught_up { ", caught up" } else { ", catching up" });
    }
    if row.is_suspected {
        line.push_str(", suspected");
    }
    line
}

/// All that is known of the members.
pub(crate) fn members_json(members: &Members) -> Value {
    let row = |row: &RowSeen| {
        json!({ "id": NodeId(row.node).to_string(), "name": row.name, "address": row.address,
            "zone": row.zone, "weight": row.weight, "status": row.status, "view": row.view,
            "must_catch_up": row.must_catch_up, "has_caught_up": row.has_caught_up,
            "suspected": row.is_suspected })
    };
    let view = members.view.as_ref().map(|view| {
        let ids = |ids: &[u64]| ids.iter().map(|id| NodeId(*id).to_string()).collect::<Vec<_>>();
        let under_way: Vec<_> = view.under_way.iter().map(|id| format!("{id:032x}")).collect();
        json!({ "id": view.id, "layout": view.layout, "next": view.next, "under_way": under_way,
            "draining": ids(&view.draining), "zones": view.zones })
    });
    let rows: Vec<_> = members.rows.iter().map(row).collect();
    let staged: Vec<_> = members.staged.iter().map(wish_json).collect();
    json!({ "node": NodeId(members.node).to_string(), "name": members.name,
        "standing": members.standing.to_string(), "view": view, "nodes": rows, "staged": staged,
        "shards": members.shards, "trees": members.trees })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cartwheel_client::members::{LoadChange, SizeChange};

    use super::{moved_bytes, ranges};

    #[test]
    fn partitions_are_listed_in_ranges_and_not_without_end() {
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[0, 1, 2, 7, 9, 10]), ": 0 to 2, 7, 9 to 10");
        let scattered: Vec<u32> = (0..9).map(|at| at * 2).collect();
        assert_eq!(ranges(&scattered[..8]), ": 0, 2, 4, 6, 8, 10, 12, 14");
        assert_eq!(ranges(&scattered), ": 0, 2, 4, 6, 8, 10, 12, 14, … (--json lists all)");
    }

    #[test]
    fn what_moves_is_weighed_by_the_stores_of_those_that_answer_and_own_something() {
        let load = |node, before| LoadChange { node, before, ..LoadChange::default() };
        let loads = vec![load(1, 100), load(2, 60), load(3, 0)];
        let size = SizeChange { n: 3, moves: 40, loads, ..SizeChange::default() };
        assert_eq!(moved_bytes(&size, &BTreeMap::from([(1, 5_000), (3, 900)])), Some(2_000));
        assert_eq!(moved_bytes(&size, &BTreeMap::from([(1, 5_000), (2, 3_000)])), Some(2_000));
        assert_eq!(moved_bytes(&size, &BTreeMap::new()), None);
    }
}
