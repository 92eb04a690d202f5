//! Named defences: checks that a test may switch off, to see that the attack which they hold off is one.
//!
//! Without the cargo feature `disarm` a defence is always armed: [`is_armed`] is the constant `true`, and nothing of
//! this is in the program. With it (test builds only) the defences that `RINGFENCE_DISARM` names, separated by commas,
//! are not. What attacks each then finds nothing in its way, and its test must fail: see the three lists.
//!
//! No switch is for what only another program could be without:
//! - how memory is read: by real copies, through no reference, with private sizes and by indices (SPEC R1, R4 to R6,
//!   `region.rs`, `geometry.rs`; `tests/release.rs` and the fuzz targets attack it), and messages that are types (R7);
//! - what the kernel keeps: who a peer is, modes, descriptors that only read, names in a sticky folder;
//! - buffers of a fixed size, such as that of a control message or of a scraper's request;
//! - how much one look takes where something else bounds the whole: connections that are accepted or messages that are
//!   read at a time, files that a sweep looks at, panics that it reports, users whose refusal is remembered;
//! - what the SIGBUS handler leaves alone: a fault that is nobody's segment kills (`sigbus.rs` of the daemon).
//!
//! Nor for what no peer can send: files that an operator writes, and what clients check of a daemon that they trust.

/// Those that `ringfence torture` attacks, in the order in which an attacker meets them. Its tests see that the attack on
/// a disarmed one is reported.
pub const DEFENCES: &[&str] = &[
    // Before there is a session.
    "guest.message",
    "guest.bomb",
    "guest.layout",
    "guest.timeout",
    "guest.digest",
    // The control socket.
    "control.message",
    "control.once",
    "control.flood",
    "control.unread",
    "control.descriptors",
    // What one user and one session may have.
    "quota.sessions",
    "quota.bytes",
    "quota.lanes",
    "quota.bulk",
    "quota.bulk-bytes",
    "quota.waker",
    "quota.reply-bulk",
    // Requests.
    "request.seq",
    "request.credit",
    "request.copied-once",
    "request.reserved",
    "request.inline-length",
    "request.block",
    "request.bulk",
    "consumed",
    "deadline",
    "cancel",
    "lease",
    "wake.once",
    "sweep.lost-bells",
    // Segments.
    "segment.sigbus",
    "segment.dead",
    "segment.read-only",
    "segment.altered",
    // Topics.
    "topic.number",
    "topic.cursor",
    "topic.patience",
    "topic.hold",
    "topic.wake-once",
    // Ends.
    "reap.socket",
    "reap.pidfd",
    "reap.names",
];

/// Those against other users, crowds and a full machine, which no connected client alone can attack, and those that
/// only keep others from waiting, which is not for a tool to judge that shares its machine. Tests of the daemon attack
/// them.
pub const AROUND: &[&str] = &[
    // At the door.
    "door.descriptors",
    "door.guests",
    "door.pace",
    "door.users",
    "door.nobody",
    "door.log-once",
    // What one user may have over all sessions, and all users together.
    "quota.all-sessions",
    "quota.user-lanes",
    "quota.in-flight",
    "quota.topic-bytes",
    // Places that others can write.
    "segment.allocated",
    "lock.squatted",
    "sweep.squatted",
    "folder.squatted",
    "segment.replaced",
    "lock.held",
    // What others see, and what outlives its owner.
    "name.escaped",
    "board.users",
    "topic.users",
    "topic.untold",
    "measures",
    "hold.pidfd",
    "reap.calls",
    "reap.engines",
    "answer.lane",
    // Whoever asks for metrics.
    "metrics.places",
    "metrics.lifetime",
    // Everybody's turn.
    "turn.requests",
    "turn.time",
    "turn.parked",
    "turn.hot",
    "bell.storm",
    "worker.turn",
    "worker.share",
    "worker.queue",
    // Engines, and defects of our own.
    "engine.panic",
    "engine.stack",
    "poller.panic",
    "poller.watchdog",
];

/// Those of the engines, against requests that say too much, ask for too much or are for others. Their own tests attack
/// them.
///
/// That a collection's file has a sound graph and a query its dimensions has no switch: what follows without is
/// undefined behaviour of a C++ library, and no test.
pub const ENGINES: &[&str] = &[
    "topic.count",
    "topic.bytes",
    "topic.subscriptions",
    "topic.departed",
    "topic.open-number",
    "topic.queue",
    "topic.look",
    "serving.name",
    "serving.reserved",
    "serving.users",
    "serving.handle",
    "serving.request",
    "serving.names",
    "serving.handles",
    "serving.takes",
    "serving.running",
    "serving.queue",
    "serving.bytes",
    "vectors.options",
    "vectors.values",
    "vectors.length",
    "vectors.ids",
    "vectors.k",
    "vectors.reply",
    "vectors.memory",
    "vectors.collections",
    "vectors.files",
    "vectors.file-bytes",
    "vectors.checksum",
];

/// Is this defence armed? The constant `true` without the feature `disarm`.
#[inline(always)]
#[must_use]
pub fn is_armed(name: &'static str) -> bool {
    #[cfg(feature = "disarm")]
    return switches::is_armed(name);
    #[cfg(not(feature = "disarm"))]
    {
        let _ = name;
        true
    }
}

#[cfg(feature = "disarm")]
mod switches {
    use std::sync::OnceLock;

    use super::{AROUND, DEFENCES, ENGINES};

    static DISARMED: OnceLock<Vec<String>> = OnceLock::new();

    pub(super) fn is_armed(name: &str) -> bool {
        let disarmed = DISARMED.get_or_init(|| {
            let value = std::env::var("RINGFENCE_DISARM").unwrap_or_default();
            let names: Vec<_> =
                value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            // A misspelt switch would let a test pass that has tested nothing.
            for name in &names {
                assert!(is_known(name), "RINGFENCE_DISARM: no defence {name:?}");
            }
            names
        });
        debug_assert!(is_known(name), "{name:?} is not among the defences");
        !disarmed.iter().any(|disarmed| disarmed == name)
    }

    fn is_known(name: &str) -> bool {
        [DEFENCES, AROUND, ENGINES].iter().any(|defences| defences.contains(&name))
    }
}
