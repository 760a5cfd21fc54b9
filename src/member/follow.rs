//! A change under way, followed until it is known what became of it.

use std::time::{Duration, Instant};

use cartwheel_client::{Client, Progress, members::NewWish};
use serde_json::json;

use super::How;
use crate::{
    connect::failure,
    exit::{Exit, Failure},
    output,
};

/// The pause between two looks at a change under way.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After so long a wish that the node does not know is not waited for any more: the layout shows whether it was
/// carried out.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);

/// Prints how far the wish is until it is done.
pub(super) async fn follow(client: &Client, wish: &NewWish, how: &How) -> Result<Exit, Failure> {
    let began = Instant::now();
    let mut unknown_since = None;
    let mut shown = String::new();
    loop {
        let progress = match client.progress(wish, how.target.within()).await {
            Ok(progress) => progress,
            Err(error) => Progress::Staged(error.to_string()),
        };
        if progress == Progress::Unknown {
            let since = *unknown_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= UNKNOWN_FOR {
                return unknown(client, wish, how).await;
            }
        } else {
            unknown_since = None;
            let line = progress.to_string();
            if line != shown {
                if how.target.json {
                    output::line(json!({ "progress": line }));
                } else {
                    output::line(&line);
                }
                shown = line;
            }
        }
        match progress {
            Progress::Done { .. } => return Ok(Exit::Done),
            Progress::GivenUp { .. } => return Err(Failure::new(Exit::Failed, shown)),
            Progress::Unknown
            | Progress::Staged(_)
            | Progress::UnderWay { .. }
            | Progress::Settled { .. }
            | Progress::Draining => {}
        }
        if began.elapsed() >= Duration::from_secs(how.wait) {
            let why = "it goes on by itself; `cartwheel member list` shows how far it is";
            return Err(Failure::new(Exit::Unknown, format!("not done in time: {shown}; {why}")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// No node that was asked knows of the wish any more: what became of it, the layout shows or nobody knows.
async fn unknown(client: &Client, wish: &NewWish, how: &How) -> Result<Exit, Failure> {
    if client.fulfils(wish, how.target.within()).await.map_err(failure)? {
        output::line("nothing is left to do");
        return Ok(Exit::Done);
    }
    let why = "the node that is asked does not know the wish, and the layout is not as wished: whoever staged it \
               may have ended before it told anybody; `cartwheel member list` shows what waits";
    Err(Failure::new(Exit::Unknown, why))
}
