//! [`Client`]: the door. It only decides between the daemon and this process. Its methods about
//! futures, loans, the catalogue, the board and the daemon's facts stand in the files of these.

use std::fmt;
use std::sync::{Arc, OnceLock};

use ringfence_protocol::api::system as api;
use ringfence_protocol::ledger::Ledger;
use ringfence_protocol::message::Message;

#[cfg(feature = "inproc")]
use crate::call::finished;
use crate::call::{Request, Started};
use crate::error::Error;
use crate::info::Stats;
use crate::method::Method;
use crate::options::{Builder, CallOptions, Spin, Timeout};
use crate::pending::Pending;
use crate::reply::{AsReply, Reply, Sink, Through};
use crate::services::serving;
use crate::services::vectors::{Methods, Vectors};
use crate::topics::BusMethods;
use crate::way::Way;

/// A connection to a daemon (or to the engines in this process). Clones share it; any thread may use
/// any clone.
///
/// ```
/// let client = ringfence::doctest_client();
/// assert_eq!(client.echo(b"hello")?, b"hello");
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

/// What its clones share.
pub(crate) struct Inner {
    way: Way,
    pub(crate) echo: Method,
    pub(crate) ping: Method,
    vectors: OnceLock<Arc<Methods>>,
    bus: OnceLock<Arc<BusMethods>>,
    serving: OnceLock<serving::Methods>,
    /// For what this one serves.
    apart: OnceLock<Client>,
}

/// What [`Client::call_or_pend`] came to.
#[allow(clippy::large_enum_variant)] // a reply travels in it once, and is what is hoped for
#[derive(Debug)]
pub enum Called<T = Reply> {
    /// It has been answered.
    Done(T),
    /// It has not been answered yet.
    Pending(Pending),
}

impl<T> From<Started<T>> for Called<T> {
    #[inline(always)]
    fn from(started: Started<T>) -> Self {
        match started {
            Started::Done(value) => Called::Done(value),
            Started::Open(pending) => Called::Pending(pending),
        }
    }
}

const DEFAULT: CallOptions =
    CallOptions { timeout: Timeout::Default, trace: 0, spin_turns: None, at_once: false };

impl Client {
    /// Connects to the daemon that `RINGFENCE_TARGET` names, or else to this user's own, or else to
    /// the system's. Never starts one.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if there is none.
    ///
    /// ```
    /// match ringfence::Client::connect() {
    ///     Ok(client) => println!("{:?}", client.info()),
    ///     Err(error) => println!("{error}"),
    /// }
    /// ```
    pub fn connect() -> Result<Self, Error> {
        Self::builder().connect()
    }

    /// A client with choices.
    ///
    /// ```
    /// let client = ringfence::Client::builder().inproc().connect()?;
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn open(
        builder: Builder,
        way: impl FnOnce(Builder) -> Result<Way, Error>,
    ) -> Result<Self, Error> {
        Ok(Self::over(way(builder)?))
    }

    fn over(way: Way) -> Self {
        let echo = Method::system("echo", api::ECHO);
        let ping = Method::system("ping", api::PING);
        Self {
            inner: Arc::new(Inner {
                way,
                echo,
                ping,
                vectors: OnceLock::new(),
                bus: OnceLock::new(),
                serving: OnceLock::new(),
                apart: OnceLock::new(),
            }),
        }
    }

    /// Sends bytes there and back: the shortest call there is.
    ///
    /// # Errors
    /// As for every call, see [`Error`].
    ///
    /// ```
    /// let client = ringfence::doctest_client();
    /// assert_eq!(client.echo(b"hello")?, b"hello");
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    #[inline]
    pub fn echo(&self, data: &[u8]) -> Result<Reply, Error> {
        self.call(&self.inner.echo, data, &DEFAULT)
    }

