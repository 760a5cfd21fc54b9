//! What a client is told when it is not told yes.

use cartwheel_protocol::request::Refusal;

/// Why an operation did not succeed, or is not known to have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// It was refused: nothing has changed and nothing will.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// A read: too few nodes answered in time.
    #[error("unavailable: {have} of {need} answered in time")]
    Unavailable {
        /// How many answered.
        have: u8,
        /// How many are needed.
        need: u8,
    },
    /// A write that may have taken effect, or may still, or may not. A cart operation can be repeated with
    /// the same ids; a register must be read again.
    #[error("outcome unknown: {0}")]
    Unknown(Doubt),
    /// No node could be asked, or none answered a read; nothing has changed.
    #[error("no node could be reached: {0}")]
    Unreachable(String),
    /// The context is damaged or was never one.
    #[error("the context is damaged; read the key again and use the context of that read")]
    DamagedContext,
    /// The bucket's name is none.
    #[error("{0:?} is no bucket's name: 1 to 64 characters of a-z, 0-9, - and _")]
    BucketName(String),
    /// What the node answered makes no sense here.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
    /// A stored value cannot be decoded by the resolver.
    #[error("a value cannot be decoded: {0}")]
    BadValue(String),
}

/// Why the outcome of a write is not known.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Doubt {
    /// Too few slots held it in time; those that do keep it.
    #[error("{have} of {need} slots held it in time")]
    Unavailable {
        /// How many held it.
        have: u8,
        /// How many are needed.
        need: u8,
    },
    /// It was sent and no answer came.
    #[error("no answer: {0}")]
    Silence(String),
}

impl Error {
    /// Whether it is certain that nothing has changed and nothing will.
    pub fn is_definite(&self) -> bool {
        match self {
            Self::Unknown(_) => false,
            Self::Refused(_)
            | Self::Unavailable { .. }
            | Self::Unreachable(_)
            | Self::DamagedContext
            | Self::BucketName(_)
            | Self::Unexpected(_)
            | Self::BadValue(_) => true,
        }
    }
}
