//! Connecting without waiting: what [`crate::remote`] does for threads, as steps for tasks.
//!
//! Invariant: one task at a time takes a step; all others are woken at the loop's next turn, and find
//! what has become of it. It does *not* start anything that the blocking way would not.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use ringfence_protocol::sys::socket::Conn;

use crate::autostart::{PATIENCE, Starting};
use crate::control::{Greeting, socket_error};
use crate::error::Error;
use crate::reactor::Reactor;
use crate::remote::{RETRY_EVERY, Remote, or_slammed};
use crate::target::Candidate;

/// How long connect() may take where the daemon's backlog is full.
const BACKLOG: Duration = Duration::from_millis(1);

/// How far the way to a daemon has been gone.
#[derive(Debug, Default)]
pub(crate) struct Link {
    round: Option<Round>,
    tasks: Vec<Waker>,
    /// How the last round ended that was in vain.
    failed: Option<(Instant, Error)>,
    /// The pause that a turn will end.
    alarm: Option<Instant>,
    /// Where nobody was when the round that is under way looked last.
    tried: String,
}

/// One search for a daemon.
#[derive(Debug)]
struct Round {
    /// When the search is given up.
    until: Instant,
    /// Not tried yet, the next one last.
    candidates: Vec<Candidate>,
    tried: Vec<String>,
    step: Step,
    starting: Option<Starting>,
}

#[derive(Debug)]
enum Step {
    Try,
    Greeting(Greeting, Instant),
    Pause(Instant),
}

impl Link {
    /// What a call gets whose time is over before there is a daemon. One that listens and has said nothing
    /// is told as at the end of a connect's own time, which may be due at the same turn.
    pub(crate) fn unavailable(&self) -> Error {
        if let Some(Round { step: Step::Greeting(greeting, said), .. }) = &self.round {
            return greeting.unanswered(said.elapsed());
        }
        let still = "the daemon has not answered a connect yet";
        let tried = if self.tried.is_empty() { still } else { &self.tried };
        Error::Unavailable { tried: tried.to_owned() }
    }

    /// Wakes the tasks that wait for it.
    pub(crate) fn wake(&mut self) {
        self.tasks.drain(..).for_each(Waker::wake);
    }
}