    /// Is the daemon there, and does it answer?
    ///
    /// # Errors
    /// As for every call, see [`Error`].
    ///
    /// ```
    /// ringfence::doctest_client().ping()?;
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn ping(&self) -> Result<(), Error> {
        self.call(&self.inner.ping, &[], &DEFAULT).map(drop)
    }

    /// The daemon as it sees itself.
    ///
    /// # Errors
    /// As for every call, see [`Error`].
    ///
    /// ```
    /// let stats = ringfence::doctest_client().stats()?;
    /// assert!(!stats.version.is_empty());
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn stats(&self) -> Result<Stats, Error> {
        let reply = self.call(&Method::system("stats", api::STATS), &[], &DEFAULT)?;
        Ok(api::Stats::decode(&reply)?.into())
    }

    /// Calls a method with an encoded request, and waits for the encoded reply. An idempotent call
    /// is made again if the daemon goes away under it and is back at once.
    ///
    /// # Errors
    /// [`Error`] says which, and what to do.
    ///
    /// ```
    /// use ringfence::CallOptions;
    /// let client = ringfence::doctest_client();
    /// let echo = client.method("system", "echo")?;
    /// assert_eq!(client.call(&echo, b"hi", &CallOptions::default())?, b"hi");
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    #[inline]
    pub fn call(
        &self,
        method: &Method,
        payload: &[u8],
        options: &CallOptions,
    ) -> Result<Reply, Error> {
        match &self.inner.way {
            Way::Remote(remote) => {
                let remote = remote.here();
                let turns = remote.turns(options);
                remote.call(Request { method, payload, options, turns, stays: true })
            }
            #[cfg(feature = "inproc")]
            Way::Inproc(inproc) => finished(inproc.start(method, payload, options, AsReply)),
        }
    }

    /// Submits a call, and waits for its answer as long as a short spin lasts
    /// ([`CallOptions::spin_turns`]).
    ///
    /// # Errors
    /// As [`call`](Self::call); a call that was interrupted by the daemon's death is not made again.
    ///
    /// ```
    /// use ringfence::{CallOptions, Called};
    /// let client = ringfence::doctest_client();
    /// let echo = client.method("system", "echo")?;
    /// let reply = match client.call_or_pend(&echo, b"hi", &CallOptions::default())? {
    ///     Called::Done(reply) => reply,
    ///     Called::Pending(pending) => client.wait(pending)?,
    /// };
    /// assert_eq!(reply, b"hi");
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    #[inline]
    pub fn call_or_pend(
        &self,
        method: &Method,
        payload: &[u8],
        options: &CallOptions,
    ) -> Result<Called, Error> {
        self.start(method, payload, options, AsReply, false)
    }

