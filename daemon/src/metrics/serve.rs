//! The loop that serves scrapers: a handful at a time, none of them for long.
//!
//! Invariants: no read, write or accept blocks; a connection lives two seconds at most; when all places
//! are taken the oldest gives way, so that whoever hoards connections locks nobody out; the board is
//! read ten times a second at most, however often it is asked for.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::limits::SWEEP_MS;
use ringfence_protocol::sys::bell::Bell;

use super::http::{self, HEAD_BYTES};
use super::listen::{Listener, Stream};

/// Connections at a time: a scraper, its standby, and a person with curl.
const PLACES: usize = 8;
/// From accept to the last byte of the answer.
const LIFETIME: Duration = Duration::from_secs(2);
/// The board does not change between two sweeps.
const FRESH_FOR: Duration = Duration::from_millis(SWEEP_MS);
/// After an accept that failed for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

type Text = Box<dyn FnMut() -> Result<String, String> + Send>;

pub(super) struct Server {
    listener: Listener,
    stop: Arc<Bell>,
    text: Text,
    last: Option<(Instant, String)>,
    /// The oldest first.
    guests: VecDeque<Guest>,
    paused_until: Option<Instant>,
}

/// One connection: first it is read, then written.
struct Guest {
    stream: Stream,
    until: Instant,
    head: Vec<u8>,
    answer: Option<Vec<u8>>,
    written: usize,
}

/// What a connection needs next.
#[derive(PartialEq, Eq)]
enum Next {
    Wait,
    End,
}

impl Server {
    pub(super) fn new(listener: Listener, stop: Arc<Bell>, text: Text) -> Self {
        let guests = VecDeque::with_capacity(PLACES);
        Self { listener, stop, text, last: None, guests, paused_until: None }
    }

    pub(super) fn run(mut self) {
        while !self.wait() {
            let now = Instant::now();
            self.accept(now);
            let (text, last) = (&mut self.text, &mut self.last);
            let mut metrics = || fresh(text, last);
            self.guests.retain_mut(|guest| {
                let next = guest.step(&mut metrics);
                next == Next::Wait && (guest.until > now || !is_armed("metrics.lifetime"))
            });
        }
    }

    /// Sleeps until there is something to do. Is it the end?
    fn wait(&mut self) -> bool {
        let now = Instant::now();
        self.paused_until = self.paused_until.filter(|until| *until > now);
        let soonest = self.guests.iter().map(|guest| guest.until).chain(self.paused_until).min();
        let left = soonest.map(|until| until.saturating_duration_since(now).as_millis() + 1);
        let timeout = left.map_or(PollTimeout::NONE, |ms| PollTimeout::from(ms.min(10_000) as u16));
        let listening =
            if self.paused_until.is_none() { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut fds = vec![
            PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.listener.as_fd(), listening),
        ];
        fds.extend(self.guests.iter().map(|guest| {
            let reading = guest.answer.is_none();
            let flags = if reading { PollFlags::POLLIN } else { PollFlags::POLLOUT };
            PollFd::new(guest.stream.as_fd(), flags)
        }));
        match poll(&mut fds, timeout) {
            // EINTR: whoever is ready is found all the same.
            Err(_) => false,
            Ok(_) => fds[0].any().unwrap_or(false),
        }
    }

    fn accept(&mut self, now: Instant) {
        if self.paused_until.is_some() {
            return;
        }
        for _ in 0..PLACES {
            match self.listener.accept() {
                Ok(stream) => {
                    if self.guests.len() == PLACES && is_armed("metrics.places") {
                        self.guests.pop_front();
                    }
                    self.guests.push_back(Guest::new(stream, now + LIFETIME));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(%error, "a scraper could not be accepted");
                    self.paused_until = Some(now + PAUSE);
                    return;
                }
            }
        }
    }
}

/// The text, at most a sweep old.
fn fresh(text: &mut Text, last: &mut Option<(Instant, String)>) -> Result<String, String> {
    if let Some((since, text)) = last
        && since.elapsed() < FRESH_FOR
    {
        return Ok(text.clone());
    }
    let now = text()?;
    *last = Some((Instant::now(), now.clone()));
    Ok(now)
}

impl Guest {
    fn new(stream: Stream, until: Instant) -> Self {
        Self { stream, until, head: Vec::new(), answer: None, written: 0 }
    }

    /// Reads and writes as far as it goes without waiting.
    fn step(&mut self, metrics: &mut impl FnMut() -> Result<String, String>) -> Next {
        while self.answer.is_none() {
            let mut buffer = [0; HEAD_BYTES];
            let room = HEAD_BYTES - self.head.len();
            match self.stream.read(&mut buffer[..room]) {
                Ok(0) => return Next::End,
                Ok(count) => self.head.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Wait,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Next::End,
            }
            self.answer = http::answer(&self.head, &mut *metrics);
        }
        let answer = self.answer.as_deref().unwrap_or_default();
        while self.written < answer.len() {
            match self.stream.write(&answer[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Wait,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Next::End,
            }
        }
        self.stream.finish();
        Next::End
    }
}
