//! One million cart operations (two million lines, 10,000 carts, ten add_ids a read) from file to
//! verdict: under 2 s and 1 GiB.
//!
//! `cargo bench -p cartwheel-checker` prints the peak of resident memory after the first check,
//! taken before criterion and the generator of the other formats could have raised it.

#![expect(clippy::print_stdout, reason = "a benchmark talks to its terminal")]

use std::fs::File;
use std::hint::black_box;
use std::io::BufWriter;
use std::path::Path;
use std::time::{Duration, Instant};

use cartwheel_checker::{Verdict, cart, read_history, write_edn};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

mod generate;

use generate::Shape;

const MILLION: Shape =
    Shape { operations: 1_000_000, carts: 10_000, items: 11, processes: 50, seed: 1 };
const SMALL: Shape = Shape { operations: 20_000, carts: 200, items: 11, processes: 50, seed: 1 };

/// The peak of this process's resident memory in MiB, where the system tells.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}

/// The CPU seconds of all threads so far, where the system tells. They are what to compare on a
/// machine that others use too.
fn cpu_seconds() -> Option<f64> {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<f64>().ok()?, fields.next()?.parse::<f64>().ok()?);
    Some((user + system) / TICKS_A_SECOND)
}

fn generate_to(path: &Path, shape: Shape) -> u64 {
    let file = BufWriter::new(File::create(path).expect("a file"));
    let written = generate::write(shape, file).expect("a history");
    let bytes = path.metadata().expect("the file").len();
    println!(
        "{} events, {} MiB, {:.1} add_ids a read",
        written.events,
        bytes >> 20,
        written.shown as f64 / written.reads as f64
    );
    bytes
}

fn million(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("history.jsonl");
    let bytes = generate_to(&path, MILLION);
    let before = (peak_mib(), cpu_seconds());
    let start = Instant::now();
    let results = cart::check_file(&path);
    let took = start.elapsed();
    assert_eq!(results.valid, Verdict::Valid, "{:?}", results.error);
    println!("file to verdict {took:.2?}");
    println!("peak memory {:?} MiB, {:?} MiB before", peak_mib(), before.0);
    println!("CPU seconds {:?}, {:?} before", cpu_seconds(), before.1);

    let mut group = c.benchmark_group("cart");
    group.sample_size(10).measurement_time(Duration::from_secs(20));
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("one million operations, file to verdict", |b| {
        b.iter(|| black_box(cart::check_file(&path)));
    });
    group.finish();
}

fn formats(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let lines = dir.path().join("history.jsonl");
    generate_to(&lines, SMALL);
    let events = read_history(&lines).expect("events");
    let edn = dir.path().join("history.edn");
    let mut file = BufWriter::new(File::create(&edn).expect("a file"));
    write_edn(&events, &mut file).expect("written");
    drop(file);

    let mut group = c.benchmark_group("read_history");
    group.throughput(Throughput::Elements(events.len() as u64));
    for path in [&lines, &edn] {
        let format = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        group.bench_with_input(BenchmarkId::from_parameter(format), path, |b, path| {
            b.iter(|| black_box(read_history(path)));
        });
    }
    group.finish();
}

criterion_group!(benches, million, formats);
criterion_main!(benches);
