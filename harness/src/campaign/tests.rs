//! Campaigns on a cluster that is one map in memory, sound and flawed.

use std::time::Duration;

use cartwheel_checker::{Verdict, cart, writable};

use super::{Driven, Gate, Plan, Results, Stop, drive};
use crate::fault::{Fault, FaultKind, NodeNumber, WayBack, ZoneNumber};
use crate::ground::fake::{FakeGround, Flaws};
use crate::history::Recorder;
use crate::schedule::{Pace, Planned, Schedule};
use crate::workload::{Mix, Workload};

fn plan(workload: Workload) -> Plan {
    let pace = Pace {
        nodes: 5,
        zones: 1,
        time_limit_ms: 700,
        kinds: FaultKind::DEFAULT.to_vec(),
        fault_every_ms: 100,
        may_lose: 1,
    };
    Plan {
        seed: 1,
        workload,
        concurrency: 4,
        rate: 2_000.0,
        time_limit: Duration::from_millis(700),
        mix: Mix::default(),
        stubborn: 1,
        carts: 3,
        cart_size: 20,
        r: None,
        w: None,
        timeout: Duration::from_millis(20),
        quiet_within: Duration::from_millis(300),
        schedule: Schedule::generate(1, &pace),
    }
}

/// Runs a whole campaign, but for its processes.
async fn campaign(workload: Workload, flaws: Flaws, stop: &Stop) -> (Results, FakeGround) {
    let ground = FakeGround::new(5, flaws);
    (campaign_on(&ground, workload, stop).await, ground)
}

async fn campaign_on(ground: &FakeGround, workload: Workload, stop: &Stop) -> Results {
    campaign_of(ground, plan(workload), stop).await
}

async fn campaign_of(ground: &FakeGround, plan: Plan, stop: &Stop) -> Results {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.jsonl");
    let recorder = Recorder::create(&path).expect("a history");
    let (gate, epoch) = (Gate::default(), Duration::from_secs(1_700_000_000));
    let driven = drive(ground, &plan, &recorder, stop, &gate, epoch).await;
    recorder.finish().expect("written");
    let check = cart::check_file(&path);
    let writable = writable::check_file(&path, 1).expect("a history");
    Results::new(check, Some(writable), &plan, driven, Vec::new(), None, "again".to_owned())
}

async fn results(workload: Workload, flaws: Flaws) -> Results {
    campaign(workload, flaws, &Stop::default()).await.0
}

#[tokio::test]
async fn a_sound_cluster_is_valid_and_every_fault_is_applied_and_ended() {
    let (results, ground) = campaign(Workload::Cart, Flaws::default(), &Stop::default()).await;
    assert_eq!(results.check.valid, Verdict::Valid, "{:?}", results.check.error);
    assert!(results.check.acknowledged_count > 50, "{}", results.check.acknowledged_count);
    let kinds = FaultKind::ALL.map(|kind| results.faults[kind.name()]);
    assert_eq!(kinds.iter().sum::<u64>(), ground.begun.get() as u64);
    assert!(ground.begun.get() > 0 && ground.active.borrow().is_empty());
    assert!(results.missing.is_empty() && results.quiet_after_ms.is_some());
}

#[tokio::test]
async fn a_cluster_that_forgets_acknowledged_writes_is_invalid() {
    let flaws = Flaws { forgets_every: Some(10), ..Flaws::default() };
    let results = results(Workload::Cart, flaws).await;
    assert_eq!(results.check.valid, Verdict::Invalid);
    assert!(results.check.lost_count > 0);
}

#[tokio::test]
async fn unknown_outcomes_are_no_faults_and_kill_their_process() {
    let flaws = Flaws { silent_every: Some(7), ..Flaws::default() };
    let results = results(Workload::Cart, flaws).await;
    // The checker refuses a history in which a process goes on after an unknown outcome.
    assert_eq!(results.check.error, None);
    assert!(results.check.recovered_count > 0);
    // Nothing is lost, but there was no need to leave clients without an answer.
    let found = results.always_writable.expect("it was judged");
    assert!(found.refused_count > 0 && found.judged_count > found.refused_count, "{found:?}");
    assert_eq!((results.check.lost_count, results.check.valid), (0, Verdict::Invalid));
}

