//! The rows of the board as bytes. Data, and the arithmetic that belongs to it; no shared memory.
//!
//! All rows are `repr(C)` without padding (zerocopy proves it), whole words long, and private
//! copies: a reference to one never points into the segment. Reserved words are zero.

use std::fmt;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// Buckets of a histogram: one for each power of two of nanoseconds.
pub const HISTOGRAM_BUCKETS: usize = 64;

/// What can stand in a guarded row.
pub trait Row: FromBytes + IntoBytes + Immutable + Copy {}

impl Row for Totals {}
impl Row for MethodRow {}
impl Row for SessionRow {}
impl Row for ErrorRow {}

/// UTF-8 in a fixed number of bytes, zero-filled.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(transparent)]
pub struct Text<const N: usize>([u8; N]);

impl<const N: usize> Text<N> {
    /// As much of `text` as fits, cut between characters.
    pub fn new(text: &str) -> Self {
        let mut bytes = [0; N];
        let cut = text.floor_char_boundary(N);
        bytes[..cut].copy_from_slice(&text.as_bytes()[..cut]);
        Self(bytes)
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.first().is_none_or(|byte| *byte == 0)
    }

    fn bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

/// Invalid UTF-8 shows as U+FFFD.
impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&String::from_utf8_lossy(self.bytes()))
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(self.bytes()), f)
    }
}

/// What a board says of itself; constant once the magic stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Header {
    pub(super) magic: u64,
    /// Layout version.
    pub version: u64,
    /// Bytes of the segment.
    pub size_bytes: u64,
    /// Rows of methods.
    pub methods: u64,
    /// Rows of sessions.
    pub sessions: u64,
    /// Rows of distinct errors.
    pub errors: u64,
    /// Epoch of the daemon: another one is another daemon.
    pub epoch: u64,
    /// Its process, as it sees itself.
    pub pid: u64,
    /// Its start in nanoseconds since 1970.
    pub started_unix_ns: u64,
    /// Its instance.
    pub instance: Text<32>,
    pub(super) reserved: [u64; 3],
}

impl Header {
    /// What the daemon says; the rest follows from the geometry when it is written.
    pub fn new(epoch: u64, pid: u32, started_unix_ns: u64, instance: &str) -> Self {
        let instance = Text::new(instance);
        Self { epoch, pid: pid.into(), started_unix_ns, instance, ..Self::default() }
    }
}

/// Numbers of the whole daemon. Those that are not "now" only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Totals {
    /// CLOCK_MONOTONIC nanoseconds of the last sweep: old means stalled or gone.
    pub beat_ns: u64,
    /// Sessions now.
    pub sessions_open: u64,
    /// Sessions ever opened.
    pub sessions_total: u64,
    /// Handshakes refused.
    pub sessions_refused: u64,
    /// Lanes now.
    pub lanes_open: u64,
    /// Requests claimed.
    pub requests: u64,
    /// Answers published.
    pub completions: u64,
    /// Answers that carry an error.
    pub errors: u64,
    /// Broken protocol rules.
    pub faults: u64,
    /// Payload bytes of requests.
    pub bytes_in: u64,
    /// Payload bytes of answers.
    pub bytes_out: u64,
    /// Jobs waiting for a worker now.
    pub queue_depth: u64,
    /// Bytes of reply memory that clients hold now.
    pub leased_bytes: u64,
    /// Bytes of all segments now.
    pub segment_bytes: u64,
    /// Distinct errors that were dropped from the log for newer ones.
    pub errors_evicted: u64,
    /// Sessions now that have no row because the table is full.
    pub sessions_without_row: u64,
    /// Workers that run a job now.
    pub workers_busy: u64,
    /// Calls that clients measured themselves, one in 64 (SPEC M). Untrusted, as the next three are.
    pub client_calls: u64,
    /// Their time, as their callers saw it.
    pub client_ns: u64,
    /// Of them, those that had to wait for the lock of an interpreter at the end.
    pub interpreter_waits: u64,
    /// How long they waited for it.
    pub interpreter_ns: u64,
    reserved: [u64; 10],
}

/// One method of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct MethodRow {
    /// `engine << 16 | operation`, as in a slot.
    pub method: u32,
    pub(super) used: u32,
    /// `engine.method`.
    pub name: Text<48>,
    /// Calls answered.
    pub calls: u64,
    /// Of them with an error.
    pub errors: u64,
    /// Sampled service times: from claim to published answer.
    pub service: Histogram,
    /// Calls that clients measured themselves, one in 64 (SPEC M). Untrusted.
    pub client_calls: u64,
    /// Their time, as their callers saw it. Untrusted.
    pub client_ns: u64,
    /// 0: not known. Else, plus 1, how many millionths of a call's time the engine did not work, in
    /// the last window.
    pub overhead: u64,
    reserved: [u64; 1],
}

