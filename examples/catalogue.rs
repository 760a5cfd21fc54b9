//! A catalogue: read from one copy, written to all, with siblings merged by the application.
//!
//! `cargo run --release -- dev` in one terminal, `cargo run --release --example catalogue` in another. The
//! bucket `catalogue` must be there, with r=1 and w=n; `dev` makes it.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
};

use cartwheel_client::{Client, Options, Resolver};
use serde::{Deserialize, Serialize};

/// An article: its tags, and for each shop the newest price by revision.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Article {
    tags: BTreeSet<String>,
    prices: BTreeMap<String, Price>,
}

#[derive(Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
struct Price {
    revision: u32,
    cents: u32,
}

/// Two versions of an article become one: all tags of both, and each shop's price of the higher revision.
#[derive(Default)]
struct Articles {
    conflicts: AtomicUsize,
}

impl Resolver for Articles {
    type Value = Article;

    fn decode(&self, bytes: &[u8]) -> Result<Article, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    fn encode(&self, article: &Article) -> Vec<u8> {
        serde_json::to_vec(article).expect("an article is always JSON")
    }

    fn merge(&self, mut left: Article, right: Article) -> Article {
        left.tags.extend(right.tags);
        for (shop, price) in right.prices {
            match left.prices.get(&shop) {
                Some(known) if *known >= price => {}
                Some(_) | None => {
                    left.prices.insert(shop, price);
                }
            }
        }
        left
    }

    fn on_conflict(&self, key: &[u8], siblings: usize) {
        self.conflicts.fetch_add(1, Ordering::Relaxed);
        println!("  {} has {siblings} siblings, which are merged", key.escape_ascii());
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7400".into());
    let client = Client::connect([address]).await?;
    let options = Options::bucket("catalogue");
    let articles = Articles::default();
    let key = format!("kettle-{}", std::process::id());
    let key = key.as_bytes();

    // Two editors start from the same reading, so that neither has seen what the other writes.
    let before = client.resolve(key, &articles, &options).await?;
    for (shop, tag, cents) in [("north", "kitchen", 4_999), ("south", "sale", 3_999)] {
        let mut article = Article::default();
        article.tags.insert(tag.into());
        article.prices.insert(shop.into(), Price { revision: 1, cents });
        let bytes = articles.encode(&article);
        client.put(key, Some(&before.context), &bytes, &options).await?;
        println!("the editor in the {shop} wrote");
    }

    // The next change reads both, merges them and puts the result in their place.
    let (article, written) = client
        .update(key, &articles, &options, |article| {
            let mut article = article.unwrap_or_default();
            article.prices.insert("north".into(), Price { revision: 2, cents: 4_499 });
            article
        })
        .await?;
    println!("{article:#?}");
    println!(
        "held by {} nodes; siblings arose {} times",
        written.nodes,
        articles.conflicts.load(Ordering::Relaxed)
    );
    Ok(())
}
