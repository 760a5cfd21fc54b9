//! Frames after the handshake: a length of four bytes, big-endian, the number of the format, postcard.
//!
//! The bound is checked on both ways. A frame over it, of another format or with bytes that no value has is
//! an error, after which tarpc closes the connection.

use std::{io, marker::PhantomData, panic};

use bytes::{Buf, BufMut, BytesMut};
use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::net::TcpStream;
use tokio_util::codec::{Decoder, Encoder, Framed};

/// The longest frame that a node takes: what is longer is split ([`crate::Limits::piece_bytes`]).
pub const MAX_FRAME: usize = 16 << 20;

/// The longest answer that a client takes. A read gives the merge of whatever was written, which nothing
/// bounds but the frame's length.
pub const MAX_ANSWER: usize = u32::MAX as usize;

const LENGTH_BYTES: usize = 4;

/// The two ends' transport over one connection: `In` is read, `Out` is written.
pub type Transport<In, Out> = Framed<TcpStream, Frames<In, Out>>;

/// Bytes in a frame, copied in one piece.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Bytes(pub Vec<u8>);

/// Encodes `Out`, decodes `In`.
pub struct Frames<In, Out> {
    format: u8,
    max_in: usize,
    max_out: usize,
    types: PhantomData<fn(Out) -> In>,
}

/// Why the connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// A frame is longer than allowed.
    #[error("a frame of {len} bytes; at most {max} are allowed")]
    TooLong {
        /// How long it would be.
        len: usize,
        /// How long it may be.
        max: usize,
    },
    /// A frame is of another format than the handshake chose.
    #[error("a frame of format {found} on a connection that speaks {agreed}")]
    Format {
        /// What the frame says.
        found: u8,
        /// What the handshake chose.
        agreed: u8,
    },
    /// No value has these bytes.
    #[error("a frame that cannot be decoded: {0}")]
    Undecodable(#[from] postcard::Error),
}

impl<In, Out> Frames<In, Out> {
    /// For the side that dialled.
    pub fn of_dialler(format: u8) -> Self {
        Self { format, max_in: MAX_ANSWER, max_out: MAX_FRAME, types: PhantomData }
    }

    /// For the side that accepted.
    pub fn of_acceptor(format: u8) -> Self {
        Self { format, max_in: MAX_FRAME, max_out: MAX_ANSWER, types: PhantomData }
    }

    /// The transport over a connection.
    pub fn over(self, stream: TcpStream) -> Transport<In, Out> {
        Framed::new(stream, self)
    }
}

impl<In: DeserializeOwned, Out> Decoder for Frames<In, Out> {
    type Item = In;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<In>, FrameError> {
        let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*length) as usize;
        if len > self.max_in {
            return Err(FrameError::TooLong { len, max: self.max_in });
        }
        let Some(frame) = buffer[LENGTH_BYTES..].get(..len) else {
            // Grows with what arrives, at most twofold: a length alone reserves no memory.
            buffer.reserve((LENGTH_BYTES + len - buffer.len()).min(buffer.len().max(8 << 10)));
            return Ok(None);
        };
        let value = match frame {
            [format, content @ ..] if *format == self.format => read(content)?,
            [found, ..] => return Err(FrameError::Format { found: *found, agreed: self.format }),
            [] => return Err(postcard::Error::DeserializeUnexpectedEnd.into()),
        };
        buffer.advance(LENGTH_BYTES + len);
        Ok(Some(value))
    }
}

impl<In, Out: Serialize> Encoder<Out> for Frames<In, Out> {
    type Error = FrameError;

    fn encode(&mut self, value: Out, buffer: &mut BytesMut) -> Result<(), FrameError> {
        let start = buffer.len();
        buffer.put_u32(0);
        buffer.put_u8(self.format);
        let encoded = postcard::serialize_with_flavor(&value, Tail(&mut *buffer));
        let len = buffer.len() - start - LENGTH_BYTES;
        let max = self.max_out.min(u32::MAX as usize);
        if encoded.is_err() || len > max {
            buffer.truncate(start);
            encoded?;
            return Err(FrameError::TooLong { len, max });
        }
        buffer[start..start + LENGTH_BYTES].copy_from_slice(&(len as u32).to_be_bytes());
        Ok(())
    }
}

/// Decodes, whatever the bytes: tarpc's context adds the deadline that a stranger says to the clock, which
/// panics if it is absurd.
fn read<T: DeserializeOwned>(content: &[u8]) -> Result<T, FrameError> {
    match panic::catch_unwind(|| postcard::from_bytes(content)) {
        Ok(decoded) => Ok(decoded?),
        Err(_) => Err(postcard::Error::SerdeDeCustom.into()),
    }
}

/// Appends to a buffer.
struct Tail<'a>(&'a mut BytesMut);

impl Flavor for Tail<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.put_u8(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(|bytes| Self(bytes.to_vec()))
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(value: &(u32, Bytes)) -> BytesMut {
        let mut buffer = BytesMut::new();
        let mut frames = Frames::<(), (u32, Bytes)>::of_dialler(1);
        frames.encode(value.clone(), &mut buffer).expect("it is short");
        buffer
    }

    fn decode(buffer: &mut BytesMut) -> Result<Option<(u32, Bytes)>, FrameError> {
        Frames::<(u32, Bytes), ()>::of_acceptor(1).decode(buffer)
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let values = [(7, Bytes(vec![1, 2, 3])), (300, Bytes(vec![]))];
        let mut wire = frame(&values[0]);
        wire.extend_from_slice(&frame(&values[1]));
        let mut buffer = BytesMut::new();
        let mut decoded = Vec::new();
        for byte in wire {
            buffer.put_u8(byte);
            decoded.extend(decode(&mut buffer).expect("the frames are sound"));
        }
        assert_eq!(decoded, values);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_frame_over_the_bound_is_refused_before_it_is_read_or_written() {
        let mut length = BytesMut::from(&(MAX_FRAME as u32 + 1).to_be_bytes()[..]);
        let refused = decode(&mut length);
        assert!(matches!(refused, Err(FrameError::TooLong { max: MAX_FRAME, .. })), "{refused:?}");
        let mut buffer = BytesMut::from(&b"before"[..]);
        let long = Bytes(vec![0; MAX_FRAME]);
        let refused = Frames::<(), Bytes>::of_dialler(1).encode(long, &mut buffer);
        assert!(matches!(refused, Err(FrameError::TooLong { max: MAX_FRAME, .. })), "{refused:?}");
        assert_eq!(&buffer[..], b"before");
    }

    #[test]
    fn other_formats_and_other_bytes_are_refused() {
        let sound = frame(&(7, Bytes(vec![1, 2, 3])));
        let mut other_format = sound.clone();
        other_format[4] = 2;
        let refused = decode(&mut other_format);
        assert!(matches!(refused, Err(FrameError::Format { found: 2, agreed: 1 })), "{refused:?}");
        let mut longer_bytes = sound;
        longer_bytes[6] = 200;
        let refused = decode(&mut longer_bytes);
        assert!(matches!(refused, Err(FrameError::Undecodable(_))), "{refused:?}");
    }
}
