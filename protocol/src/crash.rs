//! Named crash points: places where a test may have a process die as by kill -9.
//!
//! Without the cargo feature `crash-points` a point is nothing. With it (test builds only) the process
//! sends itself SIGKILL at the n-th pass of the point that `RINGFENCE_CRASH_AT=name:n` names. The kill
//! model (`tests/kill_model.rs`) covers every store in one process; this covers real processes.

/// The points of a daemon, in the order of a light and then of a heavy call.
pub const DAEMON: &[&str] = &[
    "daemon.claimed",
    "daemon.answer.words",
    "daemon.answer.seq",
    "daemon.answer.done",
    "daemon.released",
    "daemon.entry.body",
    "daemon.entry.ticket",
    "daemon.entry.freed",
];

/// The points of a client, in the order of a handshake and then of a call.
pub const CLIENT: &[&str] = &[
    "client.connected",
    "client.hello",
    "client.welcome",
    "client.mapped",
    "client.submit.words",
    "client.submit.seq",
    "client.parked",
    "client.collect",
    "client.consumed",
];

/// A named point. Nothing at all without the feature `crash-points`.
#[inline(always)]
pub fn point(name: &'static str) {
    #[cfg(feature = "crash-points")]
    armed::pass(name);
    #[cfg(not(feature = "crash-points"))]
    let _ = name;
}

#[cfg(feature = "crash-points")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSES: AtomicU64 = AtomicU64::new(0);

    pub(super) fn pass(name: &str) {
        let armed = ARMED.get_or_init(|| {
            let value = std::env::var("RINGFENCE_CRASH_AT").ok()?;
            let (name, count) = value.split_once(':')?;
            Some((name.to_owned(), count.parse().ok()?))
        });
        let Some((armed, count)) = armed else { return };
        if armed == name && PASSES.fetch_add(1, Ordering::Relaxed) + 1 == *count {
            // Cannot fail: a process may always signal itself.
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
        }
    }
}
