//! The proxy before an echo server, with an introduction of one byte.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{Dialler, Ends, Identify, Links, Proxy};
use crate::fault::NodeNumber;

const PEER: NodeNumber = NodeNumber(1);
const NODE: NodeNumber = NodeNumber(0);
const THERE: Ends = (PEER, NODE);
const BACK: Ends = (NODE, PEER);
/// Long enough for what must happen, on any machine.
const SOON: Duration = Duration::from_secs(20);
/// How long we look on when nothing must happen.
const A_WHILE: Duration = Duration::from_millis(100);

/// The byte `p` introduces the peer, `s` a stranger.
fn identify() -> Identify {
    Arc::new(|bytes| match bytes.first() {
        None => Dialler::Undecided,
        Some(b'p') => Dialler::Node(PEER),
        Some(_) => Dialler::Stranger,
    })
}

async fn start() -> (Proxy, Arc<Links>) {
    let echo = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = echo.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = echo.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                // Ends with the connection, however that ends.
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    let links = Arc::new(Links::default());
    let proxy = Proxy::start(NODE, Arc::clone(&links), identify()).await.expect("a proxy");
    proxy.lead_to(Some(address));
    (proxy, links)
}

async fn dial(proxy: &Proxy, hello: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.address()).await.expect("the proxy listens");
    stream.write_all(hello).await.expect("said hello");
    stream
}

/// Reads exactly these bytes.
async fn hear(stream: &mut TcpStream, expected: &[u8]) {
    let mut heard = vec![0; expected.len()];
    timeout(SOON, stream.read_exact(&mut heard)).await.expect("in time").expect("bytes");
    assert_eq!(heard, expected);
}

async fn hear_nothing(stream: &mut TcpStream) {
    let mut byte = [0];
    assert!(timeout(A_WHILE, stream.read(&mut byte)).await.is_err(), "heard {byte:?}");
}

async fn is_closed(stream: &mut TcpStream) {
    let mut byte = [0];
    let read = timeout(SOON, stream.read(&mut byte)).await.expect("closed in time");
    assert!(matches!(read, Ok(0) | Err(_)), "heard {byte:?}");
}

#[tokio::test]
async fn a_sound_link_carries_everything_introduction_included() {
    let (proxy, _links) = start().await;
    let mut stream = dial(&proxy, b"p").await;
    hear(&mut stream, b"p").await;
    let long: Vec<u8> = (0..1_000_000_u32).map(|number| number as u8).collect();
    let (mut from, mut to) = stream.split();
    let mut heard = vec![0; long.len()];
    let (said, read) = tokio::join!(to.write_all(&long), from.read_exact(&mut heard));
    said.and(read.map(|_| ())).expect("carried");
    assert!(heard == long);
    to.shutdown().await.expect("an orderly end");
    is_closed(&mut stream).await;
}

#[tokio::test]
async fn a_cut_link_is_half_open_and_delivers_when_it_heals() {
    let (proxy, links) = start().await;
    let mut stream = dial(&proxy, b"p").await;
    hear(&mut stream, b"p").await;
    links.change(THERE, |link| link.cut = true);
    stream.write_all(b"late").await.expect("nobody tells the sender");
    hear_nothing(&mut stream).await;
    links.heal();
    hear(&mut stream, b"late").await;
}

#[tokio::test]
async fn a_one_way_cut_stops_that_way_alone() {
    let (proxy, links) = start().await;
    let node = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    proxy.lead_to(Some(node.local_addr().expect("its address")));
    let mut stream = dial(&proxy, b"p").await;
    let (mut at_node, _) = timeout(SOON, node.accept()).await.expect("in time").expect("dialled");
    hear(&mut at_node, b"p").await;
    links.change(BACK, |link| link.cut = true);
    stream.write_all(b"there").await.expect("sent");
    hear(&mut at_node, b"there").await;
    at_node.write_all(b"back").await.expect("sent");
    hear_nothing(&mut stream).await;
    links.heal();
    hear(&mut stream, b"back").await;
}

#[tokio::test]
async fn lost_connections_are_closed_and_new_ones_refused_until_it_heals() {
    let (proxy, links) = start().await;
    let mut stream = dial(&proxy, b"p").await;
    hear(&mut stream, b"p").await;
    links.change(BACK, |link| {
        (link.cut, link.refuses) = (true, true);
        link.losses += 1;
    });
    is_closed(&mut stream).await;
    is_closed(&mut dial(&proxy, b"p").await).await;
    links.heal();
    hear(&mut dial(&proxy, b"p").await, b"p").await;
}

#[tokio::test]
async fn strangers_do_not_feel_the_links() {
    let (proxy, links) = start().await;
    links.change(THERE, |link| link.cut = true);
    hear(&mut dial(&proxy, b"s").await, b"s").await;
}

#[tokio::test]
async fn delay_and_throttle_take_their_time() {
    let (proxy, links) = start().await;
    let mut stream = dial(&proxy, b"p").await;
    hear(&mut stream, b"p").await;
    links.change(THERE, |link| link.delay = Duration::from_millis(80));
    let begun = Instant::now();
    stream.write_all(b"x").await.expect("sent");
    hear(&mut stream, b"x").await;
    assert!(begun.elapsed() >= Duration::from_millis(80), "{:?}", begun.elapsed());
    links.heal();
    links.change(BACK, |link| link.bytes_per_s = Some(100_000));
    let begun = Instant::now();
    stream.write_all(&[7; 10_000]).await.expect("sent");
    hear(&mut stream, &[7; 10_000]).await;
    assert!(begun.elapsed() >= Duration::from_millis(90), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_proxy_that_leads_nowhere_refuses() {
    let (proxy, _links) = start().await;
    proxy.lead_to(None);
    is_closed(&mut dial(&proxy, b"p").await).await;
}
