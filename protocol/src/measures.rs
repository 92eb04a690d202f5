//! What a client measures of itself: the words at `up::MEASURES`, from both sides (SPEC section M).
//!
//! ```text
//!   calls      u64   measured calls                                  256
//!   call_ns    u64   their time, as their callers saw it             264
//!   waits      u64   of them, those that waited for an interpreter   272
//!   wait_ns    u64   how long they waited for its lock               280
//!   methods          six times {method u32, calls u32, call_ns u64}  288
//! ```
//!
//! Invariants: one call in 64 is measured, so none of this is on the way of the others; the client
//! alone stores the words, and they only grow. The daemon believes nothing: whatever a client writes,
//! the sums that [`Accepted::read`] gives never shrink, never count more calls than the daemon took,
//! and never more time than that number of calls can have taken. It does *not* decide which calls are
//! measured.

use crate::disarm::is_armed;
use crate::layout::{LINE, up};
use crate::memory::Memory;

/// One call in so many is measured, on average. The distance varies, so that a client that makes its
/// calls in turn measures each of them.
pub const SAMPLE_EVERY: u32 = 64;

/// Methods that a lane has sums of their own for.
pub const METHODS: usize = 6;

/// A call below this opens no sum of its own for its method: its method is too short for the overhead
/// to be of interest, and there are few sums.
pub const OWN_SUM_NS: u64 = 20_000;

const WORDS: usize = LINE / 8;
const FIRST: usize = 4;

const _: () = assert!(FIRST + 2 * METHODS == WORDS);

/// The client's sums of one lane, in private memory.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    words: [u64; WORDS],
}

impl Measures {
    /// Adds a call of `method` that took `call_ns`; the last `wait_ns` of it it waited for the lock of
    /// an interpreter, if it did.
    pub fn add(&mut self, method: u32, call_ns: u64, wait_ns: Option<u64>) {
        let [calls, total_ns, waits, waited_ns, ..] = &mut self.words;
        *calls += 1;
        *total_ns = total_ns.saturating_add(call_ns);
        if let Some(ns) = wait_ns {
            *waits += 1;
            *waited_ns = waited_ns.saturating_add(ns.min(call_ns));
        }
        let (pairs, _) = self.words[FIRST..].as_chunks_mut::<2>();
        let own = pairs.iter().position(|pair| pair[0] as u32 == method && pair[0] >> 32 > 0);
        let free = || pairs.iter().position(|pair| pair[0] >> 32 == 0);
        let at = own.or_else(|| if call_ns < OWN_SUM_NS { None } else { free() });
        let pair = at.and_then(|at| pairs.get_mut(at));
        // Full after 2^32 measured calls, which are 2^38: it then stays as it is.
        if let Some(pair) = pair.filter(|pair| pair[0] >> 32 < u64::from(u32::MAX)) {
            pair[0] = ((pair[0] >> 32) + 1) << 32 | u64::from(method);
            pair[1] = pair[1].saturating_add(call_ns);
        }
    }

    /// Publishes them.
    pub fn store(&self, up: &impl Memory) {
        up.store_words(up::MEASURES, self.words);
    }
}

/// What has been added to a lane's sums since they were last read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Measured calls.
    pub calls: u64,
    /// Their time.
    pub call_ns: u64,
    /// Of them, those that waited for an interpreter.
    pub waits: u64,
    /// How long.
    pub wait_ns: u64,
    /// Method, calls and time, for some methods. A client can name any number here.
    pub methods: [(u32, u64, u64); METHODS],
}

/// What the daemon has accepted of a lane's sums.
#[derive(Clone, Debug, Default)]
pub struct Accepted {
    calls: u64,
    call_ns: u64,
    waits: u64,
    wait_ns: u64,
    methods: [(u64, u64); METHODS],
}

impl Accepted {
    /// Reads the words, each once, and accepts what can be true: of a lane that is `age_ns` old and
    /// out of which `served` requests were taken.
    pub fn read(&mut self, up: &impl Memory, served: u64, age_ns: u64) -> Growth {
        let [calls, call_ns, waits, wait_ns, methods @ ..]: [u64; WORDS] =
            up.load_words(up::MEASURES);
        let mut growth = Growth {
            calls: accept(&mut self.calls, calls, served),
            call_ns: accept(&mut self.call_ns, call_ns, self.calls.saturating_mul(age_ns)),
            waits: accept(&mut self.waits, waits, self.calls),
            wait_ns: accept(&mut self.wait_ns, wait_ns, self.call_ns),
            ..Growth::default()
        };
        let mut left = self.calls.saturating_sub(self.methods.iter().map(|own| own.0).sum());
        let (pairs, _) = methods.as_chunks::<2>();
        for ((own, seen), pair) in self.methods.iter_mut().zip(&mut growth.methods).zip(pairs) {
            let most = own.0.saturating_add(left);
            let calls = accept(&mut own.0, pair[0] >> 32, most);
            let call_ns = accept(&mut own.1, pair[1], own.0.saturating_mul(age_ns));
            left -= calls;
            *seen = (pair[0] as u32, calls, call_ns);
        }
        growth
    }
}

