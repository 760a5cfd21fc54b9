//! How many worlds a second the model visits, and what one step of a world costs.

use std::hint::black_box;

use cartwheel_model::{
    explore::{Limits, exhaust},
    presets::Preset,
    world::World,
};
use cartwheel_protocol::rules::Rules;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

fn explore(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("explore");
    group.sample_size(10);
    for name in ["owners-crash", "suspect-differently"] {
        let plan = Preset::named(name).expect("a preset of that name").plan();
        let once = || exhaust(&plan, Rules::sound(), 1, Limits::default(), &mut |_, _| {}).states;
        group.throughput(Throughput::Elements(once()));
        group.bench_function(name, |bencher| bencher.iter(|| black_box(once())));
    }
    group.finish();
}

fn step(criterion: &mut Criterion) {
    let plan = Preset::named("owners-crash").expect("a preset of that name").plan();
    let start = World::new(&plan, Rules::sound());
    let actions = start.enabled();
    let mut group = criterion.benchmark_group("world");
    group.throughput(Throughput::Elements(actions.len() as u64));
    group.bench_function("copy and step", |bencher| {
        let worlds = || vec![start.clone(); actions.len()];
        let step = |mut worlds: Vec<World>| {
            for (world, action) in worlds.iter_mut().zip(&actions) {
                world.apply(*action, &mut ());
            }
            worlds
        };
        bencher.iter_batched(worlds, step, BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, explore, step);
criterion_main!(benches);
