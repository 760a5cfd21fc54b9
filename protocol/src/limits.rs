//! The limits on what clients may ask, checked before anything is started. Merging checks none of them: two
//! halves, each within its limit, must still merge.

use crate::{
    bucket::{Bucket, Kind},
    context::Binding,
    object::{Addition, Object},
    request::{Operation, Refusal, Request},
    rules::Mutant,
    step::Config,
    version::VersionVector,
};

/// The longest key, in bytes.
pub const MAX_KEY: usize = 1_024;
/// The longest value of a register, in bytes.
pub const MAX_VALUE: usize = 1 << 20;
/// The longest name of an article, in bytes.
pub const MAX_SKU: usize = 1_024;
/// The largest quantity of one addition.
pub const MAX_QUANTITY: u32 = 1_000_000;
/// How many siblings a register may have and still take a put that resolves none of them.
pub const MAX_SIBLINGS: usize = 64;

/// Whether a request is in order as far as its words and its bucket tell; gives the quorum that it needs.
pub(crate) fn check(request: &Request, bucket: &Bucket, config: &Config) -> Result<u8, Refusal> {
    match request.key.name.len() {
        0 => return Err(Refusal::KeyEmpty),
        len if len > MAX_KEY => return Err(Refusal::KeyTooLong(len)),
        _ => {}
    }
    check_operation(&request.operation, bucket)?;
    let binding = || Binding::new(config.cluster, &request.key);
    if request.operation.context().is_some_and(|context| !context.is_bound_to(binding()))
        && config.rules.keeps(Mutant::AcceptForeignContext)
    {
        return Err(Refusal::ForeignContext);
    }
    check_quorum(request, bucket)
}

fn check_operation(operation: &Operation, bucket: &Bucket) -> Result<(), Refusal> {
    let kind = match operation {
        Operation::Get | Operation::GetLocal | Operation::AcceptLoss => bucket.kind,
        Operation::Put { .. } | Operation::Delete { .. } => Kind::Register,
        Operation::Change { .. } => Kind::Cart,
    };
    if kind != bucket.kind {
        return Err(Refusal::WrongKind(bucket.kind));
    }
    match operation {
        Operation::Put { value, .. } if value.len() > MAX_VALUE => {
            Err(Refusal::ValueTooLong(value.len()))
        }
        Operation::Change { cancel, add, .. } => {
            let (named, bound) = (cancel.len(), bucket.cancelled_bound as usize);
            if named > bound {
                return Err(Refusal::TooManyCancels { named, bound });
            }
            add.as_ref().map_or(Ok(()), check_addition)
        }
        Operation::Get
        | Operation::GetLocal
        | Operation::Put { .. }
        | Operation::Delete { .. }
        | Operation::AcceptLoss => Ok(()),
    }
}

fn check_addition(addition: &Addition) -> Result<(), Refusal> {
    if addition.sku.is_empty() || addition.sku.len() > MAX_SKU {
        return Err(Refusal::SkuLength(addition.sku.len()));
    }
    if addition.quantity == 0 || addition.quantity > MAX_QUANTITY {
        return Err(Refusal::Quantity(addition.quantity));
    }
    Ok(())
}

fn check_quorum(request: &Request, bucket: &Bucket) -> Result<u8, Refusal> {
    let (default, least) = if request.operation.is_read() {
        (bucket.r, bucket.strict_r)
    } else {
        (bucket.w, bucket.strict_w)
    };
    let asked = match request.quorum {
        Some(asked) => asked,
        None if request.strict => default.max(least),
        None => default,
    };
    if asked == 0 || asked > bucket.n {
        return Err(Refusal::Quorum { asked, n: bucket.n });
    }
    if request.strict && asked < least {
        return Err(Refusal::StrictQuorum { asked, least });
    }
    Ok(asked)
}

/// Whether the coordinator's copy has room for the value of a put with this context.
pub(crate) fn check_siblings(object: &Object, context: &VersionVector) -> Result<(), Refusal> {
    let live = object.entries();
    let resolves = live.iter().any(|(dot, _)| context.covers(*dot));
    if resolves || live.len() < MAX_SIBLINGS {
        return Ok(());
    }
    Err(Refusal::TooManySiblings(live.len()))
}

/// Whether the coordinator's copy of a cart has room for one more addition.
pub(crate) fn check_cart(object: &Object) -> Result<(), Refusal> {
    let limit = Bucket::MAX_CART_ENTRIES;
    if object.entries().len() >= limit && object.additions().len() >= limit {
        return Err(Refusal::CartFull(limit));
    }
    Ok(())
}