/// Moves `accepted` up to `found`, at most to `most`, never down: by how much.
fn accept(accepted: &mut u64, found: u64, most: u64) -> u64 {
    let most = if is_armed("measures") { most } else { u64::MAX };
    let growth = found.min(most).saturating_sub(*accepted);
    *accepted += growth;
    growth
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::Heap;

    const AGE: u64 = 1_000_000_000;

    fn memory() -> Heap {
        Heap::new(up::MEASURES + LINE)
    }

    #[test]
    fn what_a_client_adds_the_daemon_reads_once() {
        let (up, mut client, mut daemon) = (memory(), Measures::default(), Accepted::default());
        client.add(7, 30_000, None);
        client.add(7, 10_000, Some(4_000));
        client.add(8, 10_000, None);
        client.store(&up);
        let growth = daemon.read(&up, 200, AGE);
        assert_eq!((growth.calls, growth.call_ns), (3, 50_000));
        assert_eq!((growth.waits, growth.wait_ns), (1, 4_000));
        assert_eq!(growth.methods[0], (7, 2, 40_000));
        assert_eq!(growth.methods[1], (0, 0, 0), "too short for a sum of its own");
        let again = daemon.read(&up, 200, AGE);
        assert_eq!((again.calls, again.call_ns, again.methods[0]), (0, 0, (7, 0, 0)));
    }

    #[test]
    fn a_method_that_finds_no_sum_of_its_own_counts_in_the_total() {
        let (up, mut client, mut daemon) = (memory(), Measures::default(), Accepted::default());
        for method in 0..10 {
            client.add(method, OWN_SUM_NS, None);
        }
        client.store(&up);
        let growth = daemon.read(&up, 10, AGE);
        assert_eq!((growth.calls, growth.call_ns), (10, 10 * OWN_SUM_NS));
        assert_eq!(growth.methods.map(|own| own.0), [0, 1, 2, 3, 4, 5]);
        assert_eq!(growth.methods.map(|own| own.1), [1; METHODS]);
    }

    #[test]
    fn silly_values_are_cut_to_what_can_be() {
        let (up, mut daemon) = (memory(), Accepted::default());
        up.store_words(up::MEASURES, [u64::MAX; WORDS]);
        let growth = daemon.read(&up, 5, AGE);
        assert_eq!((growth.calls, growth.call_ns), (5, 5 * AGE));
        assert_eq!((growth.waits, growth.wait_ns), (5, 5 * AGE));
        assert_eq!(growth.methods[0], (u32::MAX, 5, 5 * AGE));
        assert_eq!(growth.methods[1], (u32::MAX, 0, 0), "five calls are five calls");
        up.store_words(up::MEASURES, [0; WORDS]);
        assert_eq!(daemon.read(&up, 5, AGE), Growth::default(), "a jump back adds nothing");
        up.store_words(up::MEASURES, [5; WORDS]);
        assert_eq!(daemon.read(&up, 5, AGE).calls, 0, "nor does the way up again");
    }

    #[test]
    fn a_full_count_stays() {
        let mut client = Measures::default();
        client.words[FIRST] = u64::from(u32::MAX) << 32 | 3;
        client.words[FIRST + 1] = 9;
        client.add(3, u64::MAX, Some(u64::MAX));
        assert_eq!(client.words[FIRST..FIRST + 2], [u64::from(u32::MAX) << 32 | 3, 9]);
        client.add(3, u64::MAX, None);
        assert_eq!(client.words[1], u64::MAX, "saturated");
    }

    proptest! {
        #[test]
        fn whatever_is_written_the_sums_stay_within_bounds(
            writes in proptest::collection::vec((any::<[u64; WORDS]>(), 0..100u64), 1..20),
        ) {
            let (up, mut daemon) = (memory(), Accepted::default());
            let (mut served, mut sums) = (0, Growth::default());
            let mut own = (0, 0);
            for (words, more) in writes {
                served += more;
                up.store_words(up::MEASURES, words);
                let growth = daemon.read(&up, served, AGE);
                sums.calls += growth.calls;
                sums.call_ns += growth.call_ns;
                sums.waits += growth.waits;
                sums.wait_ns += growth.wait_ns;
                own.0 += growth.methods.iter().map(|own| own.1).sum::<u64>();
                own.1 += growth.methods.iter().map(|own| own.2).sum::<u64>();
                prop_assert!(sums.calls <= served && sums.waits <= sums.calls);
                prop_assert!(sums.call_ns <= sums.calls * AGE && sums.wait_ns <= sums.call_ns);
                prop_assert!(own.0 <= sums.calls && own.1 <= own.0 * AGE);
            }
        }
    }
}
