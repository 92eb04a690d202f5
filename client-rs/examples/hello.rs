//! The ten lines of Rust in the README.

use ringfence::vectors::{Collection, Metric};

fn main() -> Result<(), ringfence::Error> {
    let client = ringfence::Client::connect()?; // never starts a daemon by itself
    assert_eq!(client.echo(b"hello")?, b"hello");
    let docs = client.vectors().create("docs", &Collection::new(3).metric(Metric::Cosine))?;
    docs.add(&[1, 2], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0])?;
    let hits = docs.search(&[1.0, 0.1, 0.0], 1)?;
    println!("{:?} {:?}", hits.ids, hits.distances);
    Ok(())
}
