//! Golden scripts: what a small cluster does, as transcripts of one line an effect.
//!
//! A script in `tests/scripts` is commands, `---`, and what they printed; its name is a sentence and its header
//! says the goal. `UPDATE_GOLDENFILES=1 cargo test -p cartwheel-protocol --test scripts` writes the transcripts
//! anew; read the difference before it is committed.
//!
//! In every cluster all keys lie in one partition whose preference list is n1, n2, n3 … With n=3, n1 to n3 own
//! it, and n5 and n4 (in this order) are its fallbacks. Nothing moves by itself: messages wait in the network until they are
//! delivered, writes are lost in a crash until they are synced, and timers fire when told to.
//!
//! | command | what it does |
//! | --- | --- |
//! | `cluster nodes=5 n=3 [zones="a b"] [spread=zone] [bound=K] [pending=N] [replied=N] [page=N] [fallbacks=off] [clocks=N] [trees=DEPTH]` | starts all nodes; owners keep trees of that depth, and `page` is theirs too |
//! | `get`, `local`, `accept-loss`, `put`, `delete`, `add`, `cancel`, `change` | a client's request, see [`Ask`] |
//! | `deliver`, `drop`, `duplicate` `[from=n1] [to=n2] [kind=Put] [first=N]` | what is in flight now |
//! | `sync [n1]` | makes writes durable and hands the tickets back |
//! | `settle` | delivers and syncs until nothing is left to do |
//! | `fire n1 fallback\|deadline\|handoff\|mend\|reap [r1]` | fires a timer that is set |
//! | `crash n1 [keep=N]`, `restart n1 [blind]`, `view n1` | a restart has the view that the node had; `blind`: none yet; `view`: the newest |
//! | `layout join=n6 leave=n3 remove=n3 replace=n3/n6 forget=n3 [zone=a] [lost=n3]` | the members decide on a joint view, or amend it |
//! | `finish` | the members decide on the next layout alone |
//! | `raise n1` | n1 raises the newest view, for the reap round that it wants if it wants one, and goes by that |
//! | `reap n1 [bound=9]` | n1 reaps what may go, with cancelled add_ids up to that |
//! | `wipe n1` | the disk and the node are lost |
//! | `suspect n1 n3`, `trust n1 n3` | n1's opinion of n3 |
//! | `space n1 short\|free` | n1's disk is, or is no longer, short of space |
//! | `damage n1 k`, `lose n1 k` | spoils a record; loses it unnoticed |
//! | `trees [n1]` | the sums of the trees that are whole |
//! | `show k [n1]`, `count k [n1]`, `network`, `timers n1` | what is stored, in flight, set |
//! | `fill n1 k siblings=1..9`, `fill n1 carts/c additions=1..9` | many puts or additions, each settled |

mod support;

use std::{
    any::Any,
    collections::BTreeMap,
    fmt::{Display, Write as _},
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use cartwheel_protocol::{
    Input, Timer,
    bucket::Spread,
    context::Context,
    id::{AddId, NodeId, Zone},
    layout::{Command as LayoutCommand, Member},
    record::Stored,
    request::Response,
};
use goldenscript::{ArgumentConsumer, Command};

use support::{
    ask::{self, Ask, Failed},
    cluster::{Cluster, Done, Flight, Setup},
};

/// Longer lines of a transcript are cut.
const MAX_LINE: usize = 400;

/// Runs one script.
#[derive(Default)]
struct Runner {
    cluster: Option<Cluster>,
    contexts: BTreeMap<String, Context>,
    /// Requests whose context is to be kept under a name.
    keeping: BTreeMap<u64, String>,
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &goldenscript::Context) -> Result<String, Failed> {
        let mut args = command.consume_args();
        let output = match command.name.as_str() {
            "cluster" => self.form(&mut args)?,
            "deliver" => self.deliver(&mut args)?,
            "drop" => {
                lines(self.take(&mut args)?.iter().map(|flight| format!("lost {}", shown(flight))))
            }
            "duplicate" => {
                let flights = self.take(&mut args)?;
                self.cluster()?.net.extend(flights.iter().chain(&flights).cloned());
                String::new()
            }
            "sync" => self.sync(&mut args)?,
            "settle" => told(&self.cluster()?.settle()),
            "fire" => self.fire(&mut args)?,
            "crash" | "restart" | "view" => self.process(&command.name, &mut args)?,
            "layout" => self.layout(&mut args)?,
            "finish" => {
                let cluster = self.cluster()?;
                cluster.finish()?;
                format!("{}\n", cluster.view.id())
            }
            "raise" => {
                let node = ask::node(&mut args)?;
                told(&self.cluster()?.raise(node))
            }
            "reap" => {
                let node = ask::node(&mut args)?;
                let bound = ask::number(&mut args, "bound")?.map(AddId);
                told(&self.cluster()?.step(node, Input::Reap { bound }))
            }
            "wipe" => {
                let node = ask::node(&mut args)?;
                self.cluster()?.wipe(node);
                String::new()
            }
            "suspect" | "trust" => {
                let (of, node) = (ask::node(&mut args)?, ask::node(&mut args)?);
                let suspected = command.name == "suspect";
                told(&self.cluster()?.step(of, Input::Suspect { node, suspected }))
            }
            "space" => {
                let of = ask::node(&mut args)?;
                let short = args.next_pos().is_some_and(|word| word == "short");
                told(&self.cluster()?.step(of, Input::Space { short }))
            }
            "damage" | "lose" | "show" | "count" => self.record(&command.name, &mut args)?,
            "trees" => {
                let one = args.next_pos().map(ask::node_named).transpose()?;
                let cluster = self.cluster()?;
                let nodes = one.map_or_else(|| cluster.ids(), |node| vec![node]);
                lines(nodes.into_iter().flat_map(|node| cluster.trees(node)))
            }
            "network" => lines(self.cluster()?.net.iter().map(shown)),
            "timers" => {
                let node = ask::node(&mut args)?;
                lines(self.cluster()?.nodes[&node].timers.iter())
            }
            "fill" => self.fill(&mut args)?,
            request => self.ask(request, &mut args)?,
        };
        args.reject_next()?;
        self.keep_contexts()?;
        Ok(output)
    }
}

