//! `--measure-echo`: what an echo costs within this process, for `ringfence bench` to show beside one
//! through shared memory.
//!
//! The engine is called as a poller calls it: through the registry, its panics caught, into a reply
//! buffer that is used again. It does *not* serve, and touches nothing outside this process.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_core::system::{Facts, System};
use ringfence_core::{Call, Registry, RegistryError, Unbounded};
use ringfence_protocol::api::system::ECHO;
use ringfence_protocol::error::Error;

use crate::cli::ExitCode;
use crate::sight::LateSight;

/// As large as what fits the first line of a slot.
const PAYLOAD: [u8; 24] = [7; 24];

/// No run needs more.
const MOST_SAMPLES: usize = 1 << 16;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
enum MeasureError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("system.echo answered {0}")]
    Echo(String),
}

impl From<Error> for MeasureError {
    fn from(error: Error) -> Self {
        Self::Echo(error.to_string())
    }
}

/// Measures, and prints the samples or what was wrong.
pub(crate) fn run(length: Duration) -> ExitCode {
    // Nobody is left to tell when a stream is closed.
    match echo(length) {
        Ok(samples) => {
            let _ = writeln!(std::io::stdout(), "{samples}");
            ExitCode::Ok
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "ringfenced: {error}");
            ExitCode::Failure
        }
    }
}

/// Echoes for so long: a JSON array of nanoseconds, each with one reading of the clock in it. Every answer
/// is compared, between the samples.
fn echo(length: Duration) -> Result<String, MeasureError> {
    let mut registry = Registry::new();
    registry
        .add(Box::new(System::new(Arc::new(Facts::default()), Box::new(LateSight::default()))))?;
    let method =
        registry.method(u32::from(ECHO)).ok_or_else(|| registry.unknown(u32::from(ECHO)))?;
    let mut reply = Vec::new();
    let mut samples = String::from("[");
    let start = Instant::now();
    for _ in 0..MOST_SAMPLES {
        let before = Instant::now();
        reply.clear();
        let payload = std::hint::black_box(&PAYLOAD);
        let answer = method.call(&mut Call::new(payload, &mut reply, &Unbounded));
        let passed = before.elapsed();
        answer.map_err(|error| *error)?;
        if reply != PAYLOAD {
            return Err(MeasureError::Echo(format!("{reply:?} to {PAYLOAD:?}")));
        }
        let _a_string_takes_it = write!(samples, "{},", passed.as_nanos());
        if start.elapsed() >= length {
            break;
        }
    }
    samples.pop();
    samples.push(']');
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_what_it_echoes_within_its_time() {
        let start = Instant::now();
        let text = echo(Duration::from_millis(3)).unwrap();
        assert!(
            start.elapsed() >= Duration::from_millis(3)
                || text.matches(',').count() + 1 == MOST_SAMPLES
        );
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap();
        let samples: Vec<u64> = inner.split(',').map(|ns| ns.parse().unwrap()).collect();
        assert!(!samples.is_empty() && samples.len() <= MOST_SAMPLES);
        // Neither an echo nor a clock is free.
        assert!(samples.iter().sum::<u64>() > 0);
    }
}
