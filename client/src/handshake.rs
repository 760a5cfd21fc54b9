//! The first frame in each direction of a connection.
//!
//! Who dials sends a [`Hello`], who accepts answers with an [`Answer`]; then tarpc begins. Both are frames of
//! their own: a length of four bytes, big-endian, and then so many bytes, at most [`MAX_FRAME`]. The layout is
//! fixed by hand and will not change with the formats of records and messages, for it is what chooses them:
//!
//! | hello | bytes |
//! | --- | --- |
//! | magic | 4: `CWHL` |
//! | kind | 1: 1 peer, 2 client |
//! | cluster | 8, big-endian; 0 from a client that does not know it |
//! | node | 8, big-endian: the dialling node; 0 from a client |
//! | oldest and newest format | 1 and 1 |
//! | address | 2 (length, big-endian) and so many of UTF-8: where the dialler can be reached; empty from a client |
//! | layout | 16, big-endian: the hash of the first layout, as the dialler's cluster file describes it; 0 or absent if it has none |
//!
//! Bytes that follow are ignored, so that a later build can say more. A proxy that stands between nodes reads
//! the hello with [`first_frame`] and [`Hello::decode`], learns who dials, and passes on what it read.

use std::{io, time::Duration};

use cartwheel_protocol::{
    format::{DisjointFormats, Formats},
    id::{ClusterId, NodeId},
    layout::LayoutHash,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// What a hello begins with.
pub const MAGIC: [u8; 4] = *b"CWHL";
/// How many bytes of length stand before a frame.
pub const LENGTH_BYTES: usize = 4;
/// The longest frame of a handshake, without its length.
pub const MAX_FRAME: usize = 1_024;

/// Who dials, and what it speaks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hello {
    /// What it wants.
    pub kind: Kind,
    /// Its cluster; `None` from a client that does not know.
    pub cluster: Option<ClusterId>,
    /// What it speaks.
    pub formats: Formats,
    /// The first layout, as its cluster file describes it; `None` from clients, and from nodes without such a file.
    pub layout: Option<LayoutHash>,
}

/// What a connection is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A node that sends messages.
    Peer {
        /// Which.
        node: NodeId,
        /// Where it can be reached.
        address: String,
    },
    /// A client that makes requests.
    Client,
}

/// What is said to a hello.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Go on.
    Welcome(Welcome),
    /// Go away.
    Refused(Refused),
}

/// A hello was accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Welcome {
    /// The cluster of the node that answers.
    pub cluster: ClusterId,
    /// The node that answers.
    pub node: NodeId,
    /// The format that both speak from now on.
    pub format: u8,
}

