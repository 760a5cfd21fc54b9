//! A session: a last-write-wins bucket, for what is small, often written and no loss if an older value wins.
//!
//! `cargo run --release -- dev` in one terminal, `cargo run --release --example session` in another. The
//! bucket `sessions` must be there; `dev` makes it.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use anyhow::Context as _;
use cartwheel_client::{Client, Options};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize, Serialize)]
struct Session {
    user: String,
    pages: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7400".into());
    let client = Client::connect([address]).await?;
    let options = Options::bucket("sessions");
    let id = format!("session-{}", std::process::id());

    for pages in 1..=3 {
        let session = Session { user: "alice".into(), pages };
        // No context is needed: the latest put wins, and there are never siblings.
        client.put(id.as_bytes(), None, &serde_json::to_vec(&session)?, &options).await?;
    }

    let found = client.get(id.as_bytes(), &options).await?;
    let [value] = &found.values[..] else {
        anyhow::bail!("{} values where one should be", found.values.len());
    };
    let session: Session = serde_json::from_slice(value).context("a session")?;
    println!("{} has seen {} pages", session.user, session.pages);

    // Logging out removes what was read.
    client.delete(id.as_bytes(), Some(&found.context), &options).await?;
    println!("logged out: {} values", client.get(id.as_bytes(), &options).await?.values.len());
    Ok(())
}
