//! The daemon's side of the board: private counting, publishing by the sweep.
//!
//! Pollers count in a [`Counters`] of their own, plain memory that nobody else touches, and hand
//! it over every 100 ms. [`Board`] adds it to private sums and writes the rows that changed. So
//! the hot path never writes shared memory for the sake of a statistic, and no number is ever
//! read back from the segment.
//!
//! Invariants: one `Board` is the only writer of its segment; every row shown is a private one.
//! Not here: the segment, who may map it, and which calls are worth a time stamp.

mod errors;
#[cfg(test)]
mod tests;

use ringfence_protocol::board::{
    BoardError, Geometry, Header, Histogram, MethodRow, SessionRow, Text, Totals, Words,
    write_header, write_row,
};
use ringfence_protocol::measures::Growth;

use crate::logging::escape_name;
use errors::ErrorLog;

/// What one poller has counted since its last sweep.
#[derive(Debug)]
pub struct Counters {
    methods: Vec<MethodCounts>,
    /// Calls of methods that do not exist.
    unknown: MethodCounts,
    requests: u64,
    faults: u64,
    bytes_in: u64,
    bytes_out: u64,
    clients: Growth,
}

#[derive(Debug, Clone, Default)]
struct MethodCounts {
    calls: u64,
    errors: u64,
    service: Histogram,
    client_calls: u64,
    client_ns: u64,
}

impl Counters {
    /// Zeros for as many methods as the board has.
    pub fn new(methods: usize) -> Self {
        Self {
            methods: vec![MethodCounts::default(); methods],
            unknown: MethodCounts::default(),
            requests: 0,
            faults: 0,
            bytes_in: 0,
            bytes_out: 0,
            clients: Growth::default(),
        }
    }

    /// So many requests were claimed.
    #[inline]
    pub fn requests(&mut self, count: u64) {
        self.requests += count;
    }

    /// An answer was published; `bytes` are those of its request and its own. `method` is the index
    /// in the list that the board was made with; any other one (a method that does not exist) counts
    /// in the totals only.
    #[inline]
    pub fn answer(&mut self, method: usize, is_error: bool, bytes: (u64, u64)) {
        let counts = self.methods.get_mut(method).unwrap_or(&mut self.unknown);
        counts.calls += 1;
        counts.errors += u64::from(is_error);
        self.bytes_in += bytes.0;
        self.bytes_out += bytes.1;
    }

    /// The service time of a call that was chosen to be measured.
    #[inline]
    pub fn sample(&mut self, method: usize, service_ns: u64) {
        if let Some(counts) = self.methods.get_mut(method) {
            counts.service.record(service_ns);
        }
    }

    /// What a client has measured itself; `index_of` finds the method of a number, if there is one.
    pub fn measured(&mut self, growth: &Growth, index_of: impl Fn(u32) -> Option<usize>) {
        if growth.calls == 0 && growth.call_ns == 0 {
            return;
        }
        let sum = &mut self.clients;
        sum.calls += growth.calls;
        sum.call_ns = sum.call_ns.saturating_add(growth.call_ns);
        sum.waits += growth.waits;
        sum.wait_ns = sum.wait_ns.saturating_add(growth.wait_ns);
        for (method, calls, call_ns) in growth.methods.iter().filter(|own| own.1 + own.2 > 0) {
            let counts = index_of(*method).and_then(|index| self.methods.get_mut(index));
            if let Some(counts) = counts {
                counts.client_calls += calls;
                counts.client_ns = counts.client_ns.saturating_add(*call_ns);
            }
        }
    }

    /// A protocol rule was broken.
    #[inline]
    pub fn fault(&mut self) {
        self.faults += 1;
    }
}

/// What is true at this moment and known to the caller only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Open lanes.
    pub lanes_open: u64,
    /// Jobs waiting for a worker.
    pub queue_depth: u64,
    /// Workers that run one.
    pub workers_busy: u64,
    /// Bytes of reply memory that clients hold.
    pub leased_bytes: u64,
    /// Bytes of all segments.
    pub segment_bytes: u64,
}

