//! Carries the bytes of one connection, as well as the links' state allows.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::links::LinkView;

/// How many bytes are read at once.
const CHUNK: usize = 16 << 10;
/// How many chunks of one direction may be under way.
const UNDER_WAY: usize = 64;

/// Bytes under way: when they may arrive, and what they are; none at the end of the stream.
type Parcel = (Instant, Vec<u8>);

/// Closes a connection so that its other end sees an error at once rather than an orderly end.
pub(super) fn reset(stream: &TcpStream) {
    // Where it cannot be set the connection is closed in the orderly way.
    let _ = stream.set_zero_linger();
}

/// Carries bytes between the dialler and the node until one of them is done. `hello` was read
/// already; without a view a direction is sound.
pub(super) async fn both_ways(
    dialler: TcpStream,
    node: TcpStream,
    hello: Vec<u8>,
    there: Option<LinkView>,
    back: Option<LinkView>,
) {
    for stream in [&dialler, &node] {
        // Only slower without it.
        let _ = stream.set_nodelay(true);
    }
    let (lost_there, lost_back) = (lost(there.clone()), lost(back.clone()));
    let (from_dialler, to_dialler) = dialler.into_split();
    let (from_node, to_node) = node.into_split();
    let carried = async {
        // An orderly end is passed on in its direction alone; an error ends both.
        tokio::try_join!(
            carry(from_dialler, to_node, hello, there),
            carry(from_node, to_dialler, Vec::new(), back),
        )
    };
    tokio::select! {
        // Dropping the halves closes both connections; who still sends is answered with a reset.
        _ = carried => {}
        () = lost_there => {}
        () = lost_back => {}
    }
}

/// Waits until the link loses its connections.
async fn lost(view: Option<LinkView>) {
    match view {
        Some(mut view) => {
            let losses = view.now().losses;
            view.until(|link| link.losses > losses).await;
        }
        None => std::future::pending().await,
    }
}

/// Carries one direction to its orderly end.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    first: Vec<u8>,
    mut view: Option<LinkView>,
) -> io::Result<()> {
    let (parcels, mut arriving) = mpsc::channel::<Parcel>(UNDER_WAY);
    let reader = {
        let mut view = view.clone();
        async move {
            let mut bytes = first;
            loop {
                if bytes.is_empty() {
                    bytes.reserve(CHUNK);
                    from.read_buf(&mut bytes).await?;
                }
                let (at, pause) = on_the_road(&mut view, bytes.len()).await;
                let ended = bytes.is_empty();
                if parcels.send((at, std::mem::take(&mut bytes))).await.is_err() || ended {
                    return Ok(());
                }
                sleep(pause).await;
            }
        }
    };
    let writer = async move {
        while let Some((at, bytes)) = arriving.recv().await {
            sleep_until(at).await;
            if let Some(view) = &mut view {
                view.until(|link| !link.cut).await;
            }
            if bytes.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&bytes).await?;
        }
        Ok(())
    };
    tokio::try_join!(reader, writer).map(|_| ())
}

/// Waits until the link takes bytes; then when so many arrive, and how long it is busy with them.
async fn on_the_road(view: &mut Option<LinkView>, bytes: usize) -> (Instant, Duration) {
    let Some(view) = view else { return (Instant::now(), Duration::ZERO) };
    let link = view.until(|link| !link.cut).await;
    let busy = link
        .bytes_per_s
        .map_or(Duration::ZERO, |rate| Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64));
    (Instant::now() + link.delay + busy, busy)
}
