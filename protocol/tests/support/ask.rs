//! Client requests as scripts write them.

use std::{error::Error, ops::RangeInclusive, str::FromStr, sync::Arc};

use cartwheel_protocol::{
    bucket::BucketName,
    context::Context,
    id::{AddId, NodeId, PutId},
    key::Key,
    object::Addition,
    request::{Operation, Request},
};
use goldenscript::ArgumentConsumer;

/// What makes a command fail.
pub(crate) type Failed = Box<dyn Error>;

/// A client's request of one node.
pub(crate) struct Ask {
    /// Who is asked.
    pub(crate) node: NodeId,
    /// What is asked.
    pub(crate) request: Request,
    /// Under which name to keep the context that comes back.
    pub(crate) keep_as: Option<String>,
    /// The request's number, if the script says it.
    pub(crate) number: Option<u64>,
}

impl Ask {
    /// Reads a request: `get`, `local`, `accept-loss`, `put`, `delete`, `add`, `cancel` or `change`, a node, a key, what the
    /// operation takes, and the options `strict`, `r=`, `w=`, `timeout=`, `number=`. `context` finds one by name.
    pub(crate) fn parse(
        name: &str,
        args: &mut ArgumentConsumer<'_>,
        context: impl Fn(&str) -> Option<Context>,
    ) -> Result<Self, Failed> {
        let node = node(args)?;
        let bucket = if ["add", "cancel", "change"].contains(&name) { "carts" } else { "default" };
        let key = key(args, bucket)?;
        let keep_as = args.take_key("as").map(str::to_owned);
        let own_number = number(args, "number")?;
        let quorum = number(args, "r")?.or(number(args, "w")?);
        let timeout_ms = number(args, "timeout")?.unwrap_or(1_000);
        let context = match args.take_key("context") {
            Some(name) => Some(context(name).ok_or(format!("no context {name}"))?),
            None => None,
        };
        let operation = match name {
            "get" => Operation::Get,
            "local" => Operation::GetLocal,
            "accept-loss" => Operation::AcceptLoss,
            "put" => put(args, context)?,
            "delete" => Operation::Delete { context },
            "add" => Operation::Change { cancel: Arc::from([]), add: addition(args)?, context },
            "cancel" => Operation::Change { cancel: ids(args)?, add: None, context },
            "change" => Operation::Change { add: addition(args)?, cancel: ids(args)?, context },
            _ => return Err(format!("no such command: {name}").into()),
        };
        let strict = match args.next_pos() {
            None => false,
            Some("strict") => true,
            Some(other) => return Err(format!("unknown word {other}").into()),
        };
        args.reject_next()?;
        let request = Request { key, operation, quorum, strict, timeout_ms };
        Ok(Self { node, request, keep_as, number: own_number })
    }
}

/// A put of a small value without a context.
pub(crate) fn simple_put(key: Key, id: u128) -> Request {
    let put_id = PutId(id);
    let value = id.to_string().into_bytes().into();
    sloppy(key, Operation::Put { context: None, put_id, time_us: 0, value })
}

/// One milk more.
pub(crate) fn simple_add(key: Key, id: u128) -> Request {
    let add = Some(Addition { add_id: AddId(id), sku: "milk".into(), quantity: 1 });
    sloppy(key, Operation::Change { cancel: Arc::from([]), add, context: None })
}

fn sloppy(key: Key, operation: Operation) -> Request {
    Request { key, operation, quorum: None, strict: false, timeout_ms: 1_000 }
}

/// The next word as a node: `n1`.
pub(crate) fn node(args: &mut ArgumentConsumer<'_>) -> Result<NodeId, Failed> {
    node_named(args.next_pos().ok_or("a node is missing")?)
}

/// A node by its name.
pub(crate) fn node_named(name: &str) -> Result<NodeId, Failed> {
    let id = name.strip_prefix('n').and_then(|id| u64::from_str_radix(id, 16).ok());
    Ok(NodeId(id.ok_or_else(|| format!("{name} is no node"))?))
}

/// The next word as a key: `k`, or with its bucket `carts/k`. `key_len=` gives one of that length instead.
pub(crate) fn key(args: &mut ArgumentConsumer<'_>, bucket: &str) -> Result<Key, Failed> {
    let word = args.next_pos().ok_or("a key is missing")?;
    let (bucket, name) = word.split_once('/').unwrap_or((bucket, word));
    let bucket = BucketName::new(bucket).ok_or("no name for a bucket")?;
    let name = match number(args, "key_len")? {
        Some(len) => vec![b'k'; len],
        None => name.as_bytes().to_vec(),
    };
    Ok(Key::new(bucket, name))
}

/// An option with a number.
pub(crate) fn number<T: FromStr>(
    args: &mut ArgumentConsumer<'_>,
    name: &str,
) -> Result<Option<T>, Failed> {
    let parse = |text: &str| text.parse().map_err(|_| format!("{name}={text} is no number"));
    Ok(args.take_key(name).map(parse).transpose()?)
}

fn put(args: &mut ArgumentConsumer<'_>, context: Option<Context>) -> Result<Operation, Failed> {
    let value = match number(args, "value_len")? {
        Some(len) => vec![b'v'; len],
        None => args.next_pos().ok_or("a value is missing")?.as_bytes().to_vec(),
    };
    let put_id = PutId(number(args, "id")?.ok_or("id= is missing")?);
    let time_us = number(args, "time")?.unwrap_or(0);
    Ok(Operation::Put { context, put_id, time_us, value: value.into() })
}

/// `sku quantity id=1`
fn addition(args: &mut ArgumentConsumer<'_>) -> Result<Option<Addition>, Failed> {
    let sku = match number(args, "sku_len")? {
        Some(len) => "s".repeat(len),
        None => args.next_pos().ok_or("a sku is missing")?.to_owned(),
    };
    let quantity = args.next_pos().ok_or("a quantity is missing")?.parse()?;
    let add_id = AddId(number(args, "id")?.ok_or("id= is missing")?);
    Ok(Some(Addition { add_id, sku: sku.into(), quantity }))
}

/// `1 2 5..9`
fn ids(args: &mut ArgumentConsumer<'_>) -> Result<Arc<[AddId]>, Failed> {
    let mut ids = Vec::new();
    while let Some(word) = args.next_pos() {
        ids.extend(range(word)?.map(AddId));
    }
    Ok(ids.into())
}

/// `7`, or `5..9` with both ends.
pub(crate) fn range(word: &str) -> Result<RangeInclusive<u128>, Failed> {
    let (first, last) = word.split_once("..").unwrap_or((word, word));
    Ok(first.parse()?..=last.parse()?)
}
