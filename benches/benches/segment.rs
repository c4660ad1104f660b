//! Segments: what it costs to make, find and attach to one.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench fails by panicking; criterion's macros have no docs")]

use criterion::{Criterion, criterion_group, criterion_main};
use ipc_core::Segment;
use ipc_ring::spsc::Producer;

fn segments(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("segment");
    let name = format!("bench-{}", std::process::id());
    group.bench_function("create and unlink a named one of 1 MiB", |bencher| {
        bencher.iter(|| assert!(Segment::named(&name).create().unwrap().unlink().unwrap()));
    });
    group.bench_function("open and leave a named one", |bencher| {
        let segment = Segment::named(&name).create().unwrap();
        bencher.iter(|| assert_eq!(Segment::named(&name).open().unwrap().id(), segment.id()));
        segment.unlink().unwrap();
    });
    group.bench_function("create a memfd one of 1 MiB, a ring in it, and push", |bencher| {
        bencher.iter(|| {
            let segment = Segment::memfd("bench").create().unwrap();
            Producer::<u64>::create(&segment, "ring", 1024).unwrap().push(1).unwrap();
        });
    });
    group.finish();
}

criterion_group!(benches, segments);
criterion_main!(benches);
