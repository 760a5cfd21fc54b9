//! That background work yields is shown: in the status and in the metrics.

use std::time::{Duration, Instant};

use cartwheel_client::service::Status;
use cartwheel_node::EngineKind;
use cartwheel_protocol::request::{Refusal, Request, Response};

use crate::cluster::{Cluster, PATIENCE, put};
use crate::page;

fn count(status: &Status, name: &str) -> u64 {
    status.count(name).unwrap_or_else(|| panic!("{name} is not counted: {:?}", status.counts))
}

/// The value on the first line of the metrics that begins so.
fn metric(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[tokio::test]
async fn background_work_that_yields_to_stalled_requests_is_shown_until_they_end() {
    let mut cluster = Cluster::start_with(3, EngineKind::Memory, |number, config| {
        config.http = (number == 0).then_some(([127, 0, 0, 1], 0).into());
    })
    .await;
    let client = cluster.client(0).await;
    for number in 0..20 {
        client.write(&put(&format!("k{number}"), b"v")).await;
    }
    let is_calm = |status: &Status| {
        count(status, "foreground-write-us") > 0
            && count(status, "foreground-write-usual-us") > 0
            && count(status, "background-pages") > 0
            && count(status, "background-allowance-percent") == 100
    };
    let served = |status: &Status| status.name != "n1" || is_calm(status);
    cluster.wait_for("latencies are seen and background work has full speed", served).await;
    assert_eq!(count(&cluster.node(0).status(), "most-clock-entries"), 1, "one for each key");

    cluster.kill(1).await;
    cluster.kill(2).await;
    let asked = Request { timeout_ms: 4_000, ..put("stalls", b"v") };
    let stalled = client.clone();
    let asking = tokio::spawn(async move { stalled.answer(&asked).await });
    let held_before = count(&cluster.node(0).status(), "background-pages-held");
    // The floor that is configured: 10 of 100.
    let yields = |status: &Status| {
        count(status, "background-allowance-percent") == 10
            && count(status, "background-pages-held") > held_before
    };
    cluster.wait_for("background work yields to what stalls", yields).await;
    let http = cluster.node(0).http_address().expect("it was asked for");
    let began = Instant::now();
    loop {
        let metrics = page(http, "/metrics").await;
        let allowance = metric(&metrics, "cartwheel_background_allowance ");
        let held = metric(&metrics, "cartwheel_background_pages_held_total ");
        let pages = metric(&metrics, "cartwheel_background_pages_total ");
        let write = metric(&metrics, "cartwheel_foreground_seconds{kind=\"write\"} ");
        let clock = metric(&metrics, "cartwheel_most_clock_entries ");
        let is_shown = allowance == Some(0.1) && held > Some(0.0) && pages >= held;
        if is_shown && write > Some(0.0) && clock == Some(1.0) {
            break;
        }
        // Other nodes of this process set the same gauges.
        assert!(began.elapsed() < PATIENCE, "the metrics do not show that: {metrics}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answer = asking.await.expect("asking does not fail");
    assert_eq!(answer, Response::Refused(Refusal::Unavailable { have: 1, need: 2 }));
    let recovers = |status: &Status| count(status, "background-allowance-percent") == 100;
    cluster.wait_for("background work is at full speed when nobody asks", recovers).await;
}
