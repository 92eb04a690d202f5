//! A daemon with an engine that computes for long: what a call costs, how it stops, how it is tested.
//! `docs/own-engine.md` explains it.

use std::process::ExitCode;

use ringfenced::message::Message as _;
use ringfenced::{
    Call, Cost, Daemon, Engine, EngineSchema, Error, ErrorCode, MethodSchema, message,
};

/// Where the numbers end: to look at one takes milliseconds at most, and so does the way to the next
/// look at the deadline.
const LARGEST: u64 = 1_000_000_000_000;

message! {
    /// Where to look for primes.
    struct Range {
        /// The first number, 2 or more.
        first: u64,
        /// The number after the last.
        end: u64,
    }
}
message! {
    /// What was found.
    struct Primes<'a> {
        /// How many.
        count: u64,
        /// The last ones, at most 100, in ascending order.
        last: &'a [u64],
    }
}

const SEARCH: u16 = 0;

struct Finder;

impl Engine for Finder {
    fn schema(&self) -> EngineSchema {
        let search = MethodSchema::new::<Range, Primes>(SEARCH, "search", "Finds primes.")
            .idempotent()
            .timeout_ms(None);
        EngineSchema::new("primes", "Finds primes by division.", vec![search])
    }

    fn cost(&self, _op: u16, request: &[u8]) -> Cost {
        // What cannot be read is an error, which is cheap.
        let Ok(Range { first, end }) = Range::decode(request) else { return Cost::LIGHT };
        let divisions = end.saturating_sub(first).saturating_mul(end.isqrt());
        Cost::micros(u32::try_from(divisions / 1000).unwrap_or(u32::MAX))
    }

    fn call(&self, _op: u16, call: &mut Call<'_>) -> Result<(), Error> {
        let Range { first, end } = call.request()?;
        if first < 2 || end < first || end > LARGEST {
            return Err(Error::new(
                ErrorCode::InvalidArgument,
                format!("first = {first}, end = {end}: use 2 <= first <= end <= {LARGEST}"),
            ));
        }
        let mut found = Vec::new();
        let mut count = 0;
        for number in first..end {
            call.check()?;
            call.progress(number - first);
            if is_prime(number) {
                count += 1;
                found.push(number);
                if found.len() > 200 {
                    found.drain(..100);
                }
            }
        }
        let last = &found[found.len().saturating_sub(100)..];
        call.reply(&Primes { count, last });
        Ok(())
    }
}

fn is_prime(number: u64) -> bool {
    (2..).take_while(|by| by * by <= number).all(|by| !number.is_multiple_of(by))
}

fn main() -> ExitCode {
    Daemon::builder().builtin_engines().engine(Finder).main()
}

#[cfg(test)]
mod tests {
    use ringfenced::Unbounded;

    use super::*;

    fn search(first: u64, end: u64) -> Result<(u64, Vec<u64>), Error> {
        let (mut request, mut reply) = (Vec::new(), Vec::new());
        Range { first, end }.encode(&mut request);
        Finder.call(SEARCH, &mut Call::new(&request, &mut reply, &Unbounded))?;
        let Primes { count, last } = Primes::decode(&reply).unwrap();
        Ok((count, last.to_vec()))
    }

    #[test]
    fn it_finds_primes() {
        assert_eq!(search(2, 12).unwrap(), (5, vec![2, 3, 5, 7, 11]));
        assert_eq!(search(2, 10_000).unwrap().0, 1229);
    }

    #[test]
    fn it_names_a_wrong_range() {
        let error = search(9, 3).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument);
        assert!(error.message.contains("end = 3"));
    }
}