/// Who opened a session.
#[derive(Debug, Clone, Copy)]
pub struct Opened<'a> {
    /// Number of the session, never 0.
    pub id: u64,
    /// User, from the kernel.
    pub uid: u32,
    /// Process, from the kernel.
    pub pid: u32,
    /// What the client calls itself, as it came; escaped here.
    pub name: &'a str,
    /// Nanoseconds since 1970.
    pub now_unix_ns: u64,
}

/// What changes in a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Open lanes.
    pub lanes: u64,
    /// Requests claimed since it opened.
    pub calls: u64,
    /// Broken protocol rules since it opened.
    pub faults: u64,
    /// Reply blocks and bulk segments that it holds.
    pub leases: u64,
}

/// The row of one open session, or the knowledge that none was free. Give it back to
/// [`Board::session_closed`].
#[derive(Debug)]
#[must_use]
pub struct SessionSlot(Option<usize>);

/// The writer of a board.
#[derive(Debug)]
pub struct Board<W> {
    words: W,
    geometry: Geometry,
    totals: Totals,
    methods: Vec<MethodRow>,
    sessions: Vec<SessionRow>,
    free: Vec<usize>,
    errors: ErrorLog,
}

impl<W: Words> Board<W> {
    /// The geometry for so many methods and sessions; its `size_bytes` is what the segment needs.
    ///
    /// # Errors
    /// More rows than a board can have.
    pub fn geometry(methods: usize, sessions_max: u32) -> Result<Geometry, BoardError> {
        let methods = u32::try_from(methods).unwrap_or(u32::MAX);
        Geometry::new(methods, sessions_max, Geometry::ERRORS)
    }

    /// Makes a board of zeroed memory: all methods, no sessions, no errors. `methods` are
    /// (`engine << 16 | operation`, `engine.method`) in the order of the indices that
    /// [`Counters`] use.
    ///
    /// # Errors
    /// The memory is too small for the geometry.
    ///
    /// # Panics
    /// More methods than the geometry has rows: the caller made both.
    pub fn create(
        words: W,
        geometry: Geometry,
        header: &Header,
        methods: &[(u32, &str)],
    ) -> Result<Self, BoardError> {
        assert!(methods.len() <= geometry.methods(), "{} methods, {geometry:?}", methods.len());
        let methods: Vec<_> =
            methods.iter().map(|(method, name)| MethodRow::new(*method, name)).collect();
        write_header(&words, &geometry, header)?;
        for (index, row) in methods.iter().enumerate() {
            write_row(&words, geometry.method_at(index), row);
        }
        Ok(Self {
            words,
            geometry,
            totals: Totals::default(),
            methods,
            sessions: vec![SessionRow::default(); geometry.sessions()],
            // Popped from the end: the first rows are used first.
            free: (0..geometry.sessions()).rev().collect(),
            errors: ErrorLog::new(geometry.errors()),
        })
    }

    /// Adds what a poller has counted, sets it back to zero and shows the methods it called.
    pub fn publish(&mut self, counters: &mut Counters) {
        let rows = self.methods.iter_mut().zip(&mut counters.methods);
        for (index, (row, counts)) in rows.enumerate() {
            if counts.calls == 0 && counts.service.samples == 0 && counts.client_ns == 0 {
                continue;
            }
            row.calls += counts.calls;
            row.errors += counts.errors;
            row.service.add(&counts.service);
            row.client_calls += counts.client_calls;
            row.client_ns = row.client_ns.saturating_add(counts.client_ns);
            self.totals.completions += counts.calls;
            self.totals.errors += counts.errors;
            write_row(&self.words, self.geometry.method_at(index), row);
            *counts = MethodCounts::default();
        }
        self.totals.completions += counters.unknown.calls;
        self.totals.errors += counters.unknown.errors;
        self.totals.requests += counters.requests;
        self.totals.faults += counters.faults;
        self.totals.bytes_in += counters.bytes_in;
        self.totals.bytes_out += counters.bytes_out;
        let clients = std::mem::take(&mut counters.clients);
        self.totals.client_calls += clients.calls;
        self.totals.client_ns = self.totals.client_ns.saturating_add(clients.call_ns);
        self.totals.interpreter_waits += clients.waits;
        self.totals.interpreter_ns = self.totals.interpreter_ns.saturating_add(clients.wait_ns);
        counters.unknown = MethodCounts::default();
        (counters.requests, counters.faults) = (0, 0);
        (counters.bytes_in, counters.bytes_out) = (0, 0);
    }

