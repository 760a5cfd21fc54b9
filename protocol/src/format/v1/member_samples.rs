//! Views, messages of membership and saved states to encode in tests: one of each kind by hand.

use alloc::{sync::Arc, vec, vec::Vec};

use crate::{
    bucket::{Bucket, BucketName, Conflict, Kind, Spread},
    format::v1::samples,
    id::{AddId, NodeId, Zone},
    key::{Partition, Partitions},
    layout::{Command, Layout, LayoutHash, Member},
    membership::{Ballot, Brief, Decree, Glimpse, MemberMessage, Row, Saved, Staged, Status, Wish},
    reap_page::{ReapPage, Reaped},
    view::{Change, View, ViewId},
};

pub(super) fn member(id: u64) -> Member {
    let zone = if id.is_multiple_of(2) { "east" } else { "wëst" };
    Member {
        id: NodeId(id),
        name: "n1".into(),
        address: "host:7400".into(),
        zone: Zone(zone.into()),
        weight: 300,
    }
}

fn buckets() -> Vec<Bucket> {
    let name = BucketName::new("zoned").expect("a valid name");
    let mut zoned = Bucket::new(name, Kind::Register, 2);
    (zoned.conflict, zoned.spread, zoned.w) = (Conflict::LastWriteWins, Spread::Zone, 1);
    Bucket::built_in().into_iter().chain([zoned]).collect()
}

pub(super) fn commands() -> Vec<Command> {
    let name = BucketName::new("default").expect("a valid name");
    let more = Bucket::new(BucketName::new("more").expect("a valid name"), Kind::Cart, 3);
    vec![
        Command::Join(member(0xffee_ddcc_bbaa_9988)),
        Command::Leave(NodeId(1)),
        Command::Remove(NodeId(2)),
        Command::Replace { old: NodeId(3), new: member(7) },
        Command::Forget(NodeId(4)),
        Command::Weight(NodeId(1), 70_000),
        Command::Zone(NodeId(1), Zone("north".into())),
        Command::Address(NodeId(1), "other:1".into()),
        Command::BucketCreate(more),
        Command::BucketSet { name, r: 1, w: 3 },
    ]
}

fn staged(number: u128, command: Command) -> Staged {
    let wish = Wish::Change { command, accept_loss: number % 2 == 1 };
    Staged { id: number << 64 | 5, base: 3, wish }
}

fn every_wish() -> Arc<[Staged]> {
    let withdraw = Staged { id: 9, base: 300, wish: Wish::Withdraw(u128::MAX - 1) };
    let changes = commands().into_iter().enumerate().map(|(at, c)| staged(at as u128 + 1, c));
    changes.chain([withdraw]).collect()
}

pub(super) fn single() -> View {
    let partitions = Partitions::new(4).expect("a power of two");
    let layout = Layout::form((1..=4).map(member), partitions, buckets()).expect("it forms");
    View::new(Arc::new(layout))
}

pub(super) fn joint() -> View {
    let commands = [staged(1, Command::Remove(NodeId(2))), staged(2, Command::Join(member(8)))];
    let changes = [Command::Remove(NodeId(2)), Command::Join(member(8))];
    let next = single().layout().step(&changes, true).expect("it fits");
    let change = Change {
        accepted_losses: Arc::from([NodeId(2)]),
        commands: Arc::from(commands),
        settled: Arc::from([77, 5, u128::MAX]),
    };
    single().joint(200, Arc::new(next), change, reaped())
}

fn reaped() -> Reaped {
    let fence = ViewId { reap: (2, NodeId(7)), ..single().id() };
    Reaped { fence: Some(fence), floor: Some(AddId(u128::MAX / 3)) }
}

pub(super) fn views() -> Vec<(&'static str, View)> {
    let finished = joint().finished().expect("there is a change to finish");
    let page = ReapPage { partition: Partition(3), items: samples::reapable() };
    let reaping = single().reaping(NodeId(2), Arc::new(page), reaped().floor);
    vec![
        ("view single", single()),
        ("view joint", joint()),
        ("view finished", finished),
        ("view reaping", reaping),
    ]
}

fn row(id: u64, status: Status, view: Option<ViewId>) -> Row {
    Row {
        heartbeat: 70_000,
        label: (1, "n1".into(), "høst:1".into()),
        status,
        view,
        caught_up: view.map(|view| ViewId { decree: 1, ..view }),
        ..Row::new(NodeId(id), "".into(), "".into())
    }
}

pub(super) fn messages() -> Vec<(&'static str, MemberMessage)> {
    let at = ViewId { layout: 3, decree: 200, reap: (1, NodeId(0xabcdef)) };
    let rows: Arc<[Row]> = Arc::from([
        row(1, Status::Joining, None),
        row(2, Status::Up, Some(at)),
        row(3, Status::Leaving, Some(at)),
        row(u64::MAX, Status::Removed, None),
    ]);
    let glimpses: Arc<[Glimpse]> = rows.iter().map(Row::glimpse).collect();
    let ids: Arc<[u128]> = Arc::from([1, 1 << 100]);
    let known = Brief { glimpses, staged: ids };
    let view = Some((at, LayoutHash(0x0102 << 100)));
    let brief = MemberMessage::Gossip { brief: known.clone(), view };
    let no_brief = Brief { glimpses: [].into(), staged: [].into() };
    let nothing = MemberMessage::Gossip { brief: no_brief, view: None };
    let staged = every_wish();
    let wants = Some(known);
    let beats: Arc<[(NodeId, u64)]> = Arc::from([(NodeId(4), 300), (NodeId(u64::MAX), 1)]);
    let ballot = Ballot { round: 300, proposer: 0x0303 };
    let decree =
        Decree::Joint { commands: staged.clone(), withdrawn: Arc::from([3, 2]), reaped: reaped() };
    let vote = Some((Ballot { round: 2, proposer: 1 }, Decree::Finish));
    vec![
        ("gossip", brief),
        ("gossip of a stranger", nothing),
        (
            "gossip ok",
            MemberMessage::GossipOk { beats: beats.clone(), rows: rows.clone(), staged, wants },
        ),
        ("gossip ok last", MemberMessage::GossipOk { beats, rows, staged: [].into(), wants: None }),
        ("ask view", MemberMessage::AskView),
        ("view", MemberMessage::View(Arc::new(joint()))),
        ("prepare", MemberMessage::Prepare(at, ballot)),
        ("promise", MemberMessage::Promise(at, ballot, None)),
        ("promise voted", MemberMessage::Promise(at, ballot, vote)),
        ("accept", MemberMessage::Accept(at, ballot, decree, false)),
        ("accept finish", MemberMessage::Accept(at, ballot, Decree::Finish, true)),
        ("accepted", MemberMessage::Accepted(at, ballot)),
        ("rejected", MemberMessage::Rejected(at, ballot)),
    ]
}

pub(super) fn saved() -> Vec<(&'static str, Saved)> {
    let ballot = Ballot { round: 4, proposer: u64::MAX };
    let decree =
        Decree::Joint { commands: every_wish(), withdrawn: [].into(), reaped: Reaped::default() };
    let voted = Saved {
        view: Arc::new(joint()),
        promised: ballot,
        accepted: Some((ballot, decree)),
        was_member: false,
    };
    vec![("saved first", Saved::new(Arc::new(single()))), ("saved voted", voted)]
}
