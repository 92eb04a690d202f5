//! Names that processes answer requests to: asking one, and serving one.
//!
//! ```
//! use std::time::Duration;
//! use ringfence::CallOptions;
//!
//! let client = ringfence::doctest_client();
//! let mut server = client.serve("shout")?;
//! let serving = std::thread::spawn(move || -> Result<(), ringfence::Error> {
//!     let request = server.next(Duration::from_secs(5))?.expect("somebody asks");
//!     let answer = request.to_ascii_uppercase();
//!     request.answer(Ok(&answer))
//! });
//! assert_eq!(client.request("shout", b"hello", &CallOptions::default())?, b"HELLO");
//! serving.join().expect("no panic")?;
//! # Ok::<(), ringfence::Error>(())
//! ```
//!
//! A request is given to one server, once. If that dies before it answers, its caller gets
//! [`Error::Interrupted`], and the request is never given to another.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_protocol::api::serving as api;
use ringfence_protocol::error::{Error as RemoteError, ErrorCode};
use ringfence_protocol::message::Message;

use crate::calling::Calling;
use crate::client::Client;
use crate::error::Error;
use crate::method::Method;
use crate::options::{CallOptions, Timeout};
use crate::pending::Pending;
use crate::reply::Reply;

/// The engine's methods, resolved once for a client.
#[derive(Debug)]
pub(crate) struct Methods {
    call: Method,
    serve: Method,
    withdraw: Method,
    take: Method,
    answer: Method,
    wanted: Method,
}

impl Default for Methods {
    fn default() -> Self {
        let method = |name| Method::unresolved(api::NAME, name);
        Self {
            call: method("call"),
            serve: method("serve"),
            withdraw: method("withdraw"),
            take: method("take"),
            answer: method("answer"),
            wanted: method("wanted"),
        }
    }
}

impl Client {
    /// Asks whoever serves a name, and waits for the answer.
    ///
    /// # Errors
    /// `NotServed` if nobody does, [`Error::Interrupted`] if whoever took the request died,
    /// `HandlerFailed` or another code that the server chose, or as every call.
    ///
    /// ```
    /// use ringfence::{CallOptions, ErrorCode};
    /// let client = ringfence::doctest_client();
    /// let error = client.request("nobody", b"", &CallOptions::default()).unwrap_err();
    /// assert_eq!(error.code(), ErrorCode::NotServed);
    /// ```
    pub fn request(
        &self,
        name: &str,
        payload: &[u8],
        options: &CallOptions,
    ) -> Result<Reply, Error> {
        self.call(&self.serving().call, &request(false, name, payload), options)
    }

    /// The same, which waits for a server if there is none, as long as the call may take.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    ///
    /// ```
    /// use std::time::Duration;
    /// use ringfence::{CallOptions, ErrorCode};
    /// let client = ringfence::doctest_client();
    /// let short = CallOptions { timeout: Duration::from_millis(5).into(), ..CallOptions::default() };
    /// let error = client.request_when_served("nobody", b"", &short).unwrap_err();
    /// assert_eq!(error.code(), ErrorCode::Expired);
    /// ```
    pub fn request_when_served(
        &self,
        name: &str,
        payload: &[u8],
        options: &CallOptions,
    ) -> Result<Reply, Error> {
        self.call(&self.serving().call, &request(true, name, payload), options)
    }

    /// [`request`](Self::request) as a future, as [`call_async`](Self::call_async).
    pub fn request_async(
        &self,
        name: &str,
        payload: &[u8],
        options: &CallOptions,
    ) -> Calling<Vec<u8>> {
        self.call_async(&self.serving().call, request(false, name, payload), options)
    }