    /// Ends a sweep: shows the totals. `now_ns` is CLOCK_MONOTONIC.
    pub fn beat(&mut self, gauges: &Gauges, now_ns: u64) {
        self.totals.beat_ns = now_ns;
        self.totals.lanes_open = gauges.lanes_open;
        self.totals.queue_depth = gauges.queue_depth;
        self.totals.workers_busy = gauges.workers_busy;
        self.totals.leased_bytes = gauges.leased_bytes;
        self.totals.segment_bytes = gauges.segment_bytes;
        write_row(&self.words, self.geometry.totals_at(), &self.totals);
    }

    /// The totals as of now; what readers see is of the last [`Board::beat`].
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The methods as of now, in the order of their indices.
    pub fn methods(&self) -> &[MethodRow] {
        &self.methods
    }

    /// Shows the overhead of a method, see [`MethodRow::overhead`].
    pub fn show_overhead(&mut self, index: usize, overhead: u64) {
        let Some(row) = self.methods.get_mut(index).filter(|row| row.overhead != overhead) else {
            return;
        };
        row.overhead = overhead;
        write_row(&self.words, self.geometry.method_at(index), row);
    }

    /// A handshake was refused.
    pub fn session_refused(&mut self) {
        self.totals.sessions_refused += 1;
    }

    /// A session opened: it gets a row if one is free.
    pub fn session_opened(&mut self, opened: &Opened<'_>) -> SessionSlot {
        self.totals.sessions_open += 1;
        self.totals.sessions_total += 1;
        let Some(index) = self.free.pop() else {
            self.totals.sessions_without_row += 1;
            return SessionSlot(None);
        };
        self.sessions[index] = SessionRow {
            id: opened.id,
            uid: opened.uid,
            pid: opened.pid,
            name: Text::new(&escape_name(opened.name)),
            opened_unix_ns: opened.now_unix_ns,
            ..SessionRow::default()
        };
        self.show_session(index);
        SessionSlot(Some(index))
    }

    /// Shows the numbers of a session; writes only if they changed.
    pub fn session_counts(&mut self, slot: &SessionSlot, counts: &SessionCounts) {
        let Some(index) = slot.0 else { return };
        let row = &mut self.sessions[index];
        let SessionCounts { lanes, calls, faults, leases } = *counts;
        let next = SessionRow { lanes, calls, faults, leases, ..*row };
        if next != *row {
            *row = next;
            self.show_session(index);
        }
    }

    /// A session is gone: its row is free.
    pub fn session_closed(&mut self, slot: SessionSlot) {
        self.totals.sessions_open -= 1;
        let Some(index) = slot.0 else {
            self.totals.sessions_without_row -= 1;
            return;
        };
        self.sessions[index] = SessionRow::default();
        self.show_session(index);
        self.free.push(index);
    }

    /// Notes an error in the log of distinct errors. The same code and text are one row with a
    /// count; when the log is full the one that was seen last the longest ago makes room. `text`
    /// may hold what clients say: it is escaped and cut here. `now_unix_ns` is since 1970.
    pub fn record_error(&mut self, code: u32, text: &str, now_unix_ns: u64) {
        let Some(noted) = self.errors.note(code, text, now_unix_ns) else { return };
        self.totals.errors_evicted += u64::from(noted.evicted);
        write_row(&self.words, self.geometry.error_at(noted.index), &noted.row);
    }

    fn show_session(&self, index: usize) {
        write_row(&self.words, self.geometry.session_at(index), &self.sessions[index]);
    }
}