    /// As [`call_or_pend`](Self::call_or_pend), with the answer handed to `take` instead of being
    /// built into a [`Reply`]: for bindings, which copy it anyway. `take` may not call this client.
    ///
    /// # Errors
    /// As [`call_or_pend`](Self::call_or_pend).
    ///
    /// ```
    /// use ringfence::{CallOptions, Called};
    /// let client = ringfence::doctest_client();
    /// let echo = client.method("system", "echo")?;
    /// let called = client.call_with(&echo, b"hi", &CallOptions::default(), |bytes| bytes.len())?;
    /// assert!(matches!(called, Called::Done(2)));
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    #[inline]
    pub fn call_with<T>(
        &self,
        method: &Method,
        payload: &[u8],
        options: &CallOptions,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<Called<T>, Error> {
        self.start(method, payload, options, Through(take), false)
    }

    /// As [`call_or_pend`](Self::call_or_pend), or as [`call`](Self::call) does if the caller stays for the answer.
    #[inline(always)]
    pub(crate) fn start<S: Sink>(
        &self,
        method: &Method,
        payload: &[u8],
        options: &CallOptions,
        sink: S,
        stays: bool,
    ) -> Result<Called<S::Out>, Error> {
        match &self.inner.way {
            Way::Remote(remote) => {
                let remote = remote.here();
                let turns = remote.turns(options);
                let request = Request { method, payload, options, turns, stays };
                remote.start(request, sink).map(Called::from)
            }
            #[cfg(feature = "inproc")]
            Way::Inproc(inproc) => inproc.start(method, payload, options, sink).map(Called::from),
        }
    }

    /// What [`call`](Self::call) does with an error of a call that was started by
    /// [`call_or_pend`](Self::call_or_pend): makes it again if that does no harm and the daemon is
    /// back in time, else gives the error back.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    ///
    /// ```
    /// use ringfence::{CallOptions, Error};
    /// let client = ringfence::doctest_client();
    /// let echo = client.method("system", "echo")?;
    /// let error = client.recover(Error::Forked, &echo, b"hi", &CallOptions::default()).unwrap_err();
    /// assert!(matches!(error, Error::Forked));
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn recover(
        &self,
        error: Error,
        method: &Method,
        payload: &[u8],
        options: &CallOptions,
    ) -> Result<Reply, Error> {
        match &self.inner.way {
            Way::Remote(remote) => {
                let remote = remote.here();
                let turns = remote.turns(options);
                remote.recover(error, Request { method, payload, options, turns, stays: true })
            }
            #[cfg(feature = "inproc")]
            Way::Inproc(_) => Err(error),
        }
    }

    /// Submits a call and does not wait: for many calls in flight at once.
    ///
    /// # Errors
    /// As [`call_or_pend`](Self::call_or_pend); [`Error::Backpressure`] if there is no room for it
    /// within its time.
    ///
    /// ```
    /// use ringfence::CallOptions;
    /// let client = ringfence::doctest_client();
    /// let echo = client.method("system", "echo")?;
    /// let pending = client.submit(&echo, b"hi", &CallOptions::default())?;
    /// assert_eq!(client.wait(pending)?, b"hi");
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn submit(
        &self,
        method: &Method,
        payload: &[u8],
        options: &CallOptions,
    ) -> Result<Pending, Error> {
        match &self.inner.way {
            Way::Remote(remote) => {
                let request = Request { method, payload, options, turns: 0, stays: false };
                match remote.here().start_aside(request, AsReply)? {
                    Started::Open(pending) => Ok(pending),
                    Started::Done(reply) => Ok(Pending::ready(Ok(reply))),
                }
            }
            #[cfg(feature = "inproc")]
            Way::Inproc(inproc) => Ok(match inproc.start(method, payload, options, AsReply) {
                Ok(Started::Open(pending)) => pending,
                started => Pending::ready(finished(started)),
            }),
        }
    }

    /// Calls a method once for every payload, many in flight at a time, and hands each answer to
    /// `each` with the index of its payload, in whatever order they come. The quickest way to make
    /// many small calls. A time-out is meant for each of them; none is made again. Neither the
    /// payloads' `as_ref` may use the client, nor may `each` expect all answers before more payloads
    /// are taken.
    ///
    /// # Errors
    /// Why not all could be submitted; those that were have been answered.
    ///
    /// ```
    /// use ringfence::CallOptions;
    /// let client = ringfence::doctest_client();
    /// let echo = client.method("system", "echo")?;
    /// let mut answers = vec![None; 3];
    /// client.call_many(&echo, [b"a", b"b", b"c"], &CallOptions::default(), |index, answer| {
    ///     answers[index] = answer.ok().map(|reply| reply.into_vec());
    /// })?;
    /// assert_eq!(answers[2], Some(b"c".to_vec()));
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn call_many<P: AsRef<[u8]>>(
        &self,
        method: &Method,
        payloads: impl IntoIterator<Item = P>,
        options: &CallOptions,
        each: impl FnMut(usize, Result<Reply, Error>),
    ) -> Result<(), Error> {
        match &self.inner.way {
            Way::Remote(remote) => remote.here().call_many(method, payloads, options, each),
            #[cfg(feature = "inproc")]
            Way::Inproc(inproc) => {
                let answers = payloads
                    .into_iter()
                    .map(|p| finished(inproc.start(method, p.as_ref(), options, AsReply)));
                let mut each = each;
                answers.enumerate().for_each(|(index, answer)| each(index, answer));
                Ok(())
            }
        }
    }

    pub(crate) fn bus_methods(&self) -> Arc<BusMethods> {
        self.inner.bus.get_or_init(Arc::default).clone()
    }

    /// How its threads wait.
    pub(crate) fn spin(&self) -> Spin {
        match &self.inner.way {
            Way::Remote(remote) => remote.settings.spin,
            #[cfg(feature = "inproc")]
            Way::Inproc(_) => Spin::Adaptive,
        }
    }

    pub(crate) fn way(&self) -> &Way {
        &self.inner.way
    }

    /// Waits for a submitted call, until it is answered or its own time is over. Any thread may.
    ///
    /// # Errors
    /// As [`call`](Self::call); a call that was interrupted by the daemon's death is not made again.
    ///
    /// ```
    /// use ringfence::CallOptions;
    /// let client = ringfence::doctest_client();
    /// let ping = client.method("system", "ping")?;
    /// client.wait(client.submit(&ping, b"", &CallOptions::default())?)?;
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn wait(&self, pending: Pending) -> Result<Reply, Error> {
        pending.wait()
    }

    /// The vectors engine, typed.
    #[must_use]
    pub fn vectors(&self) -> Vectors {
        Vectors::new(self.clone(), self.inner.vectors.get_or_init(Arc::default).clone())
    }

    /// The same daemon over a session of its own, for what this client serves: answers must find room
    /// while calls wait for one. It ends with this client. In process there are no sessions.
    ///
    /// ```
    /// let client = ringfence::doctest_client();
    /// assert_eq!(client.apart().echo(b"hello")?, b"hello");
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    #[must_use]
    pub fn apart(&self) -> Client {
        match &self.inner.way {
            Way::Remote(remote) => self
                .inner
                .apart
                .get_or_init(|| {
                    let apart = Self::over(Way::Remote(Arc::new(remote.here().fresh())));
                    // Whoever closes it afterwards finds it.
                    if remote.here().is_closed() {
                        apart.close();
                    }
                    apart
                })
                .clone(),
            #[cfg(feature = "inproc")]
            Way::Inproc(_) => self.clone(),
        }
    }

    pub(crate) fn serving(&self) -> &serving::Methods {
        self.inner.serving.get_or_init(Default::default)
    }

    /// When the call that was answered last passed which place in the daemon, if it is one of those of which
    /// the daemon keeps a ledger: one in 64 that it answers in place, over a client's first lane. It is
    /// written right after the answer. In process there is none.
    ///
    /// ```
    /// let client = ringfence::doctest_client();
    /// client.ping()?;
    /// assert_eq!(client.ledger(), None);
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    #[must_use]
    pub fn ledger(&self) -> Option<Ledger> {
        match &self.inner.way {
            Way::Remote(remote) => remote.here().ledger(),
            #[cfg(feature = "inproc")]
            Way::Inproc(_) => None,
        }
    }

    /// Leaves the daemon. Open calls and later ones get [`Error::Closed`]; replies stay valid. Not
    /// needed: dropping the last clone does it too.
    ///
    /// ```
    /// let client = ringfence::doctest_client();
    /// client.close();
    /// client.close();
    /// assert!(matches!(client.ping(), Err(ringfence::Error::Closed)));
    /// ```
    pub fn close(&self) {
        match &self.inner.way {
            Way::Remote(remote) => {
                remote.here().close();
                if let Some(apart) = self.inner.apart.get() {
                    apart.close();
                }
            }
            #[cfg(feature = "inproc")]
            Way::Inproc(inproc) => inproc.close(),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("info", &self.info()).finish_non_exhaustive()
    }
}
