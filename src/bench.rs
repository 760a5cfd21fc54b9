//! `cartwheel bench`: throughput and latency, beside a raw log in the same run.

use std::{io, path::Path};

use cartwheel_harness::bench::{self, Append, BenchArgs};
use cartwheel_node::engine::rawlog::RawLog;

use crate::{
    exit::{Exit, Failure},
    output, program, serve,
};

/// Measures and prints.
pub(crate) fn run(args: &BenchArgs) -> Result<Exit, Failure> {
    serve::check_node_options(&args.node_option)?;
    let report = bench::run(args, &program::path()?, &raw_log)
        .map_err(|error| Failure::crashed(format!("{error:#}")))?;
    if args.json {
        output::json(&report)?;
    } else {
        output::line(report.table());
    }
    Ok(Exit::Done)
}

/// What durable writes are compared to: an append-only file with group commit.
fn raw_log(path: &Path) -> io::Result<Append> {
    let log = RawLog::create(path)?;
    Ok(Box::new(move |bytes| log.append(bytes)))
}
