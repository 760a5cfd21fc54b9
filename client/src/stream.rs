//! TCP streams as this project uses them.

use std::time::Duration;

use rustix::net::sockopt;
use tokio::{net::TcpStream, time::timeout};

/// How long a connection may say nothing before the system asks whether the other end is there, and how often it asks in vain.
const ASK_AFTER: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_secs(10);
const ASK_TIMES: u32 = 6;

/// Connects, without waiting for small writes to be joined.
pub(crate) async fn open_stream(address: &str, deadline: Duration) -> std::io::Result<TcpStream> {
    let stream = timeout(deadline, TcpStream::connect(address))
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    attend(&stream)?;
    Ok(stream)
}

/// Small writes are not held back, and a connection whose other end has gone without a word ends: behind every one that a router
/// has forgotten there would be a descriptor for ever.
pub(crate) fn attend(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, ASK_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, ASK_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, ASK_TIMES)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn both_ends_are_told_to_ask_whether_the_other_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let dialled = open_stream(&address, ASK_EVERY).await.expect("it is listened to");
        let (accepted, _) = listener.accept().await.expect("a connection");
        attend(&accepted).expect("the system takes it");
        for stream in [dialled, accepted] {
            assert!(stream.nodelay().expect("it says"));
            assert!(sockopt::socket_keepalive(&stream).expect("it says"));
            assert_eq!(sockopt::tcp_keepidle(&stream).expect("it says"), ASK_AFTER);
            assert_eq!(sockopt::tcp_keepintvl(&stream).expect("it says"), ASK_EVERY);
            assert_eq!(sockopt::tcp_keepcnt(&stream).expect("it says"), ASK_TIMES);
        }
    }
}