impl MethodRow {
    /// A method that has not been called.
    pub fn new(method: u32, name: &str) -> Self {
        Self { method, used: 1, name: Text::new(name), ..Self::new_zeroed() }
    }

    /// The engine's id.
    pub fn engine(&self) -> u16 {
        (self.method >> 16) as u16
    }

    /// The part of a call's time in which the engine did not work, 0 to 1, in the last window; nothing
    /// if it is not known.
    pub fn overhead_ratio(&self) -> Option<f64> {
        self.overhead.checked_sub(1).map(|millionths| millionths as f64 / 1e6)
    }

    /// The operation's id within its engine.
    pub fn operation(&self) -> u16 {
        (self.method & 0xffff) as u16
    }
}

/// One open session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct SessionRow {
    /// Number of the session, never 0.
    pub id: u64,
    /// Its user, from the kernel.
    pub uid: u32,
    /// Its process, from the kernel; may have another number where the reader lives.
    pub pid: u32,
    /// What the client calls itself, escaped.
    pub name: Text<64>,
    /// Lanes now.
    pub lanes: u64,
    /// Requests claimed.
    pub calls: u64,
    /// Broken protocol rules.
    pub faults: u64,
    /// Reply blocks and bulk segments that it holds now.
    pub leases: u64,
    /// When it opened, in nanoseconds since 1970.
    pub opened_unix_ns: u64,
}

/// One distinct error: the same code and text are one row, however often it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct ErrorRow {
    /// Code of the error table.
    pub code: u64,
    /// How often it happened.
    pub count: u64,
    /// First time, in nanoseconds since 1970.
    pub first_seen_ns: u64,
    /// Last time, in nanoseconds since 1970.
    pub last_seen_ns: u64,
    /// What was said, escaped.
    pub text: Text<192>,
    reserved: [u64; 3],
}

impl ErrorRow {
    /// An error that happened once, at `now_ns`.
    pub fn new(code: u32, text: Text<192>, now_ns: u64) -> Self {
        let seen = now_ns;
        Self {
            code: code.into(),
            count: 1,
            first_seen_ns: seen,
            last_seen_ns: seen,
            text,
            reserved: [0; 3],
        }
    }
}

/// Times in buckets of powers of two: bucket `i` holds `2^i ..= 2^(i+1) - 1` nanoseconds, bucket
/// 0 also 0. Quantiles are therefore right within a factor of two, never too low; the mean is
/// exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Histogram {
    /// Sum of all samples.
    pub sum_ns: u64,
    /// Number of samples.
    pub samples: u64,
    /// Samples by bucket.
    pub buckets: [u64; HISTOGRAM_BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { sum_ns: 0, samples: 0, buckets: [0; HISTOGRAM_BUCKETS] }
    }
}

impl Histogram {
    /// The bucket of a time.
    pub fn bucket_of(ns: u64) -> usize {
        (ns | 1).ilog2() as usize
    }

    /// Greatest time of a bucket.
    pub fn upper_bound_ns(bucket: usize) -> u64 {
        u64::MAX >> (HISTOGRAM_BUCKETS - 1).saturating_sub(bucket)
    }

    /// Counts one sample.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.sum_ns = self.sum_ns.wrapping_add(ns);
        self.samples = self.samples.wrapping_add(1);
        let count = &mut self.buckets[Self::bucket_of(ns)];
        *count = count.wrapping_add(1);
    }

    /// Adds all samples of another one.
    pub fn add(&mut self, other: &Self) {
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
        self.samples = self.samples.wrapping_add(other.samples);
        for (have, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *have = have.wrapping_add(*more);
        }
    }

    /// Upper bound of the bucket in which the quantile lies (0.5 for p50, 0.99 for p99); nothing
    /// without samples. At most twice the true value.
    pub fn quantile_ns(&self, quantile: f64) -> Option<u64> {
        let total = self.buckets.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        // A float holds counts up to 2^53 exactly; beyond, the error is far below one bucket.
        let rank = (quantile.clamp(0.0, 1.0) * total as f64).ceil().max(1.0) as u64;
        let rank = rank.min(total);
        let mut below = 0_u64;
        let reaches = |count: &u64| {
            below = below.saturating_add(*count);
            total > 0 && below >= rank
        };
        self.buckets.iter().position(reaches).map(Self::upper_bound_ns)
    }

    /// Mean of the samples; nothing without samples.
    pub fn mean_ns(&self) -> Option<u64> {
        self.sum_ns.checked_div(self.samples)
    }
}