impl Remote {
    /// Goes on with connecting, for a task that has wanted it since `since`.
    pub(crate) fn poll_link(
        self: &Arc<Self>,
        reactor: &Reactor,
        since: Instant,
        task: &Waker,
    ) -> Poll<Result<(), Error>> {
        // Whoever waits in it nudges the loop, whose turn watches the session.
        if self.is_alive() {
            return Poll::Ready(Ok(()));
        }
        if self.is_closed() {
            return Poll::Ready(Err(Error::Closed));
        }
        let mut link = reactor.link.lock();
        if self.is_alive() {
            return Poll::Ready(Ok(()));
        }
        if let Some((_, error)) = link.failed.as_ref().filter(|(at, _)| *at >= since) {
            return Poll::Ready(Err(error.clone()));
        }
        let mut round = link.round.take().unwrap_or_else(|| self.new_round());
        let ended = loop {
            if round.candidates.is_empty() && !round.tried.is_empty() {
                link.tried = round.tried.join("; ");
            }
            match self.step(reactor, &mut round) {
                Poll::Pending => break None,
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Ok(Some(()))) => break Some(Ok(())),
                Poll::Ready(Err(error)) => break Some(Err(error)),
            }
        };
        match ended {
            Some(result) => {
                if let Err(error) = &result {
                    link.failed = Some((Instant::now(), error.clone()));
                }
                link.wake();
                Poll::Ready(result)
            }
            None => {
                if let Step::Pause(at) = round.step
                    && link.alarm.replace(at) != Some(at)
                {
                    // The turn that it causes wakes all of us.
                    reactor.timers.set(at, Waker::noop().clone());
                }
                link.round = Some(round);
                link.tasks.push(task.clone());
                Poll::Pending
            }
        }
    }

    fn new_round(&self) -> Round {
        let until = Instant::now() + self.settings.timeout;
        let (candidates, step) = self.candidates();
        Round { until, candidates, tried: Vec::new(), step, starting: None }
    }

    /// One step: pending until something happens, nothing if another step is to follow at once.
    fn step(
        self: &Arc<Self>,
        reactor: &Reactor,
        round: &mut Round,
    ) -> Poll<Result<Option<()>, Error>> {
        match std::mem::replace(&mut round.step, Step::Try) {
            Step::Try => Poll::Ready(match round.candidates.pop() {
                Some(candidate) => self.greet(reactor, round, candidate).map(|()| None),
                None => self.all_failed(round).map(|()| None),
            }),
            Step::Pause(at) if Instant::now() < at => {
                round.step = Step::Pause(at);
                Poll::Pending
            }
            Step::Pause(_) => {
                (round.candidates, round.step) = self.candidates();
                Poll::Ready(Ok(None))
            }
            Step::Greeting(greeting, said) => self.hear(reactor, round, greeting, said),
        }
    }

    fn greet(
        &self,
        reactor: &Reactor,
        round: &mut Round,
        candidate: Candidate,
    ) -> Result<(), Error> {
        let said = Conn::connect(&candidate.path, BACKLOG).map_err(socket_error).and_then(|conn| {
            candidate.check_owner(&conn)?;
            Greeting::say(conn, candidate.clone(), &self.settings)
        });
        let greeting = match said.map_err(|error| or_slammed(error, &candidate)) {
            Err(Error::Unavailable { tried }) => {
                round.tried.push(tried);
                return Ok(());
            }
            other => other?,
        };
        reactor.watch_greeting(greeting.as_fd())?;
        let now = Instant::now();
        reactor.timers.set(now + self.settings.timeout, Waker::noop().clone());
        round.step = Step::Greeting(greeting, now);
        Ok(())
    }

    fn hear(
        self: &Arc<Self>,
        reactor: &Reactor,
        round: &mut Round,
        mut greeting: Greeting,
        said: Instant,
    ) -> Poll<Result<Option<()>, Error>> {
        let heard = match greeting.look() {
            Ok(None) if said.elapsed() < self.settings.timeout => {
                round.step = Step::Greeting(greeting, said);
                return Poll::Pending;
            }
            Ok(None) => Err(greeting.unanswered(self.settings.timeout)),
            Ok(Some((message, fds))) => {
                reactor.forget_greeting(greeting.as_fd());
                greeting.answered(message, fds)
            }
            Err(error) => Err(or_slammed(error, greeting.candidate())),
        };
        Poll::Ready(match heard {
            Ok((session, opened)) => {
                let pid = session.pid;
                let started = round.starting.as_ref().is_some_and(|starting| starting.is(pid));
                self.autostarted.store(started, Relaxed);
                self.settle_on(&session.candidate);
                let adopted = self.adopt(session, opened);
                if let Some(session) = self.alive() {
                    reactor.watch_session(&session);
                }
                adopted.map(Some)
            }
            Err(Error::Unavailable { tried }) => {
                round.tried.push(tried);
                Ok(None)
            }
            Err(error) => Err(error),
        })
    }

    /// Nobody is there: start one, or try again later, or give up.
    fn all_failed(&self, round: &mut Round) -> Result<(), Error> {
        let now = Instant::now();
        let tried = std::mem::take(&mut round.tried).join("; ");
        match (&mut round.starting, &self.autostart) {
            (Some(starting), _) => starting.check(&tried)?,
            (none, Some(autostart)) => {
                round.until = now + self.settings.timeout.max(PATIENCE);
                *none = Some(autostart.start()?);
            }
            // Nobody there at the first time is an error at once.
            (None, None) if self.current.load().is_none() => {
                return Err(Error::Unavailable { tried });
            }
            (None, None) => {}
        }
        if now >= round.until {
            return Err(Error::Unavailable { tried });
        }
        round.step = Step::Pause(now + RETRY_EVERY);
        Ok(())
    }

    /// Where to look, the first place last. A thread that is connecting holds the gate: then there is
    /// nothing to do but to wait for it.
    fn candidates(&self) -> (Vec<Candidate>, Step) {
        let Some(gate) = self.gate.try_lock() else {
            return (Vec::new(), Step::Pause(Instant::now() + RETRY_EVERY));
        };
        (gate.candidates.iter().rev().cloned().collect(), Step::Try)
    }

    fn settle_on(&self, candidate: &Candidate) {
        if let Some(mut gate) = self.gate.try_lock() {
            gate.candidates = vec![candidate.clone()];
        }
    }
}
