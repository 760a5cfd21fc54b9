//! The `cartwheel` command: one file a subcommand, no protocol logic.
//!
//! Exit codes are Jepsen's: 0 valid or done, 1 invalid or refused, 2 unknown, 254 bad arguments, 255 crashed. `serve` ends
//! with 74 when its store fails.

mod bench;
mod campaign;
mod cart;
mod check;
mod connect;
mod dev;
mod exit;
mod inspect;
mod member;
mod model;
mod output;
mod program;
mod quiet;
mod reap;
mod record;
mod register;
mod serve;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};

use crate::exit::Exit;

/// A Dynamo-style, always-writable key-value store whose protocol core is model-checked.
#[derive(Parser)]
#[command(name = "cartwheel", max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Break a live cluster on a seeded schedule and judge what its clients saw
    Campaign(cartwheel_harness::campaign::CampaignArgs),
    /// Explore the protocol in every order of messages, crashes and retries
    #[command(after_help = "Examples:
  cartwheel model list
  cartwheel model check
  cartwheel model check hints --set crash=2 --save trace.txt
  cartwheel model check --mutant counter-per-key      (in a build with --features mutants)
  cartwheel model check --mutants                     (the same of every rule, as a table)
  cartwheel model explore hints                       (in the browser)

Exit codes: 0 all properties hold (with --mutant: it is caught), 1 not, 2 incomplete.")]
    Model(cartwheel_model::cli::Args),
    /// Run a trace again that the model saved, one line an effect
    #[command(after_help = "Example:\n  cartwheel replay trace.txt")]
    Replay(cartwheel_model::cli::ReplayArgs),
    /// Measure throughput and latency beside a raw log
    Bench(cartwheel_harness::bench::BenchArgs),
    /// Run a local cluster until ctrl-c
    Dev(cartwheel_harness::dev::DevArgs),
    /// Put a value into a register
    Put(register::PutArgs),
    /// Get the values of a register, and the context that a put hands back
    Get(register::GetArgs),
    /// Delete what a read has shown
    Delete(register::DeleteArgs),
    /// Add to, remove from, change or show a shopping cart
    Cart(cart::Args),
    /// Ask every node how it is
    Status(inspect::StatusArgs),
    /// Show who owns what, or one key's owners
    Ring(inspect::RingArgs),
    /// List and change the members
    Member(member::MemberArgs),
    /// List, create and change buckets
    Bucket(member::BucketArgs),
    /// Give up what is lost of a single damaged record
    Record(record::RecordArgs),
    /// Wait until nothing is under way: one layout, no hint owed, nobody catching up
    Quiet(quiet::QuietArgs),
    /// Free what tombstones, cancelled additions and old clocks take, where nobody needs it any more
    Reap(reap::ReapArgs),
    /// Run one node
    Serve(serve::Args),
    /// Make a node's store and print its line of the cluster file
    Format(serve::FormatArgs),
    /// Judge a history file
    Check(check::Args),
}

fn main() -> ExitCode {
    // A panic is a bug of ours, whichever thread it is in; its message is already on standard error.
    let ended = std::panic::catch_unwind(|| match parse() {
        Ok(cli) => run(cli),
        Err(exit) => exit,
    });
    ended.unwrap_or(Exit::Crashed).into()
}

fn parse() -> Result<Cli, Exit> {
    let version = if cartwheel_protocol::rules::HAS_MUTANTS {
        concat!(env!("CARGO_PKG_VERSION"), " MUTANT BUILD")
    } else {
        env!("CARGO_PKG_VERSION")
    };
    let matches = Cli::command().version(version).try_get_matches();
    matches.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|error| {
        let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        // Nothing can be done where even the error cannot be printed.
        let _ = error.print();
        if asked { Exit::Done } else { Exit::BadArguments }
    })
}

fn run(cli: Cli) -> Exit {
    let ended = match cli.command {
        Command::Campaign(args) => campaign::run(&args),
        Command::Model(args) => model::run(&args),
        Command::Replay(args) => model::replay(args),
        Command::Bench(args) => bench::run(&args),
        Command::Dev(args) => dev::run(&args),
        Command::Put(args) => register::put(&args),
        Command::Get(args) => register::get(&args),
        Command::Delete(args) => register::delete(&args),
        Command::Cart(args) => cart::run(&args),
        Command::Status(args) => inspect::status(&args),
        Command::Ring(args) => inspect::ring(&args),
        Command::Member(args) => member::member(&args),
        Command::Bucket(args) => member::bucket(&args),
        Command::Record(args) => record::run(&args),
        Command::Quiet(args) => quiet::run(&args),
        Command::Reap(args) => reap::run(&args),
        Command::Serve(args) => serve::run(args),
        Command::Format(args) => serve::format(&args),
        Command::Check(args) => check::run(&args),
    };
    ended.unwrap_or_else(|error| {
        output::error(&error);
        error.exit
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_all_commands_fit_together() {
        Cli::command().debug_assert();
    }
}
