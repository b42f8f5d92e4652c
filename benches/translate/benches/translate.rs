//! Time of translations: `cargo bench -p parlance-translate`.

use criterion::{BenchmarkId, Criterion, Throughput};
use parlance_adapters::ALL;
use parlance_translate::{Decode, Encode};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    encode(&mut criterion);
    decode(&mut criterion);
    criterion.final_summary();
}

/// A canonical body to the vendor's request.
fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for &adapter in ALL {
        let job = Encode::new(adapter);
        group.throughput(Throughput::Bytes(job.size() as u64));
        group.bench_function(adapter.spec().vendor, |bencher| bencher.iter(|| job.run()));
    }
}

/// A vendor's reply to the caller's answer, written.
fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode+write");
    for &adapter in ALL {
        for kilobytes in [1, 16, 160] {
            let job = Decode::new(adapter, kilobytes * 1024);
            group.throughput(Throughput::Bytes(job.size() as u64));
            let id = BenchmarkId::new(adapter.spec().vendor, format!("{kilobytes}KB"));
            group.bench_function(id, |bencher| bencher.iter(|| job.run()));
        }
    }
}
