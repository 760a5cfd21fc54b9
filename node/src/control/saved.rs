//! What membership must find again after a crash, in the engine under a key of its own.

use bytes::Bytes;
use cartwheel_protocol::format::{DecodeError, v1};
use cartwheel_protocol::membership::Saved;

use crate::committer::STEP_PREFIX;
use crate::engine::{Batch, Engine, EngineError, checksum};

/// The key. Records have a greater first byte, the committer's keys a lesser one.
const KEY: &[u8] = &[1];

const _: () = assert!(KEY[0] > STEP_PREFIX, "the committer's keys are apart");

/// What is on disk; `None` in a store that never had a view.
///
/// # Errors
/// The engine's, [`EngineError::Damaged`], and [`EngineError::Newer`].
pub(crate) fn read_saved(engine: &dyn Engine) -> Result<Option<Saved>, EngineError> {
    let Some(sealed) = engine.read(KEY)? else { return Ok(None) };
    let damaged = |why: String| EngineError::Damaged(format!("the node's view: {why}"));
    let bytes = checksum::open(KEY, &sealed).map_err(|error| damaged(error.to_string()))?;
    match v1::decode_saved(&bytes) {
        Ok(saved) => Ok(Some(saved)),
        Err(DecodeError::Format(format)) => {
            Err(EngineError::Newer(format!("the node's view has format {format}")))
        }
        Err(error) => Err(damaged(error.to_string())),
    }
}

/// Makes it durable at once: before there is a committer.
///
/// # Errors
/// The engine's.
pub(crate) fn write_saved(engine: &dyn Engine, saved: &Saved) -> Result<(), EngineError> {
    let mut batch = Batch::new();
    let (key, value) = write(saved);
    batch.write(key, value);
    engine.commit(batch)
}

/// The write that makes it durable.
pub(super) fn write(saved: &Saved) -> (Bytes, Option<Bytes>) {
    let sealed = checksum::seal(KEY, &v1::encode_saved(saved));
    (Bytes::from_static(KEY), Some(sealed))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cartwheel_protocol::bucket::Bucket;
    use cartwheel_protocol::id::{NodeId, Zone};
    use cartwheel_protocol::key::Partitions;
    use cartwheel_protocol::layout::{Layout, Member};
    use cartwheel_protocol::view::View;

    use super::*;
    use crate::engine::MemoryEngine;

    #[test]
    fn what_was_saved_is_read_back_and_damage_is_told() {
        let engine = MemoryEngine::new();
        assert_eq!(read_saved(&engine).expect("the engine reads"), None);
        let member = Member {
            id: NodeId(1),
            name: "n1".into(),
            address: "nowhere:1".into(),
            zone: Zone("z1".into()),
            weight: 1,
        };
        let layout = Layout::form([member], Partitions::DEFAULT, Bucket::built_in());
        let view = Arc::new(View::new(Arc::new(layout.expect("a layout"))));
        let saved = Saved::new(view);
        write_saved(&engine, &saved).expect("it is written");
        assert_eq!(read_saved(&engine).expect("the engine reads"), Some(saved));
        let mut bytes = engine.read(KEY).expect("it reads").expect("it is there").to_vec();
        bytes[20] ^= 1;
        let mut batch = Batch::new();
        batch.write(Bytes::from_static(KEY), Some(bytes.into()));
        engine.commit(batch).expect("it is written");
        let error = read_saved(&engine).expect_err("it is damaged").to_string();
        assert!(error.contains("the node's view"), "{error}");
    }
}