/// Why a connection is refused. It is closed after that.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The dialler belongs to another cluster.
    #[error("this node is of cluster {ours}, the dialler of {theirs}")]
    WrongCluster {
        /// The cluster of the node that answers.
        ours: ClusterId,
        /// What the hello said.
        theirs: ClusterId,
    },
    /// The dialler's cluster file describes another first layout: one of the two was edited.
    #[error(
        "this node's first layout is {ours}, the dialler's {}: their cluster files differ",
        theirs.map_or_else(|| "none".to_owned(), |layout| layout.to_string())
    )]
    OtherLayout {
        /// The first layout of the node that answers.
        ours: LayoutHash,
        /// What the hello said.
        theirs: Option<LayoutHash>,
    },
    /// No format is spoken by both.
    #[error(transparent)]
    Formats(#[from] DisjointFormats),
    /// The node has as many connections as it keeps.
    #[error("the node has as many connections as it takes: {0}")]
    TooManyConnections(u32),
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The connection broke.
    #[error("the connection broke in the handshake: {0}")]
    Io(#[from] io::Error),
    /// The other side said nothing in time.
    #[error("no handshake within {0:?}")]
    Timeout(Duration),
    /// What came is no handshake.
    #[error("not a handshake of ours: {0}")]
    Malformed(&'static str),
    /// The other side refused.
    #[error("refused: {0}")]
    Refused(#[from] Refused),
    /// Another node answers at that address than the layout lists there.
    #[error("node {found} answers where {expected} should be")]
    WrongNode {
        /// Who was dialled.
        expected: NodeId,
        /// Who answered.
        found: NodeId,
    },
}

/// The bytes cannot be what they should: the text says why.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

const PEER: u8 = 1;
const CLIENT: u8 = 2;
const WELCOME: u8 = 0;
const WRONG_CLUSTER: u8 = 1;
const DISJOINT_FORMATS: u8 = 2;
const TOO_MANY_CONNECTIONS: u8 = 3;
const OTHER_LAYOUT: u8 = 4;

impl Hello {
    /// The bytes of the frame, without its length.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, node, address) = match &self.kind {
            Kind::Peer { node, address } => (PEER, node.0, address.as_str()),
            Kind::Client => (CLIENT, 0, ""),
        };
        let address = &address.as_bytes()[..address.len().min(MAX_FRAME / 2)];
        let mut bytes = Vec::with_capacity(48 + address.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.push(kind);
        bytes.extend_from_slice(&self.cluster.map_or(0, |cluster| cluster.0).to_be_bytes());
        bytes.extend_from_slice(&node.to_be_bytes());
        bytes.extend_from_slice(&[self.formats.oldest, self.formats.newest]);
        bytes.extend_from_slice(&(address.len() as u16).to_be_bytes());
        bytes.extend_from_slice(address);
        bytes.extend_from_slice(&layout_bytes(self.layout));
        bytes
    }

    /// Reads what [`Hello::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Reader(bytes);
        if rest.take::<4>()? != MAGIC {
            return Err(Malformed("it does not begin with CWHL"));
        }
        let [kind] = rest.take()?;
        let cluster = u64::from_be_bytes(rest.take()?);
        let node = NodeId(u64::from_be_bytes(rest.take()?));
        let formats = rest.formats()?;
        let len = u16::from_be_bytes(rest.take()?);
        let (address, after) =
            rest.0.split_at_checked(len.into()).ok_or(Malformed("it is cut short"))?;
        rest = Reader(after);
        let layout = if after.is_empty() { None } else { rest.layout()? };
        let address =
            str::from_utf8(address).map_err(|_| Malformed("the address is not UTF-8"))?.to_owned();
        let kind = match kind {
            PEER => Kind::Peer { node, address },
            CLIENT => Kind::Client,
            _ => return Err(Malformed("it is neither of a peer nor of a client")),
        };
        Ok(Self { kind, cluster: (cluster != 0).then_some(ClusterId(cluster)), formats, layout })
    }
}

impl Answer {
    /// The bytes of the frame, without its length.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32);
        match self {
            Self::Welcome(Welcome { cluster, node, format }) => {
                bytes.push(WELCOME);
                bytes.extend_from_slice(&cluster.0.to_be_bytes());
                bytes.extend_from_slice(&node.0.to_be_bytes());
                bytes.push(*format);
            }
            Self::Refused(Refused::WrongCluster { ours, theirs }) => {
                bytes.push(WRONG_CLUSTER);
                bytes.extend_from_slice(&ours.0.to_be_bytes());
                bytes.extend_from_slice(&theirs.0.to_be_bytes());
            }
            Self::Refused(Refused::Formats(DisjointFormats { ours, theirs })) => {
                bytes.push(DISJOINT_FORMATS);
                bytes.extend_from_slice(&[ours.oldest, ours.newest, theirs.oldest, theirs.newest]);
            }
            Self::Refused(Refused::OtherLayout { ours, theirs }) => {
                bytes.push(OTHER_LAYOUT);
                bytes.extend_from_slice(&layout_bytes(Some(*ours)));
                bytes.extend_from_slice(&layout_bytes(*theirs));
            }
            Self::Refused(Refused::TooManyConnections(most)) => {
                bytes.push(TOO_MANY_CONNECTIONS);
                bytes.extend_from_slice(&most.to_be_bytes());
            }
        }
        bytes
    }

    /// Reads what [`Answer::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Reader(bytes);
        let [kind] = rest.take()?;
        Ok(match kind {
            WELCOME => {
                let cluster = ClusterId(u64::from_be_bytes(rest.take()?));
                let node = NodeId(u64::from_be_bytes(rest.take()?));
                let [format] = rest.take()?;
                Self::Welcome(Welcome { cluster, node, format })
            }
            WRONG_CLUSTER => {
                let ours = ClusterId(u64::from_be_bytes(rest.take()?));
                let theirs = ClusterId(u64::from_be_bytes(rest.take()?));
                Self::Refused(Refused::WrongCluster { ours, theirs })
            }
            DISJOINT_FORMATS => {
                let (ours, theirs) = (rest.formats()?, rest.formats()?);
                Self::Refused(Refused::Formats(DisjointFormats { ours, theirs }))
            }
            OTHER_LAYOUT => {
                let ours = LayoutHash(u128::from_be_bytes(rest.take()?));
                Self::Refused(Refused::OtherLayout { ours, theirs: rest.layout()? })
            }
            TOO_MANY_CONNECTIONS => {
                Self::Refused(Refused::TooManyConnections(u32::from_be_bytes(rest.take()?)))
            }
            _ => return Err(Malformed("it is no answer to a hello")),
        })
    }
}