#[tokio::test]
async fn carts_in_registers_keep_additions_with_siblings_and_lose_them_without() {
    let paper = results(Workload::PaperCart, Flaws::default()).await;
    assert_eq!(paper.check.lost_count, 0, "{:?}", paper.check.lost);
    assert!(paper.check.acknowledged_count > 50);
    let lww = Flaws { last_write_wins: true, ..Flaws::default() };
    let lww = results(Workload::LwwCart, lww).await;
    assert_eq!(lww.check.valid, Verdict::Invalid);
    assert!(lww.check.lost_count > 0);
}

#[tokio::test]
async fn a_cluster_that_does_not_become_quiet_is_unknown_and_the_cart_is_named() {
    for (flaws, complaint) in [
        (Flaws { empty_copy: Some(NodeNumber(1)), ..Flaws::default() }, "of n1 and n2 differ"),
        (Flaws { odd_copy: Some(NodeNumber(2)), ..Flaws::default() }, "of n1 and n3 differ"),
        (Flaws { keeps: true, ..Flaws::default() }, "n5, no owner, still holds a copy"),
        (Flaws { owes: true, ..Flaws::default() }, "n5 still owes its copy to 1 owners"),
    ] {
        let results = results(Workload::Cart, flaws).await;
        assert_eq!(results.check.valid, Verdict::Unknown);
        let error = results.check.error.expect("a reason");
        assert!(error.contains("not quiet within") && error.contains(complaint), "{error}");
    }
}

#[tokio::test]
async fn additions_on_fewer_nodes_than_their_quorum_are_counted_before_they_are_mended() {
    let sound = results(Workload::Cart, Flaws::default()).await;
    assert_eq!(sound.thin_count, Some(0));
    let thin = results(Workload::Cart, Flaws { thin: true, ..Flaws::default() }).await;
    assert_eq!(thin.check.valid, Verdict::Valid, "{:?}", thin.check.error);
    assert!(thin.thin_count > Some(0), "{:?}", thin.thin_count);
}

#[tokio::test]
async fn an_interrupted_campaign_is_unknown_and_healed() {
    let (stop, ground) = (Stop::default(), FakeGround::new(5, Flaws::default()));
    let request = async {
        while ground.active.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        stop.request();
    };
    let interrupted =
        async { tokio::join!(request, campaign_on(&ground, Workload::Cart, &stop)).1 };
    let within = Duration::from_secs(30);
    let results = tokio::time::timeout(within, interrupted).await.expect("a fault has begun");
    assert_eq!(results.check.valid, Verdict::Unknown);
    assert!(results.check.error.expect("a reason").contains("interrupted"));
    assert!(ground.active.borrow().is_empty());
}

#[tokio::test]
async fn results_have_the_keys_that_others_rely_on() {
    let results = results(Workload::Cart, Flaws::default()).await;
    let json = serde_json::to_value(&results).expect("json");
    for key in [
        "valid?",
        "seed",
        "workload",
        "acknowledged-count",
        "attempt-count",
        "lost-count",
        "lost",
        "resurrected-count",
        "resurrected",
        "phantom-count",
        "phantom",
        "duplicated-count",
        "duplicated",
        "recovered-count",
        "recovered",
        "diverged-count",
        "diverged",
        "stale-count",
        "stale",
        "read-your-writes-count",
        "monotonic-reads-count",
        "worst-stale-latency-ms",
        "faults",
        "availability",
        "thin-count",
        "command",
    ] {
        assert!(json.get(key).is_some(), "{key} is missing in {json}");
    }
    assert_eq!(json["valid?"], true);
    assert_eq!(json["workload"], "cart");
    assert!(json["faults"]["kill"].is_u64() && json["faults"]["pause"].is_u64());
    assert!(json["availability"]["longest-gap-ms"].is_f64(), "{}", json["availability"]);
    assert!(results.table().contains("VALID"));
}

