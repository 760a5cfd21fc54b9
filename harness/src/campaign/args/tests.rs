//! Which flags are good, what is said of bad ones, and that the command to repeat says the same.

use clap::{CommandFactory, FromArgMatches, Parser};

use super::CampaignArgs;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    args: CampaignArgs,
}

fn parse(words: &str) -> Result<CampaignArgs, String> {
    let words = std::iter::once("campaign").chain(words.split_whitespace());
    let matches =
        Command::command().try_get_matches_from(words).map_err(|error| error.to_string())?;
    Ok(Command::from_arg_matches(&matches).map_err(|error| error.to_string())?.args)
}

/// Flags that change where results lie and what is kept, not the verdict.
const OF_THE_FOLDER: [&str; 3] = ["store", "name", "keep-data"];

/// What a run does, for comparing.
fn run(args: &CampaignArgs) -> String {
    let folder = parse("").expect("defaults").store;
    let keep_data = false;
    format!("{:?}", CampaignArgs { store: folder, name: None, keep_data, ..args.clone() })
}

#[test]
fn the_command_that_repeats_a_run_says_the_same() {
    let drawn = "--nodes 3 --zones 3 --time-limit 7 --workload paper-cart --nemesis kill,zone \
        --fault-every-ms 700 --concurrency 3 --rate 50 --timeout-ms 900 --stubborn 2 --carts 2 --cart-size 9 \
        --add-fraction 0.7 --remove-fraction 0.1 --strict-fraction 0.2 --r 2 --w 1 --quiet-within 120 \
        --mutant expire-hints --fallback-after-ms 30 --handoff-every-ms 40 --fallbacks off \
        --node-option shards=1 --node-option gossip-every-ms=300";
    let scheduled = "--nodes 1 --nemesis none --schedule s.json --node-option mutant=expire-hints";
    let folder = "--store elsewhere --name mine --keep-data";
    for words in ["", drawn, scheduled] {
        let args = parse(&format!("{words} {folder} --seed 9")).expect("good arguments");
        let command = args.command(9);
        let (cargo, flags) = command.split_once("-- campaign").expect("a campaign");
        let again = parse(flags).expect("the command is one");
        assert_eq!(again.command(9), command);
        assert_eq!(again.node_options(), args.node_options());
        if words != scheduled {
            assert_eq!(run(&again), run(&args));
        }
        assert_eq!(again.nemesis, args.nemesis);
        assert_eq!(cargo.contains("--features mutants"), words.contains("mutant"), "{cargo}");
    }
    // So that a flag of tomorrow is not forgotten.
    let command = parse(drawn).expect("good arguments").command(9);
    let all = Command::command();
    let longs = all.get_arguments().filter_map(|argument| argument.get_long());
    for long in longs.filter(|long| !OF_THE_FOLDER.contains(long) && *long != "schedule") {
        assert!(command.contains(&format!(" --{long} ")), "--{long} is not in {command}");
    }
}

#[test]
fn a_word_with_spaces_is_quoted_for_the_shell() {
    assert_eq!(super::quoted("store/latest/schedule.json"), "store/latest/schedule.json");
    assert_eq!(super::quoted("my store/it's.json"), r"'my store/it'\''s.json'");
}

#[test]
fn a_seed_draws_the_same_plan_again() {
    let args = parse("").expect("defaults");
    let plan = |seed| args.plan(seed).expect("a plan").schedule;
    assert_eq!(plan(3), plan(3));
    assert_ne!(plan(3).faults, plan(4).faults);
    assert_eq!(parse("--nemesis none").expect("none").plan(3).expect("a plan").schedule.faults, []);
}

#[test]
fn bad_values_are_named_with_what_is_allowed() {
    for (words, named) in [
        ("--nodes 0", "1..=32"),
        ("--zones 0", "1..=9"),
        ("--workload carts", "allowed are cart, paper-cart and lww-cart"),
        ("--nemesis kill,flood", "flood is no fault; allowed are kill, pause, partition"),
        ("--strict-fraction 1.5", "allowed is a number from 0 to 1"),
        ("--name latest", "but not latest"),
        ("--name ../x", "allowed are 1 to 64"),
        ("--node-option shards", "allowed is NAME=VALUE"),
    ] {
        let said = parse(words).expect_err(words);
        assert!(said.contains(named), "{words}: {said}");
    }
    let said = |words| {
        let args = parse(words).expect("each flag alone is good");
        args.plan(1).expect_err(words).to_string()
    };
    assert!(said("--nemesis wipe --w 1").contains("--w 2 or more"));
    assert!(said("--nemesis zone").contains("--zones 2 or more"));
    let alone = said("--nodes 1 --w 1");
    assert!(alone.contains("--nemesis is kill,pause,partition; allowed is kill"), "{alone}");
    let quorums = ["--nodes 1 --nemesis none", "--nodes 2 --w 3", "--zones 2 --w 3"];
    for (words, allowed) in quorums.into_iter().zip(["1 to 1", "1 to 2", "1 to 2"]) {
        let said = said(words);
        assert!(said.contains("--w is ") && said.contains(allowed), "{words}: {said}");
    }
    assert!(said("--schedule /nowhere.json").contains("/nowhere.json"));
    assert!(said("--node-option engine=memory").contains("cannot be started again"));
    let paused = parse("--node-option engine=memory --nemesis pause").expect("good arguments");
    assert!(paused.plan(1).is_ok(), "nobody is killed");
}