/// No layout has the hash 0, or so rarely that it may be taken for none.
fn layout_bytes(layout: Option<LayoutHash>) -> [u8; 16] {
    layout.map_or(0, |layout| layout.0).to_be_bytes()
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed("it is cut short"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn layout(&mut self) -> Result<Option<LayoutHash>, Malformed> {
        let hash = u128::from_be_bytes(self.take()?);
        Ok((hash != 0).then_some(LayoutHash(hash)))
    }

    fn formats(&mut self) -> Result<Formats, Malformed> {
        let [oldest, newest] = self.take()?;
        if oldest <= newest {
            Ok(Formats { oldest, newest })
        } else {
            Err(Malformed("the oldest format is above the newest"))
        }
    }
}

/// The frame that `bytes` begin with, without its length; `None` if more bytes are needed. What follows it
/// is tarpc's.
pub fn first_frame(bytes: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = frame_length(*length)?;
    Ok(rest.get(..length))
}

/// Says hello and waits for the answer; the deadline is for both.
pub async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    hello: &Hello,
    deadline: Duration,
) -> Result<Welcome, HandshakeError> {
    let exchange = async {
        write_frame(stream, &hello.encode()).await?;
        let frame = read_frame(stream).await?;
        Answer::decode(&frame).map_err(|Malformed(why)| HandshakeError::Malformed(why))
    };
    match timeout(deadline, exchange).await.map_err(|_| HandshakeError::Timeout(deadline))?? {
        Answer::Welcome(welcome) => {
            let Formats { oldest, newest } = hello.formats;
            if (oldest..=newest).contains(&welcome.format) {
                Ok(welcome)
            } else {
                Err(HandshakeError::Malformed("it chose a format that this side does not speak"))
            }
        }
        Answer::Refused(refused) => Err(refused.into()),
    }
}

/// Waits for a hello, judges it and answers. What was refused has been told so.
pub async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    deadline: Duration,
    judge: impl FnOnce(&Hello) -> Result<Welcome, Refused>,
) -> Result<(Hello, Welcome), HandshakeError> {
    let exchange = async {
        let frame = read_frame(stream).await?;
        let hello =
            Hello::decode(&frame).map_err(|Malformed(why)| HandshakeError::Malformed(why))?;
        match judge(&hello) {
            Ok(welcome) => {
                write_frame(stream, &Answer::Welcome(welcome).encode()).await?;
                Ok((hello, welcome))
            }
            Err(refused) => {
                write_frame(stream, &Answer::Refused(refused.clone()).encode()).await?;
                Err(refused.into())
            }
        }
    };
    timeout(deadline, exchange).await.map_err(|_| HandshakeError::Timeout(deadline))?
}

async fn write_frame<S: AsyncWrite + Unpin>(stream: &mut S, frame: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + frame.len());
    bytes.extend_from_slice(&(frame.len() as u32).to_be_bytes());
    bytes.extend_from_slice(frame);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