impl Runner {
    fn cluster(&mut self) -> Result<&mut Cluster, Failed> {
        self.cluster.as_mut().ok_or_else(|| "a script begins with the command cluster".into())
    }

    fn form(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<String, Failed> {
        let mut setup = Setup::default();
        setup.nodes = ask::number(args, "nodes")?.unwrap_or(setup.nodes);
        setup.n = ask::number(args, "n")?.unwrap_or(setup.n);
        if let Some(page) = ask::number(args, "page")? {
            (setup.config.handoff_page, setup.config.tree_page) = (page, page);
        }
        if let Some(depth) = ask::number(args, "trees")? {
            (setup.config.tree_depth, setup.config.anti_entropy_every_ms) = (depth, 5);
        }
        setup.config.anti_entropy_batch =
            ask::number(args, "batch")?.unwrap_or(setup.config.anti_entropy_batch);
        setup.cancelled_bound = ask::number(args, "bound")?.unwrap_or(setup.cancelled_bound);
        setup.config.max_pending =
            ask::number(args, "pending")?.unwrap_or(setup.config.max_pending);
        setup.config.max_replied =
            ask::number(args, "replied")?.unwrap_or(setup.config.max_replied);
        if args.take_key("fallbacks").is_some_and(|fallbacks| fallbacks == "off") {
            setup.config.fallbacks = false;
        }
        setup.config.clock_entries = ask::number(args, "clocks")?;
        if let Some(zones) = args.take_key("zones") {
            setup.zones = zones.split(' ').map(str::to_owned).collect();
        }
        if args.take_key("spread").is_some_and(|spread| spread == "zone") {
            setup.spread = Spread::Zone;
        }
        let cluster = Cluster::new(&setup);
        let partition = cluster.view.partitions().iter().next().ok_or("no partition")?;
        let names = |nodes: &[NodeId]| {
            let named = nodes.iter().map(|id| {
                let member = cluster.view.layout().member(*id);
                let zone = member.map_or_else(String::new, |member| member.zone.to_string());
                format!(" {id}({zone})")
            });
            named.collect::<String>()
        };
        let owners = names(cluster.view.owners(partition, setup.n));
        let fallbacks: Vec<NodeId> = cluster.view.fallbacks(partition, setup.n).collect();
        let fallbacks = names(&fallbacks);
        self.cluster = Some(cluster);
        Ok(format!("owners{owners}; fallbacks{fallbacks}\n"))
    }

    fn ask(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<String, Failed> {
        let ask = Ask::parse(name, args, |name| self.contexts.get(name).cloned())?;
        let cluster = self.cluster()?;
        if !cluster.is_up(ask.node) {
            return Err(format!("{} is down", ask.node).into());
        }
        let (number, done) = match ask.number {
            Some(number) => (number, cluster.request_as(number, ask.node, ask.request)),
            None => cluster.request(ask.node, ask.request),
        };
        if let Some(keep_as) = ask.keep_as {
            self.keeping.insert(number, keep_as);
        }
        Ok(told(&done))
    }

    /// Takes what is selected off the network.
    fn take(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<Vec<Flight>, Failed> {
        let from = args.take_key("from").map(ask::node_named).transpose()?;
        let to = args.take_key("to").map(ask::node_named).transpose()?;
        let kind = args.take_key("kind").map(|kind| format!("{kind} "));
        let first = ask::number(args, "first")?.unwrap_or(usize::MAX);
        let net = &mut self.cluster()?.net;
        let mut taken = Vec::new();
        for flight in std::mem::take(net) {
            let selected = from.is_none_or(|from| from == flight.from)
                && to.is_none_or(|to| to == flight.to)
                && kind.as_ref().is_none_or(|kind| flight.message.to_string().starts_with(kind))
                && taken.len() < first;
            if selected { taken.push(flight) } else { net.push(flight) }
        }
        if taken.is_empty() { Err("nothing like that is in flight".into()) } else { Ok(taken) }
    }

    /// What a delivery caused; where it caused nothing, what was delivered.
    fn deliver(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<String, Failed> {
        let mut output = String::new();
        for flight in self.take(args)? {
            let heard = format!("{} ← {} {}", flight.to, flight.from, flight.message);
            let done = self.cluster()?.deliver(flight);
            output += &if done.is_empty() { lines([heard]) } else { told(&done) };
        }
        Ok(output)
    }

    fn sync(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<String, Failed> {
        let one = args.next_pos().map(ask::node_named).transpose()?;
        let cluster = self.cluster()?;
        let nodes = one.map_or_else(|| cluster.ids(), |node| vec![node]);
        Ok(nodes.into_iter().map(|node| told(&cluster.sync(node))).collect())
    }

    fn fire(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<String, Failed> {
        let node = ask::node(args)?;
        let kind = args.next_pos().ok_or("a timer is missing")?;
        let wanted = args.next_pos().map_or(kind.to_owned(), |of| format!("{kind} {of}@"));
        let cluster = self.cluster()?;
        let set = cluster.nodes[&node].timers.iter();
        let matching: Vec<Timer> =
            set.filter(|timer| timer.to_string().starts_with(&wanted)).copied().collect();
        match matching[..] {
            [timer] => Ok(told(&cluster.fire(node, timer))),
            _ => Err(format!("{} timers are called {wanted}", matching.len()).into()),
        }
    }

    fn process(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<String, Failed> {
        let node = ask::node(args)?;
        let keep = ask::number(args, "keep")?.unwrap_or(0);
        let blind = args.next_pos().is_some_and(|word| word == "blind");
        let cluster = self.cluster()?;
        if name == "crash" {
            let lost = cluster.nodes[&node].disk.unsynced().saturating_sub(keep);
            cluster.crash(node, keep);
            return Ok(format!("{node} loses {lost} unsynced steps\n"));
        }
        if name == "restart" {
            cluster.start(node);
        }
        Ok(match name {
            "restart" if blind => String::new(),
            "restart" => told(&cluster.adopt_own(node)),
            _ => told(&cluster.adopt(node)),
        })
    }

    /// `layout replace=n3/n6` and so on: prints the joint view and who owns the partition in each of its layouts.
    fn layout(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<String, Failed> {
        let zone = args.take_key("zone").unwrap_or("a").to_owned();
        let member = |name: &str| -> Result<Member, Failed> {
            let id = ask::node_named(name)?;
            let address = format!("{name}:7400").into();
            Ok(Member {
                id,
                name: name.into(),
                address,
                zone: Zone(zone.as_str().into()),
                weight: 1,
            })
        };
        let mut commands = Vec::new();
        for kind in ["replace", "join", "leave", "remove", "forget"] {
            let Some(name) = args.take_key(kind) else { continue };
            commands.push(match (kind, name.split_once('/')) {
                ("replace", Some((old, new))) => {
                    LayoutCommand::Replace { old: ask::node_named(old)?, new: member(new)? }
                }
                ("join", None) => LayoutCommand::Join(member(name)?),
                ("leave", None) => LayoutCommand::Leave(ask::node_named(name)?),
                ("remove", None) => LayoutCommand::Remove(ask::node_named(name)?),
                ("forget", None) => LayoutCommand::Forget(ask::node_named(name)?),
                _ => return Err(format!("{kind}={name} is no command").into()),
            });
        }
        let lost: Vec<NodeId> =
            args.take_key("lost").map(ask::node_named).transpose()?.into_iter().collect();
        let cluster = self.cluster()?;
        cluster.change(&commands, &lost)?;
        let view = &cluster.view;
        let partition = view.partitions().iter().next().ok_or("no partition")?;
        let n = view.layout().sizes().first().copied().ok_or("no bucket")?;
        let names = |nodes: &[NodeId]| nodes.iter().map(|id| format!(" {id}")).collect::<String>();
        let next = view.next_owners(partition, n).unwrap_or_default();
        let (older, newer) = (names(view.owners(partition, n)), names(next));
        Ok(format!("{}: owners{older} and then{newer}\n", view.id()))
    }

    fn record(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<String, Failed> {
        if name == "damage" || name == "lose" {
            let node = ask::node(args)?;
            let key = ask::key(args, "default")?;
            let cluster = self.cluster()?;
            let key = cluster.place(key);
            let disk = &mut cluster.nodes.get_mut(&node).ok_or("no such node")?.disk;
            if name == "damage" {
                disk.damage(&key)
            } else {
                disk.lose(&key)
            }
            return Ok(String::new());
        }
        let key = ask::key(args, "default")?;
        let one = args.next_pos().map(ask::node_named).transpose()?;
        let cluster = self.cluster()?;
        let key = cluster.place(key);
        let nodes = one.map_or_else(|| cluster.ids(), |node| vec![node]);
        let told = |node: &NodeId| match (name, cluster.stored(*node, &key)) {
            ("count", Stored::Found(record)) => {
                format!("{node} {} live entries", record.object.entries().len())
            }
            (_, stored) => format!("{node} {stored}"),
        };
        Ok(lines(nodes.iter().map(told)))
    }

    fn fill(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<String, Failed> {
        let node = ask::node(args)?;
        let key = ask::key(args, "default")?;
        let (siblings, additions) = (args.take_key("siblings"), args.take_key("additions"));
        let ids = siblings.or(additions).ok_or("siblings= or additions= is missing")?;
        let cluster = self.cluster()?;
        for id in ask::range(ids)? {
            let simple = if siblings.is_some() { ask::simple_put } else { ask::simple_add };
            let (number, _) = cluster.request(node, simple(key.clone(), id));
            cluster.settle();
            let reply = cluster.replies.get(&number).ok_or("no reply")?;
            if !matches!(reply, Response::Written { .. }) {
                return Ok(format!("id {id}: {reply}\n"));
            }
        }
        Ok("all written\n".to_owned())
    }

    fn keep_contexts(&mut self) -> Result<(), Failed> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        for (number, response) in &cluster.replies {
            if let Response::Found { context, .. } = response
                && let Some(name) = self.keeping.remove(number)
            {
                self.contexts.insert(name, context.clone());
            }
        }
        Ok(())
    }
}

fn told(done: &[Done]) -> String {
    lines(done.iter().map(|(node, effect)| format!("{node} {effect}")))
}

fn shown(flight: &Flight) -> String {
    format!("{} → {} {}", flight.from, flight.to, flight.message)
}

/// One line each, cut where it is too long to read.
fn lines(all: impl IntoIterator<Item = impl Display>) -> String {
    let mut output = String::new();
    for line in all {
        let line = line.to_string();
        match line.char_indices().nth(MAX_LINE) {
            Some((end, _)) => {
                let cut = line.len() - end;
                writeln!(output, "{}… {cut} more bytes", &line[..end]).expect("a string grows");
            }
            None => writeln!(output, "{line}").expect("a string grows"),
        }
    }
    output
}

/// Runs a script and compares; `Err` says what is wrong.
fn check(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    if !text.starts_with("# ") {
        return Err("it has no header that says its goal".to_owned());
    }
    let run = || goldenscript::run(&mut Runner::default(), path);
    match catch_unwind(run) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => Err(message(&*panic)),
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let files = std::fs::read_dir(folder).expect("the folder of scripts can be read");
    let mut paths: Vec<PathBuf> =
        files.map(|file| file.expect("a script's name can be read").path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_script_prints_its_transcript() {
    let failures = scripts()
        .into_iter()
        .filter_map(|path| check(&path).err().map(|why| format!("{}: {why}", path.display())));
    let failures: Vec<String> = failures.collect();
    assert!(failures.is_empty(), "{} scripts fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_changed_transcript_is_noticed() {
    let script = "cluster nodes=3\n---\nowners n1(a) n2(a) n3(a); fallbacks\n";
    let run = |script| goldenscript::generate(&mut Runner::default(), script).expect("it runs");
    assert_eq!(run(script), script);
    let changed = script.replace("n2", "n9");
    assert_ne!(run(&changed), changed);
}
