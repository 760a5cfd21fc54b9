//! Messages cut into pieces and put together again.
//!
//! Merges are never refused, so nothing bounds an object, and whatever a merge gives must be transferable.
//! What is longer than a piece is cut, sent in order, and taken whole when the last part is there. A receiver
//! holds the parts of at most one message for each connection, and only parts that arrived.

use std::collections::VecDeque;

use crate::{codec::Bytes, service::Piece};

/// Cuts an encoded message into pieces of at most `piece_bytes`.
pub(crate) fn split(message: Vec<u8>, piece_bytes: usize) -> VecDeque<Piece> {
    if message.len() <= piece_bytes {
        return VecDeque::from([Piece::Whole(message.into())]);
    }
    let chunks = message.chunks(piece_bytes);
    let last = chunks.len() - 1;
    let part = |(at, chunk): (usize, &[u8])| {
        let (number, bytes) = (at as u32, Bytes(chunk.to_vec()));
        if at < last { Piece::Part { number, bytes } } else { Piece::Last { number, bytes } }
    };
    chunks.enumerate().map(part).collect()
}

/// Puts the parts of one connection together.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    parts: u32,
    bytes: Vec<u8>,
}

impl Assembler {
    /// Takes a piece; gives a message that is now whole.
    pub(crate) fn take(&mut self, piece: Piece) -> Result<Option<Vec<u8>>, OutOfOrder> {
        let (number, bytes, is_last) = match piece {
            Piece::Whole(Bytes(message)) => return Ok(Some(message)),
            Piece::Part { number, bytes } => (number, bytes, false),
            Piece::Last { number, bytes } => (number, bytes, true),
        };
        if number != self.parts {
            return Err(OutOfOrder { expected: self.parts, found: number });
        }
        self.bytes.extend_from_slice(&bytes.0);
        self.parts += 1;
        if !is_last {
            return Ok(None);
        }
        self.parts = 0;
        Ok(Some(std::mem::take(&mut self.bytes)))
    }
}

/// A part is missing, or one came twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("part {found} of a message came where part {expected} should be")]
pub(crate) struct OutOfOrder {
    expected: u32,
    found: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> Vec<u8> {
        (0..len).map(|at| at as u8).collect()
    }

    #[test]
    fn what_is_cut_is_put_together_and_is_whole_only_at_the_end() {
        for len in [0, 1, 9, 10, 11, 20, 95] {
            let mut assembler = Assembler::default();
            let mut pieces = split(message(len), 10);
            let last = pieces.pop_back().expect("there is always a piece");
            assert_eq!(pieces.len(), len.saturating_sub(1) / 10);
            for piece in pieces {
                assert_eq!(assembler.take(piece), Ok(None));
                let short = Piece::Whole(message(3).into());
                assert_eq!(assembler.take(short), Ok(Some(message(3))), "others pass in between");
            }
            assert_eq!(assembler.take(last), Ok(Some(message(len))));
        }
    }

    #[test]
    fn a_part_that_is_missing_or_comes_twice_is_refused() {
        let pieces: Vec<Piece> = split(message(30), 10).into();
        let mut assembler = Assembler::default();
        assert_eq!(assembler.take(pieces[0].clone()), Ok(None));
        let refused = Err(OutOfOrder { expected: 1, found: 2 });
        assert_eq!(assembler.take(pieces[2].clone()), refused);
        let refused = Err(OutOfOrder { expected: 1, found: 0 });
        assert_eq!(assembler.take(pieces[0].clone()), refused);
    }
}