    /// Serves a name, until the [`Server`] is dropped. Several servers of one name, in one process or
    /// in many, get its requests in turn. A client that serves has a second session, see
    /// [`apart`](Self::apart).
    ///
    /// # Errors
    /// `PermissionDenied` if the daemon's `[serving] grants` do not let this user, `AlreadyExists` for
    /// the names of engines, `InvalidArgument` for what is no name, or as every call.
    ///
    /// ```
    /// let client = ringfence::doctest_client();
    /// let server = client.serve("pricing.quote")?;
    /// assert_eq!(server.name(), "pricing.quote");
    /// assert!(client.serve("system.echo").is_err(), "that is an engine's");
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn serve(&self, name: &str) -> Result<Server, Error> {
        let mut server =
            Server { client: self.apart(), name: name.into(), handle: None, take: None };
        server.register()?;
        Ok(server)
    }
}

fn request(wait: bool, name: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(api::Request::FIXED + name.len() + payload.len() + 8);
    api::Request { wait, name, payload }.encode(&mut bytes);
    bytes
}

/// A name that is served. From [`Client::serve`]. Where the daemon is restarted, the name is served
/// again at the next wait for a request.
pub struct Server {
    client: Client,
    name: Arc<str>,
    /// Its number in the present daemon.
    handle: Option<u64>,
    /// The wait for the next request, which goes on between two calls of [`next`](Self::next).
    take: Option<Pending>,
}

impl Server {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next request, waiting for it up to `at_most`; `None`: nobody has asked.
    ///
    /// # Errors
    /// As every call. After one that the daemon's end caused the name may be served again by calling
    /// this again.
    ///
    /// ```
    /// use std::time::Duration;
    /// let mut server = ringfence::doctest_client().serve("quiet")?;
    /// assert!(server.next(Duration::from_millis(1))?.is_none());
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn next(&mut self, at_most: Duration) -> Result<Option<Incoming>, Error> {
        self.wait_for_next(Instant::now().checked_add(at_most), None)
    }

