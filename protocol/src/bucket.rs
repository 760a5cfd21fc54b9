//! Buckets: namespaces that fix how their keys are replicated and what they hold.

use alloc::{sync::Arc, vec::Vec};
use core::fmt;

/// A bucket's name: 1 to 64 bytes of `a-z`, `0-9`, `-` and `_`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BucketName(Arc<str>);

/// What the keys of a bucket hold.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// Opaque bytes: the paper's `get` and `put`.
    Register,
    /// A shopping cart: additions and cancellations by id.
    Cart,
}

/// What becomes of concurrent puts to one register.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Conflict {
    /// All are kept and returned; the client resolves them (paper §4.4).
    Siblings,
    /// The one with the latest time wins and the others are lost: the control that loses.
    LastWriteWins,
}

/// Over what the copies of a key are spread, and what a write quorum counts.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Spread {
    /// Distinct nodes.
    Node,
    /// Distinct zones (rule Q3).
    Zone,
}

/// A bucket. All but `r` and `w` is fixed when it is created.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Bucket {
    /// Its name.
    pub name: BucketName,
    /// How many owners a key has.
    pub n: u8,
    /// What its keys hold.
    pub kind: Kind,
    /// What becomes of concurrent puts.
    pub conflict: Conflict,
    /// What a write quorum counts.
    pub spread: Spread,
    /// The least `r` of a strict request (Rs); `strict_r + strict_w > n`.
    pub strict_r: u8,
    /// The least `w` of a strict request (Ws).
    pub strict_w: u8,
    /// How many cancelled add_ids a cart remembers (K).
    pub cancelled_bound: u32,
    /// How many nodes must answer a read that does not say.
    pub r: u8,
    /// How many slots must hold a write that does not say.
    pub w: u8,
}

/// Why a bucket was refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BucketError {
    /// The name is empty, longer than 64 bytes or has a character that is not allowed.
    Name,
    /// `n` is zero or above [`Bucket::MAX_N`].
    N(u8),
    /// `r`, `w`, `strict_r` or `strict_w` (named) is zero or above `n`.
    Quorum(&'static str, u8),
    /// `strict_r + strict_w` is not above `n`: a strict read could miss a strict write.
    StrictOverlap,
    /// `cancelled_bound` is below twice the limit of live entries (rule C1).
    CancelledBound(u32),
}

impl BucketName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 64;

    /// A valid name, or `None`.
    pub fn new(name: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
        let valid = !name.is_empty() && name.len() <= Self::MAX_LEN && name.bytes().all(allowed);
        valid.then(|| Self(Arc::from(name)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Sorts before every valid name.
    pub(crate) fn least() -> Self {
        Self(Arc::from(""))
    }
}

impl Bucket {
    /// The most owners a key can have.
    pub const MAX_N: u8 = 16;
    /// How many live entries a cart may have when a client adds to it.
    pub const MAX_CART_ENTRIES: usize = 1_000;
    /// The default of `cancelled_bound`.
    pub const CANCELLED_BOUND: u32 = 2_048;

    /// A bucket with `n` owners and majorities everywhere.
    pub fn new(name: BucketName, kind: Kind, n: u8) -> Self {
        let majority = n / 2 + 1;
        Self {
            name,
            n,
            kind,
            conflict: Conflict::Siblings,
            spread: Spread::Node,
            strict_r: majority,
            strict_w: majority,
            cancelled_bound: Self::CANCELLED_BOUND,
            r: majority,
            w: majority,
        }
    }

    /// The buckets that every cluster has: `default` (register) and `carts` (cart), n=3 r=2 w=2.
    pub fn built_in() -> Vec<Self> {
        let named = |name: &str, kind| Self::new(BucketName(Arc::from(name)), kind, 3);
        Vec::from([named("carts", Kind::Cart), named("default", Kind::Register)])
    }

    /// Whether the bucket's numbers fit together.
    pub fn check(&self) -> Result<(), BucketError> {
        if BucketName::new(self.name.as_str()).is_none() {
            return Err(BucketError::Name);
        }
        if self.n == 0 || self.n > Self::MAX_N {
            return Err(BucketError::N(self.n));
        }
        let quorums = [
            ("r", self.r),
            ("w", self.w),
            ("strict_r", self.strict_r),
            ("strict_w", self.strict_w),
        ];
        for (field, value) in quorums {
            if value == 0 || value > self.n {
                return Err(BucketError::Quorum(field, value));
            }
        }
        if self.strict_r + self.strict_w <= self.n {
            return Err(BucketError::StrictOverlap);
        }
        if self.kind == Kind::Cart && (self.cancelled_bound as usize) < 2 * Self::MAX_CART_ENTRIES {
            return Err(BucketError::CancelledBound(self.cancelled_bound));
        }
        Ok(())
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Register => "register",
            Self::Cart => "cart",
        })
    }
}

impl fmt::Display for BucketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => write!(
                f,
                "a bucket's name has 1 to {} characters of a-z, 0-9, - and _",
                BucketName::MAX_LEN
            ),
            Self::N(n) => write!(f, "n is {n}; allowed is 1 to {}", Bucket::MAX_N),
            Self::Quorum(field, value) => write!(f, "{field} is {value}; allowed is 1 to n"),
            Self::StrictOverlap => f.write_str("strict_r + strict_w must be above n"),
            Self::CancelledBound(bound) => write!(
                f,
                "cancelled_bound is {bound}; at least {} is allowed",
                2 * Bucket::MAX_CART_ENTRIES
            ),
        }
    }
}

impl core::error::Error for BucketError {}
