//! Sequence diagrams of paths, for the Explorer.

use std::fmt::Write as _;

use crate::{action::Action, world::World};

const COLUMN: usize = 160;
const ROW: usize = 28;
const TOP: usize = 40;

/// A path as a sequence diagram in SVG: one line for each node, an arrow for each message that arrived, a label for
/// whatever else happened.
pub(crate) fn draw(start: &World, actions: &[Action]) -> String {
    let nodes = start.setup().nodes.len();
    let (width, height) = (COLUMN * (nodes + 2), TOP + ROW * (actions.len() + 1));
    let x = |at: usize| COLUMN / 2 + at * COLUMN;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' \
         font-family='monospace' font-size='11'><defs><marker id='a' markerWidth='8' \
         markerHeight='8' refX='8' refY='4' orient='auto'><path d='M0 0 L8 4 L0 8 z'/></marker></defs>"
    );
    let mut put = |text: String| svg.push_str(&text);
    for (at, node) in start.setup().nodes.iter().enumerate() {
        let x = x(at);
        put(format!("<text x='{x}' y='20' text-anchor='middle'>{node}</text>"));
        put(format!("<line x1='{x}' y1='{TOP}' x2='{x}' y2='{height}' stroke='#bbb'/>"));
    }
    let mut world = start.clone();
    for (row, action) in actions.iter().enumerate() {
        let y = TOP + ROW * (row + 1);
        let label = escaped(&world.line(*action));
        match action {
            Action::Deliver(index) | Action::Duplicate(index) | Action::Drop(index) => {
                let packet = &world.network().packets()[usize::from(*index)];
                let (from, to) =
                    (x(start.setup().index(packet.from)), x(start.setup().index(packet.to)));
                let is_lost = matches!(action, Action::Drop(_));
                let colour = if is_lost { "#c00" } else { "#06c" };
                put(format!(
                    "<line x1='{from}' y1='{y}' x2='{to}' y2='{y}' stroke='{colour}' marker-end='url(#a)'/>"
                ));
                put(format!("<text x='{}' y='{}'>{label}</text>", from.min(to) + 6, y - 4));
            }
            Action::Decree(_) => put(format!("<text x='6' y='{}'>{label}</text>", y - 4)),
            Action::Ask { at, .. }
            | Action::Retry { at, .. }
            | Action::Sync(at)
            | Action::Raise(at)
            | Action::Reap(at)
            | Action::Fire(at, _)
            | Action::Suspect { node: at, .. }
            | Action::Trust { node: at, .. }
            | Action::Crash { node: at, .. }
            | Action::Hush(at)
            | Action::Restart(at)
            | Action::Wipe(at)
            | Action::Adopt { node: at, .. }
            | Action::Damage { node: at, .. } => {
                let x = x(usize::from(*at));
                put(format!("<circle cx='{x}' cy='{y}' r='3'/>"));
                put(format!("<text x='{}' y='{}'>{label}</text>", x + 6, y - 4));
            }
        }
        world.apply(*action, &mut ());
    }
    svg.write_str("</svg>").expect("a String takes all");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use cartwheel_protocol::rules::Rules;

    use super::*;
    use crate::presets::Preset;

    #[test]
    fn a_message_becomes_an_arrow() {
        let preset = Preset::ALL.first().expect("there are presets");
        let start = World::new(&preset.plan(), Rules::sound());
        let mut world = start.clone();
        let mut actions = Vec::new();
        while !matches!(actions.last(), Some(Action::Deliver(_))) {
            let enabled = world.enabled();
            let deliver = enabled.iter().find(|action| matches!(action, Action::Deliver(_)));
            let action = *deliver.or(enabled.first()).expect("something is enabled");
            world.apply(action, &mut ());
            actions.push(action);
        }
        let svg = draw(&start, &actions);
        assert_eq!(svg.matches("marker-end").count(), 1);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"));
    }
}
