//! Waiting for room to submit a call: a free slot, or a segment for its payload. It does *not* sleep on a
//! word: what makes room is not always an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_protocol::wait::{Patience, Spin, Step};

use crate::call::Request;
use crate::error::Error;
use crate::remote::Remote;
use crate::wait::CLOCK_EVERY;

/// One wait.
pub(crate) struct Room {
    patience: Patience,
    since: Instant,
    checked: Instant,
    looks: u32,
}

impl Room {
    pub(crate) fn new(spin: Spin) -> Self {
        let now = Instant::now();
        Self { patience: Patience::new(spin), since: now, checked: now, looks: 0 }
    }

    /// When the call that waits is over.
    pub(crate) fn until(&self, request: &Request<'_>) -> Option<Instant> {
        request.timeout().and_then(|timeout| self.since.checked_add(timeout))
    }

    /// Lets some time pass.
    pub(crate) fn wait(
        &mut self,
        remote: &Arc<Remote>,
        request: &Request<'_>,
        serial: u32,
        reason: &str,
    ) -> Result<(), Error> {
        const NAP: Duration = Duration::from_millis(1);
        if request.options.at_once {
            return Err(Error::WouldBlock);
        }
        let step = self.patience.step();
        self.looks = self.looks.wrapping_add(1);
        if step == Step::Look && !self.looks.is_multiple_of(CLOCK_EVERY) {
            return Ok(());
        }
        if self.until(request).is_some_and(|until| until <= Instant::now()) {
            let waited = self.since.elapsed();
            return Err(Error::Backpressure { reason: reason.into(), waited });
        }
        if step == Step::Park {
            std::thread::sleep(NAP);
        }
        if self.checked.elapsed() >= 50 * NAP {
            self.checked = Instant::now();
            remote.check_session(serial);
        }
        Ok(())
    }
}
