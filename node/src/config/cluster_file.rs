//! The cluster file: who is in the cluster and which buckets it has, as TOML.
//!
//! ```toml
//! cluster = "5e1f0a33c0ffee00"
//! partitions = 1024
//!
//! members = [
//!   { id = "n3fa", name = "n1", address = "127.0.0.1:7400", zone = "z1", weight = 1 },
//! ]
//!
//! [[buckets]]
//! name = "last-write-wins"
//! kind = "register"
//! n = 3
//! conflict = "last-write-wins"
//! ```
//!
//! Every node of a new cluster is given the same file: it *is* the first layout. From then on layouts follow each
//! other, and the file changes nothing any more.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use cartwheel_client::parse_node_id;
use cartwheel_protocol::bucket::{Bucket, BucketName, Conflict, Kind, Spread};
use cartwheel_protocol::id::{ClusterId, NodeId, Zone};
use cartwheel_protocol::key::Partitions;
use cartwheel_protocol::layout::{Layout, LayoutError, Member};
use serde::Deserialize;

use super::ConfigError;
use crate::durable;

/// A cluster as its operator describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClusterFile {
    /// Keeps strangers out.
    pub cluster: ClusterId,
    /// For the cluster's life.
    pub partitions: Partitions,
    /// The nodes.
    pub members: Vec<Member>,
    /// Buckets beside the built-in ones. One that has the name of a built-in one stands for it.
    pub buckets: Vec<Bucket>,
}

impl ClusterFile {
    /// A cluster with the default number of partitions and no buckets of its own.
    #[must_use]
    pub fn new(cluster: ClusterId, members: Vec<Member>) -> Self {
        Self { cluster, partitions: Partitions::DEFAULT, members, buckets: Vec::new() }
    }

    /// Reads a cluster file.
    ///
    /// # Errors
    /// [`ConfigError::File`], or what is wrong with a field.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |reason| ConfigError::File { path: path.to_owned(), reason };
        let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        Self::parse(&text).map_err(|error| failed(error.to_string()))
    }

    /// Reads the text of a cluster file.
    ///
    /// # Errors
    /// What is wrong with a field.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let raw: RawFile = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
            ConfigError::field(format!("line {line}"), "not as expected", super::read::said(&error))
        })?;
        let cluster = u64::from_str_radix(&raw.cluster, 16).map_err(|_| {
            ConfigError::field("cluster", &raw.cluster, "16 hexadecimal digits, as a string")
        })?;
        let partitions = Partitions::new(raw.partitions).ok_or_else(|| {
            let allowed = format!("a power of two from 1 to {}", Partitions::MAX);
            ConfigError::field("partitions", raw.partitions, allowed)
        })?;
        let file = Self {
            cluster: ClusterId(cluster),
            partitions,
            members: raw.members.into_iter().map(RawMember::check).collect::<Result<_, _>>()?,
            buckets: raw.buckets.into_iter().map(RawBucket::check).collect::<Result<_, _>>()?,
        };
        file.layout().map_err(|error| ConfigError::field("the layout", "impossible", error))?;
        Ok(file)
    }

    /// The text of the file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let (cluster, partitions) = (self.cluster, self.partitions.count());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "cluster = \"{cluster}\"\npartitions = {partitions}\n\nmembers = [");
        for member in &self.members {
            let _ = writeln!(text, "  {},", member_line(member));
        }
        text.push_str("]\n");
        for bucket in &self.buckets {
            let _ = writeln!(text, "\n[[buckets]]\n{}", bucket_lines(bucket));
        }
        text
    }

    /// Writes the file, durably, in one piece.
    ///
    /// # Errors
    /// [`ConfigError::File`].
    pub fn write(&self, path: &Path) -> Result<(), ConfigError> {
        let failed = |error: std::io::Error| ConfigError::File {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        durable::write(path, &self.to_toml()).map_err(failed)
    }

    /// The first layout of this cluster, the same at every node.
    ///
    /// # Errors
    /// What the layout says.
    pub fn layout(&self) -> Result<Layout, LayoutError> {
        let mut buckets = self.buckets.clone();
        for built_in in Bucket::built_in() {
            if buckets.iter().all(|bucket| bucket.name != built_in.name) {
                buckets.push(built_in);
            }
        }
        Layout::form(self.members.iter().cloned(), self.partitions, buckets)
    }

    /// The member with this id.
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }
}

