//! The first file of a store, `node.toml`: who the node is and what it has served with, under a checksum.

use std::fs;
use std::io;
use std::path::Path;

use cartwheel_protocol::id::ClusterId;
use cartwheel_protocol::layout::LayoutHash;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use cartwheel_client::parse_node_id;

use crate::config::EngineKind;
use crate::durable;
use crate::store::{Served, StoreError, StoreId};

/// The format of the folder that this build reads and writes.
const FORMAT: u32 = 1;
pub(crate) const IDENTITY: &str = "node.toml";

/// The first file of a store.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    format: u32,
    id: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<EngineKind>,
    /// Over all the others as they are written here: 16 hexadecimal digits. Nothing else would notice a flipped bit.
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
}

impl Identity {
    fn text(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|error| error.to_string())
    }

    /// The checksum that it should have.
    fn count(&self) -> Result<String, String> {
        let text = Self { checksum: None, ..self.clone() }.text()?;
        Ok(format!("{:016x}", xxh3_64(text.as_bytes())))
    }
}

/// Who the store in `data` is, and what it has served with.
pub(crate) fn read_identity(data: &Path) -> Result<(StoreId, Option<Served>), StoreError> {
    let path = data.join(IDENTITY);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::NotFormatted { path: data.to_owned() });
        }
        Err(source) => return Err(StoreError::Io { path, source }),
    };
    let bad = |reason: String| StoreError::Identity { path: path.clone(), reason };
    let identity: Identity =
        toml::from_str(&text).map_err(|error| bad(error.message().replace('\n', " ")))?;
    if identity.format != FORMAT {
        return Err(bad(format!("format is {}; this build reads {FORMAT}", identity.format)));
    }
    let counted = identity.count().map_err(&bad)?;
    if identity.checksum.as_ref() != Some(&counted) {
        let stored = identity.checksum.as_deref().unwrap_or("missing");
        return Err(bad(format!(
            "its checksum is {stored} and that of its content {counted}: it is damaged or was edited, and under \
             another id the node would deny what it acknowledged; restore the file, or format a new store, which is a new node"
        )));
    }
    let id = parse_node_id(&identity.id).ok_or_else(|| {
        bad(format!("id is {}; allowed is n and 1 to 16 hexadecimal digits", identity.id))
    })?;
    let served = match (&identity.cluster, &identity.layout, identity.engine) {
        (None, None, None) => None,
        (Some(cluster), layout, Some(engine)) => {
            let cluster = u64::from_str_radix(cluster, 16).map_err(|_| {
                bad(format!("cluster is {cluster}; allowed are 16 hexadecimal digits"))
            })?;
            let layout = layout.as_ref().map(|layout| {
                u128::from_str_radix(layout, 16).map(LayoutHash).map_err(|_| {
                    bad(format!("layout is {layout}; allowed are 32 hexadecimal digits"))
                })
            });
            let layout = layout.transpose()?;
            Some(Served { cluster: ClusterId(cluster), layout, engine })
        }
        (_, _, _) => {
            return Err(bad("cluster and engine come together or not at all".to_owned()));
        }
    };
    Ok((StoreId { id, name: identity.name }, served))
}

/// Writes it durably, in place of what was there.
pub(crate) fn write_identity(
    data: &Path,
    store: &StoreId,
    served: Option<Served>,
) -> Result<(), StoreError> {
    let path = data.join(IDENTITY);
    let mut identity = Identity {
        format: FORMAT,
        id: store.id.to_string(),
        name: store.name.clone(),
        cluster: served.map(|served| served.cluster.to_string()),
        layout: served.and_then(|served| served.layout).map(|layout| layout.to_string()),
        engine: served.map(|served| served.engine),
        checksum: None,
    };
    let bad = |reason| StoreError::Identity { path: path.clone(), reason };
    identity.checksum = Some(identity.count().map_err(bad)?);
    let text = identity.text().map_err(bad)?;
    durable::write(&path, &text).map_err(|source| StoreError::Io { path, source })
}

#[cfg(test)]
mod tests {
    use cartwheel_protocol::id::NodeId;

    use super::*;

    fn written(folder: &Path) -> (StoreId, Served) {
        let store = StoreId { id: NodeId(0x1f2e), name: "n1".to_owned() };
        let layout = Some(LayoutHash(0x1a));
        let served = Served { cluster: ClusterId(7), layout, engine: EngineKind::Sled };
        write_identity(folder, &store, Some(served)).expect("it is written");
        (store, served)
    }

    fn refused(folder: &Path) -> String {
        read_identity(folder).expect_err("it is refused").to_string()
    }

    #[test]
    fn a_broken_identity_names_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        for text in
            ["format = 9\nid = \"n1\"\nname = \"n1\"", "format = 1\nid = \"x\"\nname = \"\"", "?"]
        {
            fs::write(folder.path().join(IDENTITY), text).expect("a file");
            assert!(refused(folder.path()).contains(IDENTITY));
        }
    }

    #[test]
    fn an_edited_identity_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, served) = written(folder.path());
        assert_eq!(read_identity(folder.path()).expect("its own"), (store, Some(served)));
        let path = folder.path().join(IDENTITY);
        let text = fs::read_to_string(&path).expect("text");
        fs::write(&path, text.replace("n1f2e", "n1f2f")).expect("a file");
        let said = refused(folder.path());
        assert!(said.contains("checksum") && said.contains("format a new store"), "{said}");
        let bare: Vec<&str> = text.lines().filter(|line| !line.starts_with("checksum")).collect();
        fs::write(&path, bare.join("\n")).expect("a file");
        assert!(refused(folder.path()).contains("checksum is missing"));
    }

    #[test]
    fn a_flipped_bit_makes_nobody_else_of_a_node() {
        let folder = tempfile::tempdir().expect("a folder");
        let whole = written(folder.path());
        let path = folder.path().join(IDENTITY);
        let bytes = fs::read(&path).expect("bytes");
        let mut refused = 0;
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, flipped).expect("a file");
            match read_identity(folder.path()) {
                Ok(read) => assert_eq!(read, (whole.0.clone(), Some(whole.1)), "bit {bit}"),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 6 * bytes.len(), "{refused} of {} flips were noticed", 8 * bytes.len());
    }
}
