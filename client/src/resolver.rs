//! Siblings made into one value by the application (paper §4.4).

use crate::{
    client::Client,
    error::Error,
    values::{Context, Options, Written},
};

/// How an application's values are stored, and how siblings become one.
///
/// The order of siblings means nothing, so `merge` should give the same however they come: commutative and
/// associative.
pub trait Resolver {
    /// The application's value.
    type Value;

    /// Reads what [`Resolver::encode`] wrote.
    ///
    /// # Errors
    /// What is wrong with the bytes, in words.
    fn decode(&self, bytes: &[u8]) -> Result<Self::Value, String>;

    /// The bytes to store.
    fn encode(&self, value: &Self::Value) -> Vec<u8>;

    /// One value out of two that were written without knowledge of each other.
    fn merge(&self, left: Self::Value, right: Self::Value) -> Self::Value;

    /// Called before siblings are merged, with how many there are: to count or log them.
    fn on_conflict(&self, key: &[u8], siblings: usize) {
        tracing::debug!(key = %key.escape_ascii(), siblings, "siblings are merged");
    }
}

/// A register read through a resolver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resolved<V> {
    /// The value, merged from its siblings; `None` if there is none.
    pub value: Option<V>,
    /// How many siblings there were.
    pub siblings: usize,
    /// Covers all of them: a put with it resolves them.
    pub context: Context,
}

impl Client {
    /// The one value of a register.
    ///
    /// # Errors
    /// Those of [`Client::get`], and [`Error::BadValue`].
    pub async fn resolve<R: Resolver>(
        &self,
        key: &[u8],
        resolver: &R,
        options: &Options,
    ) -> Result<Resolved<R::Value>, Error> {
        let found = self.get(key, options).await?;
        let siblings = found.values.len();
        if siblings > 1 {
            resolver.on_conflict(key, siblings);
        }
        let mut value = None;
        for bytes in &found.values {
            let next = resolver.decode(bytes).map_err(Error::BadValue)?;
            value = Some(match value {
                Some(value) => resolver.merge(value, next),
                None => next,
            });
        }
        Ok(Resolved { value, siblings, context: found.context })
    }

    /// Reads a register, merges its siblings, changes the value and puts it back in their place. What
    /// others put meanwhile stays beside it, as a sibling for the next one to merge.
    ///
    /// # Errors
    /// Those of [`Client::put`] and [`Client::resolve`].
    pub async fn update<R: Resolver>(
        &self,
        key: &[u8],
        resolver: &R,
        options: &Options,
        change: impl FnOnce(Option<R::Value>) -> R::Value,
    ) -> Result<(R::Value, Written), Error> {
        let Resolved { value, context, .. } = self.resolve(key, resolver, options).await?;
        let value = change(value);
        let written = self.put(key, Some(&context), &resolver.encode(&value), options).await?;
        Ok((value, written))
    }
}