/// A plan with these faults, of a tenth of a second each, and quiet points.
fn plan_of(faults: &[(u64, Fault)], quiet_at_ms: &[u64]) -> Plan {
    let planned = |(at_ms, fault): &(u64, Fault)| Planned {
        at_ms: *at_ms,
        for_ms: 100,
        fault: fault.clone(),
    };
    let faults = faults.iter().map(planned).collect();
    let quiet_at_ms = quiet_at_ms.to_vec();
    let schedule =
        Schedule { seed: 1, nodes: 5, zones: 1, time_limit_ms: 700, faults, quiet_at_ms };
    schedule.check((5, 1), 700, 1).expect("it keeps what the promise asks");
    Plan { schedule, ..plan(Workload::Cart) }
}

fn two_wipes() -> Plan {
    let wipe = |node| Fault::Wipe { node: NodeNumber(node), way: WayBack::Replace };
    plan_of(&[(100, wipe(0)), (400, wipe(1))], &[300])
}

#[tokio::test]
async fn disks_are_lost_only_with_quiet_points_in_between() {
    let ground = FakeGround::new(5, Flaws::default());
    let results = campaign_of(&ground, two_wipes(), &Stop::default()).await;
    assert_eq!(results.check.valid, Verdict::Valid, "{:?}", results.check.error);
    assert_eq!((results.quiet_points, results.faults["wipe"]), (1, 2));
    assert_eq!(ground.most_lost.get(), 1, "the members were at rest before the second");
    assert!(results.faults["changes-completed"] == 2, "{:?}", results.faults);
    assert!(results.table().contains("quiet points"));
}

#[tokio::test]
async fn where_a_quiet_point_is_not_reached_no_other_disk_is_lost_and_all_is_unknown() {
    let ground = FakeGround::new(5, Flaws { restless: true, ..Flaws::default() });
    let results = campaign_of(&ground, two_wipes(), &Stop::default()).await;
    assert_eq!(results.check.valid, Verdict::Unknown);
    assert_eq!((results.quiet_points, results.faults["wipe"]), (0, 1));
    assert_eq!(ground.most_lost.get(), 1);
    let error = results.check.error.expect("a reason");
    assert!(error.contains("quiet point at") && error.contains("a change is under way"), "{error}");
}

#[tokio::test]
async fn clients_rest_at_a_quiet_point_and_work_on_as_long_as_planned() {
    let ground = FakeGround::new(5, Flaws::default());
    let quiet = plan_of(&[], &[100, 200, 300]);
    let began = std::time::Instant::now();
    let results = campaign_of(&ground, quiet, &Stop::default()).await;
    let lasted = began.elapsed();
    assert_eq!(results.check.valid, Verdict::Valid, "{:?}", results.check.error);
    assert_eq!(results.quiet_points, 3);
    let least = Duration::from_millis(700 + 3 * 20);
    assert!(lasted > least, "each quiet point waits for what clients gave up: {lasted:?}");
}

#[tokio::test]
async fn clients_talk_to_members_only() {
    let join = Fault::Join { node: NodeNumber(5), zone: ZoneNumber(0) };
    let leave = Fault::Leave { node: NodeNumber(0) };
    let ground = FakeGround::new(5, Flaws::default());
    let plan = plan_of(&[(1, leave), (2, join)], &[]);
    let results = campaign_of(&ground, plan, &Stop::default()).await;
    assert_eq!(results.check.valid, Verdict::Valid, "{:?}", results.check.error);
    assert_eq!(results.faults["membership"], 2);
    let asked = ground.asked.borrow();
    assert!(asked.contains(&NodeNumber(5)), "{asked:?}");
    assert!(!asked.contains(&NodeNumber(0)), "{asked:?}");
}

#[tokio::test]
async fn a_mishap_makes_a_valid_history_unknown() {
    let plan = plan(Workload::Cart);
    let finale = super::Finale { missing: Vec::new(), quiet_after: None, thin: None };
    let driven = Driven { faults: [(FaultKind::Kill, 2)].into(), ..Driven::nothing(finale) };
    let mut check = results(Workload::Cart, Flaws::default()).await.check;
    check.valid = Verdict::Valid;
    let mishaps = vec!["n2 ended by itself".to_owned()];
    let results = Results::new(check, None, &plan, driven, mishaps, None, String::new());
    assert_eq!(results.check.valid, Verdict::Unknown);
    assert_eq!(results.faults["pause"], 0, "every kind is listed");
    assert!(results.table().contains("n2 ended by itself"));
}
