//! `cartwheel check`: a history file in, a verdict out.

use std::path::PathBuf;

use cartwheel_checker::{Judge, Judgement};

use crate::{
    exit::{Exit, Failure},
    output,
};

/// Arguments of `cartwheel check`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cartwheel check store/latest/history.jsonl
  cartwheel check history.edn --checker set-full --json

Exit codes: 0 valid, 1 invalid, 2 unknown, 254 bad arguments.")]
pub(crate) struct Args {
    /// The history: JSON lines or EDN
    file: PathBuf,
    /// Which checker judges it: cart, writable, set, set-full or set-full-linearizable
    #[arg(long, default_value = "cart", value_parser = parse_judge)]
    checker: Judge,
    /// Print the checker's whole result as JSON
    #[arg(long)]
    json: bool,
}

fn parse_judge(name: &str) -> Result<Judge, String> {
    name.parse()
}

/// Prints the result.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let judgement = args.checker.check_file(&args.file).map_err(Failure::crashed)?;
    if args.json {
        output::json(&judgement.results)?;
    } else {
        table(&judgement);
    }
    Ok(Exit::of_code(judgement.verdict.exit_code()))
}

/// One line a key; long lists are cut to their beginning.
fn table(judgement: &Judgement) {
    const WIDTH: usize = 100;
    output::line(format!("verdict: {}", judgement.verdict));
    for (key, value) in judgement.results.as_object().into_iter().flatten() {
        let value = value.to_string();
        if value.chars().count() <= WIDTH {
            output::line(format!("{key:>24}  {value}"));
        } else {
            let beginning: String = value.chars().take(WIDTH).collect();
            output::line(format!("{key:>24}  {beginning}… (--json shows all)"));
        }
    }
    if let Some(duplicates) = &judgement.duplicates {
        output::line(format!("{:>24}  {}", "shown twice", serde_json::json!(duplicates)));
    }
}