/// A member as one line of a cluster file.
#[must_use]
pub fn member_line(member: &Member) -> String {
    let Member { id, name, address, zone, weight } = member;
    let text = |text: &str| toml::Value::from(text).to_string();
    let (name, address, zone) = (text(name), text(address), text(&zone.0));
    format!(
        "{{ id = \"{id}\", name = {name}, address = {address}, zone = {zone}, weight = {weight} }}"
    )
}

fn bucket_lines(bucket: &Bucket) -> String {
    let conflict = match bucket.conflict {
        Conflict::Siblings => "siblings",
        Conflict::LastWriteWins => "last-write-wins",
    };
    let spread = match bucket.spread {
        Spread::Node => "node",
        Spread::Zone => "zone",
    };
    let Bucket { name, n, kind, strict_r, strict_w, cancelled_bound, r, w, .. } = bucket;
    format!(
        "name = \"{name}\"\nkind = \"{kind}\"\nn = {n}\nr = {r}\nw = {w}\nconflict = \"{conflict}\"\n\
         spread = \"{spread}\"\nstrict_r = {strict_r}\nstrict_w = {strict_w}\n\
         cancelled_bound = {cancelled_bound}"
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    cluster: String,
    #[serde(default = "default_partitions")]
    partitions: u32,
    members: Vec<RawMember>,
    #[serde(default)]
    buckets: Vec<RawBucket>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMember {
    id: String,
    name: String,
    address: String,
    #[serde(default = "default_zone")]
    zone: String,
    #[serde(default = "default_weight")]
    weight: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBucket {
    name: String,
    #[serde(default = "default_n")]
    n: u8,
    kind: String,
    #[serde(default)]
    conflict: Option<String>,
    #[serde(default)]
    spread: Option<String>,
    #[serde(default)]
    strict_r: Option<u8>,
    #[serde(default)]
    strict_w: Option<u8>,
    #[serde(default)]
    cancelled_bound: Option<u32>,
    #[serde(default)]
    r: Option<u8>,
    #[serde(default)]
    w: Option<u8>,
}

fn default_partitions() -> u32 {
    Partitions::DEFAULT.count()
}

fn default_zone() -> String {
    "z1".to_owned()
}

fn default_weight() -> u32 {
    1
}

fn default_n() -> u8 {
    3
}

impl RawMember {
    fn check(self) -> Result<Member, ConfigError> {
        let Self { id, name, address, zone, weight } = self;
        let id = parse_node_id(&id).ok_or_else(|| {
            ConfigError::field("id of a member", &id, "n and 1 to 16 hexadecimal digits")
        })?;
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() {
            let field = format!("address of {name}");
            return Err(ConfigError::field(field, address, "host:port"));
        }
        Ok(Member {
            id,
            name: name.into(),
            address: address.into(),
            zone: Zone(zone.into()),
            weight,
        })
    }
}

impl RawBucket {
    fn check(self) -> Result<Bucket, ConfigError> {
        let of = |field: &str| format!("{field} of bucket {}", self.name);
        let name = BucketName::new(&self.name).ok_or_else(|| {
            let allowed = format!("1 to {} of a-z, 0-9, - and _", BucketName::MAX_LEN);
            ConfigError::field("name of a bucket", &self.name, allowed)
        })?;
        let kind = match self.kind.as_str() {
            "register" => Kind::Register,
            "cart" => Kind::Cart,
            other => return Err(ConfigError::field(of("kind"), other, "register or cart")),
        };
        let majorities = Bucket::new(name, kind, self.n.min(Bucket::MAX_N));
        let bucket = Bucket {
            n: self.n,
            conflict: match self.conflict.as_deref() {
                None | Some("siblings") => Conflict::Siblings,
                Some("last-write-wins") => Conflict::LastWriteWins,
                Some(other) => {
                    let allowed = "siblings or last-write-wins";
                    return Err(ConfigError::field(of("conflict"), other, allowed));
                }
            },
            spread: match self.spread.as_deref() {
                None | Some("node") => Spread::Node,
                Some("zone") => Spread::Zone,
                Some(other) => return Err(ConfigError::field(of("spread"), other, "node or zone")),
            },
            strict_r: self.strict_r.unwrap_or(majorities.strict_r),
            strict_w: self.strict_w.unwrap_or(majorities.strict_w),
            cancelled_bound: self.cancelled_bound.unwrap_or(majorities.cancelled_bound),
            r: self.r.unwrap_or(majorities.r),
            w: self.w.unwrap_or(majorities.w),
            ..majorities
        };
        bucket.check().map_err(|error| {
            ConfigError::field(format!("bucket {}", self.name), "refused", error)
        })?;
        Ok(bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64) -> Member {
        Member {
            id: NodeId(id),
            name: format!("n{id} \"quoted\"").into(),
            address: format!("127.0.0.1:{}", 7400 + id % 100).into(),
            zone: Zone("z1".into()),
            weight: 1,
        }
    }

    fn sample() -> ClusterFile {
        let name = BucketName::new("last-write-wins").expect("a name");
        let mut lww = Bucket::new(name, Kind::Register, 3);
        lww.conflict = Conflict::LastWriteWins;
        let members = vec![member(0xa), member(u64::MAX), member(3)];
        let cluster = ClusterId(0x00ff_0000_0000_0001);
        ClusterFile { buckets: vec![lww], ..ClusterFile::new(cluster, members) }
    }

    fn refused(change: (&str, &str)) -> String {
        let text = sample().to_toml();
        assert!(text.contains(change.0), "{text}");
        ClusterFile::parse(&text.replacen(change.0, change.1, 1))
            .expect_err("the text is refused")
            .to_string()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let file = sample();
        assert_eq!(ClusterFile::parse(&file.to_toml()).expect("own text"), file);
    }

    #[test]
    fn the_layout_has_the_built_in_buckets_and_the_files() {
        let layout = sample().layout().expect("a layout");
        let names: Vec<&str> = layout.buckets().iter().map(|bucket| bucket.name.as_str()).collect();
        assert_eq!(names, ["carts", "default", "last-write-wins"]);
    }

    #[test]
    fn a_bucket_of_the_file_stands_for_the_built_in_one_of_its_name() {
        let name = BucketName::new("default").expect("a name");
        let file =
            ClusterFile { buckets: vec![Bucket::new(name.clone(), Kind::Register, 1)], ..sample() };
        assert_eq!(file.layout().expect("a layout").bucket(&name).map(|bucket| bucket.n), Some(1));
    }

    #[test]
    fn bad_fields_are_named_with_their_value_and_what_is_allowed() {
        let cases = [
            (("00ff000000000001", "xyz"), "cluster is xyz; allowed is 16 hexadecimal digits"),
            (("1024", "1000"), "partitions is 1000; allowed is a power of two"),
            (("\"na\"", "\"12\""), "id of a member is 12; allowed is n and 1 to 16 hexadecimal"),
            ((":7403", ""), "address of n3 \"quoted\" is 127.0.0.1; allowed is host:port"),
            (("\"register\"", "\"box\""), "kind of bucket last-write-wins is box; allowed is"),
            (("r = 2", "r = 4"), "r is 4; allowed is 1 to n"),
            (
                ("\"node\"", "\"rack\""),
                "spread of bucket last-write-wins is rack; allowed is node or zone",
            ),
            (("zone =", "zoned ="), "zoned"),
            (("\"nffffffffffffffff\"", "\"na\""), "na is a member already"),
        ];
        for (change, expected) in cases {
            let said = refused(change);
            assert!(said.contains(expected), "{change:?} gave: {said}");
        }
    }
}
