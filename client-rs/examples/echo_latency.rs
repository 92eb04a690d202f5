//! Round trips of `echo` against the daemon at RINGFENCE_TARGET: p50, p99 and mean, for a quick look.
//! The real figures are in benches/.

use std::time::Instant;

fn main() -> Result<(), ringfence::Error> {
    let started = Instant::now();
    let client = ringfence::Client::connect()?;
    println!("connect {:?}", started.elapsed());
    let data = [7_u8; 24];
    let count = 200_000;
    let mut samples = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        let reply = client.echo(&data)?;
        samples.push(started.elapsed().as_nanos() as u64);
        assert_eq!(reply, data);
    }
    samples.sort_unstable();
    println!("p50 {} ns, p99 {} ns", samples[count / 2], samples[count * 99 / 100]);
    let started = Instant::now();
    for _ in 0..count {
        client.echo(&data)?;
    }
    println!("mean {:?}", started.elapsed() / count as u32);
    Ok(())
}
