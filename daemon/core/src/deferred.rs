//! Answers that come later: what a call that waits leaves behind, and who takes its answer.
//!
//! An engine says of a request that it may wait ([`Cost::WAITS`](crate::Cost::WAITS)), takes a
//! [`Deferred`] out of the call and returns; whichever of its threads or later calls has the answer
//! gives it there. Invariants: exactly one answer reaches the caller; a call that was ended before it
//! [began](Deferred::begin) takes no effect; a [`Deferred`] that is dropped answers "interrupted". It
//! does *not* hold a thread, and it does not keep the request: an engine copies what it needs of that.

use std::fmt;
use std::time::Duration;

use ringfence_protocol::error::{Error, ErrorCode};

use crate::engine::Stop;

/// What a call is answered with: one encoded message, or an error.
pub type Answer = Result<Vec<u8>, Error>;

/// Where the answer of a waiting call goes: a lane of the daemon, or a thread that waits in process.
pub trait Later: Send {
    /// Takes the answer, or gives it back if the call is over.
    fn answer(self: Box<Self>, answer: Answer) -> Option<Answer>;

    /// Marks that the call takes effect from now on. `false` if it is over.
    fn begin(&self) -> bool;

    /// Does nobody wait for the answer any more?
    fn stop(&self) -> Option<Stop>;

    /// How long the caller still waits; `None` is for ever.
    fn time_left(&self) -> Option<Duration>;
}

/// A call that is answered later. From [`Call::defer`](crate::Call::defer).
pub struct Deferred {
    /// Gone once it is answered.
    later: Option<Box<dyn Later>>,
}

impl Deferred {
    /// A call whose answer goes there.
    #[must_use]
    pub fn new(later: Box<dyn Later>) -> Self {
        Self { later: Some(later) }
    }

    /// Answers, from any thread. If the call is over, nobody wants the answer, and it is given back.
    pub fn answer(mut self, answer: Answer) -> Option<Answer> {
        match self.later.take() {
            Some(later) => later.answer(answer),
            None => Some(answer),
        }
    }

    /// To be called before the call takes effect: until then its caller is told, when its time is over,
    /// that it had none. `false` if it is over, and may have none. Answers that say nothing of effects
    /// (a request that found work, an error) need not begin.
    #[must_use]
    pub fn begin(&self) -> bool {
        self.later.as_ref().is_some_and(|later| later.begin())
    }

    /// Why nobody wants the answer any more: its deadline passed, its caller cancelled it or is gone.
    #[must_use]
    pub fn stop(&self) -> Option<Stop> {
        self.later.as_ref().and_then(|later| later.stop())
    }

    /// How long the caller still waits; `None` is for ever.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.later.as_ref().and_then(|later| later.time_left())
    }
}

impl fmt::Debug for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").field("stop", &self.stop()).finish_non_exhaustive()
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        if let Some(later) = self.later.take() {
            let text = "whoever was to answer the call is gone";
            let _nobody_wants_it = later.answer(Err(Error::new(ErrorCode::Interrupted, text)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{Call, Surroundings, Unbounded};

    type Answers = Arc<Mutex<Vec<Answer>>>;

    struct Kept(Answers);
    impl Later for Kept {
        fn answer(self: Box<Self>, answer: Answer) -> Option<Answer> {
            self.0.lock().unwrap().push(answer);
            None
        }
        fn begin(&self) -> bool {
            false
        }
        fn stop(&self) -> Option<Stop> {
            Some(Stop::Expired)
        }
        fn time_left(&self) -> Option<Duration> {
            Some(Duration::ZERO)
        }
    }

    struct Waiting {
        answers: Answers,
        deferred: Cell<bool>,
    }
    impl Surroundings for Waiting {
        fn stop(&self) -> Option<Stop> {
            None
        }
        fn progress(&self, _done: u64) {}
        fn session(&self) -> u64 {
            7
        }
        fn defer(&self) -> Option<Deferred> {
            let again = self.deferred.replace(true);
            (!again).then(|| Deferred::new(Box::new(Kept(Arc::clone(&self.answers)))))
        }
    }

    #[test]
    fn it_is_answered_once_from_any_thread_or_when_it_is_dropped() {
        let answers = Answers::default();
        let around = Waiting { answers: Arc::clone(&answers), deferred: Cell::new(false) };
        let mut reply = Vec::new();
        let mut call = Call::new(&[], &mut reply, &around);
        let deferred = call.defer().unwrap();
        assert!(!deferred.begin());
        assert_eq!(deferred.stop(), Some(Stop::Expired));
        assert_eq!(deferred.time_left(), Some(Duration::ZERO));
        let gave_back = std::thread::spawn(move || deferred.answer(Ok(vec![1]))).join().unwrap();
        assert_eq!(gave_back, None);
        drop(Deferred::new(Box::new(Kept(Arc::clone(&answers)))));
        let answers = answers.lock().unwrap();
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[0], Ok(vec![1]));
        assert_eq!(answers[1].as_ref().unwrap_err().code, ErrorCode::Interrupted);
    }

    #[test]
    fn a_call_is_deferred_once_and_only_where_somebody_waits() {
        let around = Waiting { answers: Answers::default(), deferred: Cell::new(false) };
        let mut reply = Vec::new();
        let mut call = Call::new(&[], &mut reply, &around);
        let _first = call.defer().unwrap();
        assert_eq!(call.defer().unwrap_err().code, ErrorCode::Internal);
        let mut call = Call::new(&[], &mut reply, &Unbounded);
        let refused = call.defer().unwrap_err();
        assert!(refused.message.contains("Cost::WAITS"), "{refused}");
    }
}
