//! What the lanes of a poller share: engines, workers, counters, and memory to work in.

use std::sync::Arc;

use ringfence_core::Registry;
use ringfence_protocol::limits::{COPY_REPLY_BYTES, INLINE_WORDS};
use ringfence_protocol::sys::clock;

use crate::board::Counters;
use crate::bus;
use crate::inbox::Inbox;
use crate::workers::Workers;

/// Of one call in so many a ledger is kept. Of light ones these are timed; all others are, too.
const SAMPLE_EVERY: u32 = 64;

/// What every lane of a poller uses in turn.
pub(crate) struct Bench {
    pub(crate) registry: Arc<Registry>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) bus: Arc<bus::Engine>,
    pub(crate) counters: Counters,
    pub(crate) inline_budget_us: u32,
    pub(crate) draining: bool,
    /// A job went to the workers since the poller last asked.
    pub(crate) handed_over: bool,
    /// The clock of deadlines, read by the poller right before each turn over its lanes (SPEC F8).
    pub(crate) now: u32,
    /// Panics of engines since the last sweep, for the board's error log; the first few.
    pub(crate) panics: Vec<String>,
    /// Calls until one of which a ledger is kept.
    pub(super) until_sample: u32,
}

/// Private memory that requests are copied to and replies are written to, in turn.
pub(crate) struct Scratch {
    pub(super) inline: [u64; INLINE_WORDS],
    pub(super) arena: Vec<u64>,
    pub(super) reply: Vec<u8>,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let reply = Vec::with_capacity(COPY_REPLY_BYTES);
        Self { inline: [0; INLINE_WORDS], arena: Vec::new(), reply }
    }
}

impl Bench {
    /// A call more, or the sample itself.
    #[inline(always)]
    pub(super) fn count_to_sample(&mut self) {
        self.until_sample = self.until_sample.checked_sub(1).unwrap_or(SAMPLE_EVERY - 1);
    }

    pub(crate) fn new(
        registry: Arc<Registry>,
        workers: Arc<Workers>,
        inbox: Arc<Inbox>,
        bus: Arc<bus::Engine>,
        inline_budget_us: u32,
    ) -> Self {
        let counters = Counters::new(registry.method_count());
        Self {
            registry,
            workers,
            inbox,
            bus,
            counters,
            inline_budget_us,
            now: clock::coarse_ticks(),
            draining: false,
            handed_over: false,
            panics: Vec::new(),
            until_sample: 0,
        }
    }
}
