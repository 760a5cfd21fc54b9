//! A shopping cart: two clients add and remove at once, and no addition is lost.
//!
//! `cargo run --release -- dev` in one terminal, `cargo run --release --example cart` in another.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use cartwheel_client::{Cart, Client, add_id_text};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7400".into());
    let client = Client::connect([address]).await?;
    let name = format!("example-{}", std::process::id());
    let (phone, laptop) = (client.cart(name.as_str()), client.cart(name.as_str()));

    // Two devices at once: neither has to know of the other.
    let (milk, tea) = tokio::join!(phone.add("milk", 2), laptop.add("tea", 1));
    println!("milk is in: {}", add_id_text(milk?.add_id));
    println!("tea is in:  {}", add_id_text(tea?.add_id));
    show("after two additions", &phone).await?;

    // A removal cancels what it was shown. Milk that is added meanwhile stays.
    let (removed, more) = tokio::join!(phone.remove("milk"), laptop.add("milk", 1));
    println!("{} additions of milk cancelled, one more made", removed?.cancelled.len());
    more?;
    show("after a removal and an addition at once", &laptop).await?;
    Ok(())
}

async fn show(when: &str, cart: &Cart) -> anyhow::Result<()> {
    let shown = cart.show().await?;
    println!("{when}:");
    for item in &shown.items {
        println!("  {:>3} × {}", item.quantity, item.sku);
    }
    Ok(())
}
