//! Ctrl-C: the attack that is under way comes to its end, and everything is taken down in order.
//!
//! The signals are blocked and waited for by a thread, so that nothing runs in a handler. Children do not inherit
//! that: the standard library clears the mask of what it starts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};

/// A flag that a signal sets. To be called before any other thread is there.
pub(super) fn on_signal() -> nix::Result<Arc<AtomicBool>> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    // It ends with the process.
    std::thread::spawn(move || {
        while signals.wait().is_ok() {
            set.store(true, Ordering::Relaxed);
        }
    });
    Ok(flag)
}