    /// Answers every request with what `handler` says of it, for ever: one call of the daemon each,
    /// where [`next`](Self::next) and [`Incoming::answer`] are two.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    ///
    /// ```no_run
    /// # fn main() -> Result<(), ringfence::Error> {
    /// let client = ringfence::Client::connect()?;
    /// client.serve("reverse")?.run(|request| Ok(request.iter().rev().copied().collect()))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn run(
        mut self,
        mut handler: impl FnMut(&Incoming) -> Result<Vec<u8>, RemoteError>,
    ) -> Result<(), Error> {
        let mut answer = None;
        loop {
            let Some(mut request) = self.wait_for_next(None, answer.take())? else { continue };
            let answered = handler(&request);
            request.owed = false;
            answer = Some((request.number, answered));
        }
    }

    fn wait_for_next(
        &mut self,
        until: Option<Instant>,
        mut answer: Option<(u64, Result<Vec<u8>, RemoteError>)>,
    ) -> Result<Option<Incoming>, Error> {
        let answers = answer.is_some();
        loop {
            let mut take = match self.take.take() {
                Some(take) => take,
                None => self.submit(answer.take())?,
            };
            let left = until
                .map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            match take.wait_for(left) {
                Some(Ok(reply)) => return Incoming::of(self.client.clone(), reply).map(Some),
                Some(Err(error)) if is_lost(&error) => self.handle = None,
                // An answer to a request of a daemon that is gone: nobody waits for it.
                Some(Err(error)) if error.code() == ErrorCode::InvalidArgument && answers => {}
                Some(Err(error)) => return Err(error),
                None => {
                    self.take = Some(take);
                    if until.is_some_and(|until| Instant::now() >= until) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn submit(
        &mut self,
        answer: Option<(u64, Result<Vec<u8>, RemoteError>)>,
    ) -> Result<Pending, Error> {
        let handle = match self.handle {
            Some(handle) => handle,
            None => self.register()?,
        };
        let (answers, answer) = answer.unwrap_or((0, Ok(Vec::new())));
        let (status, payload) = parts(answer.as_deref());
        let mut bytes = Vec::with_capacity(api::Take::FIXED + payload.len());
        api::Take { handle, answers, status, payload }.encode(&mut bytes);
        let options = CallOptions { timeout: Timeout::Never, ..CallOptions::default() };
        self.client.submit(&self.client.serving().take, &bytes, &options)
    }

    fn register(&mut self) -> Result<u64, Error> {
        let mut bytes = Vec::new();
        api::Serve { name: &self.name }.encode(&mut bytes);
        let serving = self.client.serving();
        let reply = self.client.call(&serving.serve, &bytes, &CallOptions::default())?;
        let api::Handle { handle } = Message::decode(&reply)?;
        self.handle = Some(handle);
        Ok(handle)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(handle) = self.handle else { return };
        let mut bytes = Vec::new();
        api::Handle { handle }.encode(&mut bytes);
        let serving = self.client.serving();
        // A daemon that cannot be asked has forgotten it anyway.
        let _ = self.client.call(&serving.withdraw, &bytes, &CallOptions::default());
        // A request that came in this moment is answered: nobody will look at it.
        if let Some(Ok(reply)) = self.take.take().and_then(|mut take| take.wait_for(Duration::MAX))
        {
            drop(Incoming::of(self.client.clone(), reply));
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The daemon, or the session with it, in which the name was served is gone.
fn is_lost(error: &Error) -> bool {
    match error {
        Error::Restarted { .. } | Error::SessionKilled { .. } => true,
        // A handle of an earlier daemon is unknown to the next.
        Error::Remote(error) => {
            matches!(error.code, ErrorCode::ShuttingDown | ErrorCode::NotServed)
        }
        _ => false,
    }
}

/// Status and payload of an answer.
fn parts<'a>(answer: Result<&'a [u8], &'a RemoteError>) -> (u16, &'a [u8]) {
    match answer {
        Ok(payload) => (0, payload),
        Err(error) => (error.code.as_u16(), error.message.as_bytes()),
    }
}

/// A request, as its server has it: its bytes, by dereferencing. One that is dropped fails for its
/// caller.
pub struct Incoming {
    client: Client,
    number: u64,
    reply: Reply,
    /// When its caller waits no longer.
    deadline: Option<Instant>,
    /// The answer is owed.
    owed: bool,
}

impl Incoming {
    fn of(client: Client, reply: Reply) -> Result<Self, Error> {
        let api::Taken { request: number, time_left_us, .. } = Message::decode(&reply)?;
        let left = (time_left_us != api::FOR_EVER).then(|| Duration::from_micros(time_left_us));
        let deadline = left.and_then(|left| Instant::now().checked_add(left));
        Ok(Self { client, number, reply, deadline, owed: true })
    }

    /// When its caller waits no longer; `None`: for ever.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Does its caller still wait? Asks the daemon: for handlers that take long.
    ///
    /// # Errors
    /// As every call.
    pub fn is_wanted(&self) -> Result<bool, Error> {
        let mut bytes = Vec::new();
        api::Which { request: self.number }.encode(&mut bytes);
        let wanted = &self.client.serving().wanted;
        let reply = self.client.call(wanted, &bytes, &CallOptions::default())?;
        Ok(api::Wanted::decode(&reply)?.wanted)
    }

    /// Answers it. An error arrives with its code if that is below 4000, else as `HandlerFailed`.
    ///
    /// # Errors
    /// As every call.
    pub fn answer(mut self, answer: Result<&[u8], RemoteError>) -> Result<(), Error> {
        self.owed = false;
        self.send(parts(answer.as_ref().map(|payload| *payload)))
    }

    fn send(&self, (status, payload): (u16, &[u8])) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(api::Answer::FIXED + payload.len());
        api::Answer { answers: self.number, status, payload }.encode(&mut bytes);
        let answer = &self.client.serving().answer;
        self.client.call(answer, &bytes, &CallOptions::default()).map(drop)
    }
}

impl Deref for Incoming {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.reply.get(api::Taken::FIXED..).unwrap_or_default()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.owed {
            let text = b"the server dropped the request without an answer";
            // A daemon that cannot be asked tells the caller itself.
            let _ = self.send((ErrorCode::HandlerFailed.as_u16(), text));
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.len();
        f.debug_struct("Incoming").field("number", &self.number).field("bytes", &bytes).finish()
    }
}
