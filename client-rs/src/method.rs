//! [`Method`]: a method by its names, with the number that it has in the present session.
//!
//! A number is worth nothing in another session (another daemon may number its engines otherwise),
//! so it is kept together with the session's serial and asked for again when that differs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ringfence_protocol::limits::DEFAULT_TIMEOUT_MS;
use ringfence_protocol::schema::MethodSchema;
use ringfence_protocol::sys::clock;

use crate::options::Timeout;

/// "No time-out" in `timeout_ms`.
const NEVER: u32 = u32::MAX;

/// A method of an engine. Cheap to clone; usable with any client that has the engine.
///
/// ```
/// let client = ringfence::doctest_client();
/// let echo = client.method("system", "echo")?;
/// assert_eq!((echo.engine(), echo.name()), ("system", "echo"));
/// assert!(echo.is_idempotent());
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Method {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: String,
    name: String,
    /// The session's serial << 32 | the number there.
    resolved: AtomicU64,
    /// Numbers of `system` are the same everywhere (SPEC's short list).
    fixed: bool,
    /// The only session in which it may be called; `None`: any.
    only: Option<u32>,
    /// Its calls run in the order in which they are submitted, whatever their length.
    in_order: bool,
    timeout_ms: AtomicU32,
    idempotent: AtomicBool,
}

/// What a session says of a method.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) number: u32,
    pub(crate) timeout_ms: Option<u32>,
    pub(crate) idempotent: bool,
}

impl Facts {
    pub(crate) fn of(engine: u16, schema: &MethodSchema) -> Self {
        Self {
            number: u32::from(engine) << 16 | u32::from(schema.op),
            timeout_ms: schema.timeout_ms,
            idempotent: schema.idempotent,
        }
    }
}

impl Method {
    pub(crate) fn unresolved(engine: &str, name: &str) -> Self {
        Self::new(engine, name, false, None)
    }

    /// One whose calls run in the order in which they are submitted, whatever their length: what lies in a segment is
    /// read by a worker, and later calls go by it, so a payload that an arena can hold waits for room there.
    pub(crate) fn in_order(engine: &str, name: &str) -> Self {
        let mut method = Self::unresolved(engine, name);
        if let Some(inner) = Arc::get_mut(&mut method.inner) {
            inner.in_order = true;
        }
        method
    }

    /// See [`in_order`](Self::in_order).
    pub(crate) fn is_in_order(&self) -> bool {
        self.inner.in_order
    }

    /// One whose request means nothing to any other session than that with this serial: instead of
    /// being called there it fails.
    pub(crate) fn of_session(engine: &str, name: &str, serial: u32) -> Self {
        Self::new(engine, name, false, Some(serial))
    }

    /// May it be called in this session?
    pub(crate) fn is_for(&self, serial: u32) -> bool {
        self.inner.only.is_none_or(|only| only == serial)
    }

    /// A method of `system`: idempotent, all of them.
    pub(crate) fn system(name: &str, op: u16) -> Self {
        let method = Self::new(ringfence_protocol::api::system::NAME, name, true, None);
        let timeout_ms = Some(DEFAULT_TIMEOUT_MS);
        method.resolve(0, Facts { number: u32::from(op), timeout_ms, idempotent: true });
        method
    }

    /// What every daemon says of itself.
    pub(crate) fn catalogue() -> Self {
        Self::system("catalogue", ringfence_protocol::api::system::CATALOGUE)
    }

    fn new(engine: &str, name: &str, fixed: bool, only: Option<u32>) -> Self {
        let inner = Inner {
            engine: engine.into(),
            name: name.into(),
            resolved: AtomicU64::new(0),
            fixed,
            only,
            in_order: false,
            timeout_ms: AtomicU32::new(DEFAULT_TIMEOUT_MS),
            idempotent: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The engine's name.
    #[must_use]
    pub fn engine(&self) -> &str {
        &self.inner.engine
    }

    /// Its name within the engine.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// May it be run again when nobody knows whether it took effect?
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.inner.idempotent.load(Relaxed)
    }

    /// How long a call of it may take if the caller says nothing; `None` is for ever.
    #[inline]
    #[must_use]
    pub fn default_timeout(&self) -> Option<Duration> {
        match self.inner.timeout_ms.load(Relaxed) {
            NEVER => None,
            ms => Some(Duration::from_millis(u64::from(ms))),
        }
    }

    #[inline]
    pub(crate) fn timeout(&self, asked: Timeout) -> Option<Duration> {
        match asked {
            Timeout::Default => self.default_timeout(),
            Timeout::After(after) => Some(after),
            Timeout::Never => None,
        }
    }

    /// The deadline word of a call that starts now.
    #[inline]
    pub(crate) fn deadline(&self, asked: Timeout) -> u32 {
        match asked {
            Timeout::Default => clock::deadline_after_ms(self.inner.timeout_ms.load(Relaxed)),
            Timeout::After(after) => clock::deadline_after(after),
            Timeout::Never => clock::NONE,
        }
    }

    /// Its number in the session with this serial, if it is known.
    #[inline]
    pub(crate) fn number(&self, serial: u32) -> Option<u32> {
        let resolved = self.inner.resolved.load(Relaxed);
        ((resolved >> 32) as u32 == serial || self.inner.fixed).then_some(resolved as u32)
    }

    pub(crate) fn resolve(&self, serial: u32, facts: Facts) {
        let inner = &*self.inner;
        inner.timeout_ms.store(facts.timeout_ms.unwrap_or(NEVER), Relaxed);
        inner.idempotent.store(facts.idempotent, Relaxed);
        inner.resolved.store(u64::from(serial) << 32 | u64::from(facts.number), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_worth_nothing_in_another_session() {
        let method = Method::unresolved("vectors", "search");
        assert_eq!(method.number(1), None);
        method.resolve(1, Facts { number: 0x1_0006, timeout_ms: None, idempotent: true });
        assert_eq!(method.number(1), Some(0x1_0006));
        assert_eq!(method.number(2), None);
        assert_eq!(method.default_timeout(), None);
        assert_eq!(Method::system("echo", 1).number(77), Some(1));
    }
}
