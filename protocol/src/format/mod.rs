//! Formats: how records, messages, requests and layouts become bytes.
//!
//! Every stored record and every frame begins with one byte, the number of its format. Each format has
//! types of its own ([`v1`]), never the live ones: the encoding is positional, so a field that somebody
//! adds to a live type must not move what older builds read. Golden bytes of each format are committed and
//! decoded by a test.
//!
//! Decoding is total: any bytes give a value or a [`DecodeError`] that names what is wrong, never a panic,
//! and what is decoded keeps the invariants of its type (sorted, distinct, valid names).
//!
//! Two nodes speak the highest format that both know ([`Formats::highest_common`]); only disjoint ranges
//! are refused, and the refusal names both.

use core::fmt;

pub mod v1;

/// The oldest format that this build reads and writes.
pub const OLDEST: u8 = 1;

/// The newest format that this build reads and writes.
pub const NEWEST: u8 = 1;

/// A range of formats, both ends included.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Formats {
    /// The lowest number.
    pub oldest: u8,
    /// The highest number.
    pub newest: u8,
}

/// Two sides know no common format.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct DisjointFormats {
    /// What this side speaks.
    pub ours: Formats,
    /// What the other side speaks.
    pub theirs: Formats,
}

/// Why bytes could not be decoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DecodeError {
    /// There is not even a format byte.
    Empty,
    /// The format byte names a format that this decoder does not read.
    Format(u8),
    /// The bytes end early, or no value has this encoding. `what` names the type that was read.
    Malformed {
        /// The type that was read.
        what: &'static str,
        /// What the codec says.
        why: postcard::Error,
    },
    /// So many bytes are left over after the value.
    Trailing {
        /// The type that was read.
        what: &'static str,
        /// How many bytes are left.
        bytes: usize,
    },
    /// The context within is cut short or changed.
    DamagedContext,
    /// A value was read and breaks an invariant, which this says.
    Invalid(&'static str),
}

impl Formats {
    /// What this build speaks.
    pub const SPOKEN: Self = Self { oldest: OLDEST, newest: NEWEST };

    /// What this build speaks, but nothing newer than `newest`: to run next to older builds during an
    /// upgrade. `None` if this build does not speak it.
    pub fn up_to(newest: u8) -> Option<Self> {
        (OLDEST..=NEWEST).contains(&newest).then_some(Self { oldest: OLDEST, newest })
    }

    /// The highest format in both ranges, or an error that names both.
    pub fn highest_common(self, theirs: Self) -> Result<u8, DisjointFormats> {
        let newest = self.newest.min(theirs.newest);
        let oldest = self.oldest.max(theirs.oldest);
        if oldest <= newest { Ok(newest) } else { Err(DisjointFormats { ours: self, theirs }) }
    }
}

impl fmt::Display for Formats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.oldest == self.newest {
            write!(f, "{}", self.oldest)
        } else {
            write!(f, "{} to {}", self.oldest, self.newest)
        }
    }
}

impl fmt::Display for DisjointFormats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no common format: this side speaks {}, the other {}", self.ours, self.theirs)
    }
}

impl core::error::Error for DisjointFormats {}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no bytes, not even the format's number"),
            Self::Format(format) => {
                write!(f, "format {format}; this build reads {}", Formats::SPOKEN)
            }
            Self::Malformed { what, why } => write!(f, "not a {what}: {why}"),
            Self::Trailing { what, bytes } => write!(f, "{bytes} bytes left over after a {what}"),
            Self::DamagedContext => crate::context::DamagedContext.fmt(f),
            Self::Invalid(why) => f.write_str(why),
        }
    }
}

impl core::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn two_ranges_speak_the_highest_common_format() {
        let range = |oldest, newest| Formats { oldest, newest };
        assert_eq!(range(1, 3).highest_common(range(2, 7)), Ok(3));
        assert_eq!(range(2, 7).highest_common(range(1, 3)), Ok(3));
        assert_eq!(range(1, 1).highest_common(range(1, 1)), Ok(1));
    }

    #[test]
    fn disjoint_ranges_are_refused_and_both_are_named() {
        let (ours, theirs) = (Formats { oldest: 1, newest: 2 }, Formats { oldest: 3, newest: 3 });
        let refused = ours.highest_common(theirs).expect_err("1 to 2 and 3 have nothing in common");
        assert_eq!(refused, DisjointFormats { ours, theirs });
        assert_eq!(refused.to_string(), "no common format: this side speaks 1 to 2, the other 3");
    }

    #[test]
    fn only_a_spoken_format_can_be_chosen() {
        assert_eq!(Formats::up_to(NEWEST), Some(Formats::SPOKEN));
        assert_eq!(Formats::up_to(0), None);
        assert_eq!(Formats::up_to(NEWEST + 1), None);
    }
}
