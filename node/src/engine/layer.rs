//! An engine over another one.

use bytes::Bytes;

use super::{Batch, DiskSpace, Engine, EngineError, Entry};

/// An [`Engine`] over another: what it does not do itself, that one does.
pub trait Layer: Send + Sync + 'static {
    /// The engine below.
    fn below(&self) -> &dyn Engine;

    /// See [`Engine::read`].
    ///
    /// # Errors
    /// Those of the engine below.
    fn read(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.below().read(key)
    }

    /// See [`Engine::scan`].
    ///
    /// # Errors
    /// Those of the engine below.
    fn scan(
        &self,
        from: &[u8],
        until: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, EngineError> {
        self.below().scan(from, until, limit)
    }

    /// See [`Engine::commit`].
    ///
    /// # Errors
    /// Those of the engine below.
    fn commit(&self, batch: Batch) -> Result<(), EngineError> {
        self.below().commit(batch)
    }

    /// See [`Engine::size_bytes`].
    ///
    /// # Errors
    /// Those of the engine below.
    fn size_bytes(&self) -> Result<u64, EngineError> {
        self.below().size_bytes()
    }

    /// See [`Engine::space`].
    ///
    /// # Errors
    /// Those of the engine below.
    fn space(&self) -> Result<DiskSpace, EngineError> {
        self.below().space()
    }
}

impl<L: Layer> Engine for L {
    fn read(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Layer::read(self, key)
    }

    fn scan(
        &self,
        from: &[u8],
        until: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, EngineError> {
        Layer::scan(self, from, until, limit)
    }

    fn commit(&self, batch: Batch) -> Result<(), EngineError> {
        Layer::commit(self, batch)
    }

    fn size_bytes(&self) -> Result<u64, EngineError> {
        Layer::size_bytes(self)
    }

    fn space(&self) -> Result<DiskSpace, EngineError> {
        Layer::space(self)
    }
}
