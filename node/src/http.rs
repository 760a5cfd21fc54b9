//! `/metrics` and `/health`, for people and their monitoring.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use cartwheel_client::Counter;
use cartwheel_client::members::Standing;
use metrics::{counter, gauge};
use tokio::net::TcpListener;

use crate::inner::Inner;
use crate::metrics::recorder;
use crate::pace::Foreground;
use crate::space::{Measured, STALL};

/// How often what was recorded is moved from its buffers into the buckets, scraped or not.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Answers until it is aborted.
pub(crate) async fn serve(listener: TcpListener, node: Arc<Inner>, server: Counter) {
    let pages = Router::new()
        .route("/metrics", get(metrics_page))
        .with_state((node.clone(), server))
        .merge(Router::new().route("/health", get(health_page)).with_state(node));
    if let Err(error) = axum::serve(listener, pages).await {
        tracing::error!(%error, "metrics and health are answered no more");
    }
}

/// Keeps the recorder's buffers small; ends with the runtime.
pub(crate) async fn upkeep() {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    while let Some(recorder) = recorder() {
        ticks.tick().await;
        recorder.run_upkeep();
    }
}

async fn metrics_page(State((node, server)): State<(Arc<Inner>, Counter)>) -> (StatusCode, String) {
    let Some(recorder) = recorder() else {
        let why = "this process records its metrics elsewhere\n".to_owned();
        return (StatusCode::NOT_FOUND, why);
    };
    gauge!("cartwheel_pending").set(node.pending() as f64);
    gauge!("cartwheel_tree_partitions_left").set(node.trees_left() as f64);
    gauge!("cartwheel_most_clock_entries").set(node.clock_entries() as f64);
    let seen = server.counts();
    gauge!("cartwheel_connections").set(seen.connections as f64);
    counter!("cartwheel_connections_refused_total").absolute(seen.refused_connections);
    counter!("cartwheel_undecodable_total").absolute(seen.undecodable);
    counter!("cartwheel_overloaded_requests_total").absolute(seen.overloaded_requests);
    counter!("cartwheel_overloaded_batches_total").absolute(seen.overloaded_batches);
    if let Ok(bytes) = node.engine().size_bytes() {
        gauge!("cartwheel_store_bytes").set(bytes as f64);
    }
    let Measured { free_bytes, reserve_bytes, short } = node.space.measured();
    gauge!("cartwheel_free_bytes").set(free_bytes as f64);
    gauge!("cartwheel_free_space_reserve_bytes").set(reserve_bytes as f64);
    gauge!("cartwheel_commit_running_seconds").set(node.space.commit_runs_for().as_secs_f64());
    gauge!("cartwheel_short_of_space").set(f64::from(u8::from(short)));
    let figures = node.pace.figures();
    gauge!("cartwheel_background_allowance").set(figures.allowance);
    counter!("cartwheel_background_pages_total").absolute(figures.pages);
    counter!("cartwheel_background_pages_held_total").absolute(figures.held);
    for ((_, kind), latency) in Foreground::ALL.iter().zip(figures.latencies) {
        gauge!("cartwheel_foreground_seconds", "kind" => *kind).set(latency.recent_us / 1e6);
        gauge!("cartwheel_foreground_usual_seconds", "kind" => *kind).set(latency.usual_us / 1e6);
    }
    (StatusCode::OK, recorder.render())
}

/// 200 while the node takes requests and its disk answers.
async fn health_page(State(node): State<Arc<Inner>>) -> (StatusCode, String) {
    let (name, id) = (node.name(), node.id());
    match ailment(node.standing(), node.is_draining(), node.space.commit_runs_for()) {
        None => (StatusCode::OK, format!("{name} {id} serves\n")),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{name} {id} {why}\n")),
    }
}

/// Why a node is not healthy, if it is not.
fn ailment(
    standing: Standing,
    is_draining: bool,
    commit_runs_for: Duration,
) -> Option<&'static str> {
    match standing {
        _ if is_draining => Some("is shutting down"),
        Standing::NoView => Some("waits for its seeds to tell the layout"),
        Standing::Draining | Standing::Removed => Some("was removed from the cluster"),
        Standing::Joining | Standing::Member => {
            (commit_runs_for >= STALL).then_some("waits for its disk: a commit hangs")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_waits_for_its_disk_is_not_healthy() {
        let member = |runs_for| ailment(Standing::Member, false, runs_for);
        assert_eq!(member(Duration::ZERO), None);
        assert_eq!(member(STALL - Duration::from_nanos(1)), None);
        assert!(member(STALL).is_some_and(|why| why.contains("a commit hangs")));
        assert!(
            ailment(Standing::Removed, false, STALL).is_some_and(|why| why.contains("removed"))
        );
        assert!(ailment(Standing::Member, true, STALL).is_some_and(|why| why.contains("down")));
    }
}