async fn read_frame<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, HandshakeError> {
    let mut length = [0; LENGTH_BYTES];
    stream.read_exact(&mut length).await?;
    let length = frame_length(length).map_err(|Malformed(why)| HandshakeError::Malformed(why))?;
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

fn frame_length(length: [u8; LENGTH_BYTES]) -> Result<usize, Malformed> {
    let length = u32::from_be_bytes(length) as usize;
    if length <= MAX_FRAME { Ok(length) } else { Err(Malformed("the frame is too long")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: Formats = Formats { oldest: 1, newest: 3 };

    fn hellos() -> [Hello; 2] {
        let peer = Kind::Peer { node: NodeId(7), address: "127.0.0.1:7400".into() };
        let cluster = Some(ClusterId(0xc0ffee));
        [
            Hello { kind: peer, cluster, formats: FORMATS, layout: Some(LayoutHash(0x1a)) },
            Hello { kind: Kind::Client, cluster: None, formats: FORMATS, layout: None },
        ]
    }

    fn answers() -> [Answer; 6] {
        let (ours, theirs) = (ClusterId(1), ClusterId(2));
        let other = Formats { oldest: 4, newest: 4 };
        [
            Answer::Welcome(Welcome { cluster: ours, node: NodeId(9), format: 1 }),
            Answer::Refused(Refused::WrongCluster { ours, theirs }),
            Answer::Refused(Refused::Formats(DisjointFormats { ours: FORMATS, theirs: other })),
            Answer::Refused(Refused::TooManyConnections(5)),
            Answer::Refused(Refused::OtherLayout { ours: LayoutHash(1), theirs: None }),
            Answer::Refused(Refused::OtherLayout {
                ours: LayoutHash(1),
                theirs: Some(LayoutHash(2)),
            }),
        ]
    }

    #[test]
    fn both_frames_round_trip_and_no_prefix_is_taken() {
        for hello in hellos() {
            let bytes = hello.encode();
            assert_eq!(Hello::decode(&bytes).as_ref(), Ok(&hello));
            let without_layout = bytes.len() - 16;
            let taken = |len: &usize| Hello::decode(&bytes[..*len]).is_ok();
            assert_eq!((0..bytes.len()).filter(taken).collect::<Vec<_>>(), [without_layout]);
            let earlier = Hello { layout: None, ..hello };
            assert_eq!(Hello::decode(&bytes[..without_layout]), Ok(earlier));
        }
        for answer in answers() {
            let bytes = answer.encode();
            assert_eq!(Answer::decode(&bytes).as_ref(), Ok(&answer));
            assert!((0..bytes.len()).all(|len| Answer::decode(&bytes[..len]).is_err()));
        }
    }

    #[test]
    fn the_bytes_of_a_hello_are_fixed() {
        let mut expected = b"CWHL\x01".to_vec();
        expected.extend([0, 0, 0, 0, 0, 0xc0, 0xff, 0xee]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 7, 1, 3, 0, 14]);
        expected.extend(b"127.0.0.1:7400");
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x1a]);
        assert_eq!(hellos()[0].encode(), expected);
        expected.extend(b"what a later build adds");
        assert_eq!(Hello::decode(&expected), Ok(hellos()[0].clone()));
    }

    #[test]
    fn a_proxy_reads_the_first_frame_and_keeps_the_rest() {
        let hello = hellos()[0].encode();
        let mut bytes = (hello.len() as u32).to_be_bytes().to_vec();
        bytes.extend(&hello);
        for len in 0..bytes.len() {
            assert_eq!(first_frame(&bytes[..len]), Ok(None));
        }
        bytes.extend(b"tarpc");
        assert_eq!(first_frame(&bytes), Ok(Some(&hello[..])));
        assert_eq!(first_frame(b"GET / HTTP/1.1"), Err(Malformed("the frame is too long")));
    }

    #[test]
    fn strangers_are_named() {
        let mut bytes = hellos()[0].encode();
        bytes[4] = 9;
        assert_eq!(
            Hello::decode(&bytes),
            Err(Malformed("it is neither of a peer nor of a client"))
        );
        bytes[0] = b'X';
        assert_eq!(Hello::decode(&bytes), Err(Malformed("it does not begin with CWHL")));
        assert_eq!(Answer::decode(&[9]), Err(Malformed("it is no answer to a hello")));
    }

    #[tokio::test]
    async fn a_silent_side_is_given_up_at_the_deadline() {
        let (mut one, _other) = tokio::io::duplex(64);
        let deadline = Duration::from_millis(10);
        let refused = greet(&mut one, &hellos()[1], deadline).await;
        assert!(matches!(refused, Err(HandshakeError::Timeout(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn a_refusal_reaches_the_dialler_with_both_sides_named() {
        let (mut one, mut other) = tokio::io::duplex(64);
        let deadline = Duration::from_secs(5);
        let Answer::Refused(refusal) = answers()[2].clone() else { panic!("the third refuses") };
        let (hello, told) = (hellos()[0].clone(), refusal.clone());
        let (dialler, acceptor) = tokio::join!(
            greet(&mut one, &hello, deadline),
            receive(&mut other, deadline, |_| Err(told))
        );
        assert!(acceptor.is_err());
        match dialler {
            Err(HandshakeError::Refused(heard)) => assert_eq!(heard, refusal),
            other => panic!("{other:?}"),
        }
    }
}
