//! A tour in Rust against a running daemon: the part of `make demo` that is not Python.

use std::time::Instant;

use ringfence::vectors::{Collection, Metric};

const POINTS: u64 = 2000;

fn main() -> Result<(), ringfence::Error> {
    let client = ringfence::Client::connect()?;
    assert_eq!(client.echo(b"hello")?, b"hello");

    // Points on a spiral: the neighbours of a point are the ones before and after it.
    let ids: Vec<u64> = (0..POINTS).collect();
    let rows: Vec<f32> = ids.iter().flat_map(|n| spiral(*n as f32)).collect();
    let points = client.vectors().create("spiral", &Collection::new(2).metric(Metric::L2))?;
    points.add(&ids, &rows)?;
    let hits = points.search(&spiral(1000.0), 3)?;
    println!("nearest to point 1000 of a spiral: {:?}", hits.ids);
    assert_eq!(hits.ids[0], 1000);

    let payload = [7; 24];
    let mut times = (0..20_000)
        .map(|_| {
            let start = Instant::now();
            client.echo(&payload).map(|_| start.elapsed())
        })
        .collect::<Result<Vec<_>, _>>()?;
    times.sort_unstable();
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("client.echo of 24 bytes: p50 {p50:?}, p99 {p99:?}, two readings of a clock included");
    Ok(())
}

fn spiral(n: f32) -> [f32; 2] {
    let angle = n / 50.0;
    [n * angle.cos(), n * angle.sin()]
}
