//! Members, wishes and plans as lines and as JSON.

use cartwheel_client::{
    NodeId,
    members::{Members, Outlook, RowSeen, StagedWish},
};
use serde_json::{Value, json};

use crate::{exit::Failure, output};

/// The name of a node, or its id if it is not known.
pub(super) fn name(members: &Members, node: u64) -> String {
    let row = members.rows.iter().find(|row| row.node == node);
    row.map_or_else(|| NodeId(node).to_string(), |row| row.name.clone())
}

/// Prints what a change would move.
pub(super) fn show_plan(
    members: &Members,
    outlook: &Outlook,
    as_json: bool,
) -> Result<(), Failure> {
    if as_json {
        return output::json(&plan_json(members, outlook));
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
        output::line(format!("n={}: {} of {total} copies of partitions move", size.n, size.moves));
        for load in &size.loads {
            let (node, before, after) = (name(members, load.node), load.before, load.after);
            output::line(format!(
                "  {node:<10} {before:>5} to {after:>5}, {:>5} copied to it",
                load.gets
            ));
        }
        let counted = [
            (size.zones_short, "span fewer zones than they could"),
            (size.thin, "have too few living owners to change without --accept-loss"),
            (size.orphaned, "keep no owner that is alive: what only the others hold is lost"),
        ];
        for (count, what) in counted.iter().filter(|(count, _)| *count > 0) {
            output::line(format!("  {count} partitions {what}"));
        }
    }
    Ok(())
}

fn plan_json(members: &Members, outlook: &Outlook) -> Value {
    let sizes = outlook.sizes.iter().map(|size| {
        let loads = size.loads.iter().map(|load| {
            json!({ "node": NodeId(load.node).to_string(), "name": name(members, load.node),
                "before": load.before, "after": load.after, "gets": load.gets })
        });
        json!({ "n": size.n, "moves": size.moves, "zones_short": size.zones_short,
            "thin": size.thin, "orphaned": size.orphaned, "nodes": loads.collect::<Vec<_>>() })
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
        "shards": members.shards })
}
