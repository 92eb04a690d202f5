//! Who serves what, who waits for whom, and who owes an answer.
//!
//! Invariants: a request is given to one take, and answered once, by the session that took it; what
//! its caller was told had no effect is never given to anybody; requests of one name are taken in
//! their order, and takes of one name get theirs in their order. All is bounded, see `limits.rs`.
//! It does *not* check names and grants.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ringfence_protocol::api::serving::{self as api, Services, Taken, Wanted};
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::limits;
use ringfence_protocol::message::Message as _;

use crate::deferred::Deferred;
use crate::engine::{Call, Stop};

/// A request that nobody has taken.
#[derive(Debug)]
struct Queued {
    session: u64,
    call: Deferred,
    payload: Vec<u8>,
    /// It may wait for a server.
    wait: bool,
    /// Its caller will not be told any more that it had no effect.
    begun: bool,
}

/// A take that has no request.
#[derive(Debug)]
struct Idle {
    session: u64,
    handle: u64,
    call: Deferred,
}

/// A request that was taken.
#[derive(Debug)]
struct Running {
    session: u64,
    name: Arc<str>,
    call: Deferred,
}

/// One name.
#[derive(Debug, Default)]
struct Service {
    servers: u64,
    idle: VecDeque<Idle>,
    queue: VecDeque<Queued>,
    running: u64,
    answered: u64,
    interrupted: u64,
}

/// All names of a daemon.
#[derive(Debug)]
pub(super) struct Book {
    services: BTreeMap<Arc<str>, Service>,
    /// Session and name of each handle.
    handles: HashMap<u64, (u64, Arc<str>)>,
    running: HashMap<u64, Running>,
    /// How many takes of each session wait.
    takes: HashMap<u64, usize>,
    /// The last number that was given to a handle or a request. It starts at the time, so that a number
    /// of an earlier daemon means nothing in the next.
    last: u64,
    queued_bytes: usize,
    bounds: Bounds,
}

/// What `limits.rs` leaves to whoever runs the engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes of all requests that wait.
    pub(super) bytes: usize,
    /// Takes of one session that wait.
    pub(super) takes: usize,
}

impl Book {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            services: BTreeMap::new(),
            handles: HashMap::new(),
            running: HashMap::new(),
            takes: HashMap::new(),
            last: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |at| at.as_nanos() as u64),
            queued_bytes: 0,
            bounds,
        }
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Makes sure that a request of so many bytes can wait under this name.
    pub(super) fn make_room(&mut self, name: &str, wait: bool, bytes: usize) -> Result<(), Error> {
        if !wait && self.services.get(name).is_none_or(|service| service.servers == 0) {
            return Err(self.not_served(name));
        }
        if self.services.get(name).is_some_and(|at| at.queue.len() >= limits::SERVING_QUEUE)
            || self.queued_bytes + bytes > self.bounds.bytes
        {
            self.forget_what_is_over();
        }
        let queued = self.services.get(name).map_or(0, |service| service.queue.len());
        if queued >= limits::SERVING_QUEUE && is_armed("serving.queue") {
            let text = format!(
                "{queued} requests wait for `{name}`, the most: start more servers, or ask later"
            );
            return Err(Error::new(ErrorCode::Backpressure, text));
        }
        if self.queued_bytes + bytes > self.bounds.bytes && is_armed("serving.bytes") {
            let text = format!(
                "{bytes} bytes, {} wait, of {} for all requests: start more servers, or ask later",
                self.queued_bytes, self.bounds.bytes
            );
            return Err(Error::new(ErrorCode::Backpressure, text));
        }
        self.check_names(name)
    }

    fn check_names(&mut self, name: &str) -> Result<(), Error> {
        if self.services.contains_key(name) {
            return Ok(());
        }
        if self.services.len() >= limits::SERVING_NAMES {
            self.forget_what_is_over();
        }
        let names = self.services.len();
        if names < limits::SERVING_NAMES || !is_armed("serving.names") {
            return Ok(());
        }
        let text = format!("{names} names are served or asked for, the most of a daemon");
        Err(Error::new(ErrorCode::Quota, text))
    }

    /// A request, for which there is room.
    pub(super) fn ask(
        &mut self,
        session: u64,
        api::Request { wait, name, payload }: api::Request<'_>,
        call: Deferred,
    ) {
        self.queued_bytes += payload.len();
        let payload = payload.to_vec();
        let queued = Queued { session, call, payload, wait, begun: false };
        self.services.entry(name.into()).or_default().queue.push_back(queued);
        self.bring_together(name);
    }

    /// A session serves a name: its handle.
    pub(super) fn serve(&mut self, session: u64, name: &str) -> Result<u64, Error> {
        self.check_names(name)?;
        let held = self.handles.values().filter(|(of, _)| *of == session).count();
        if held >= limits::SERVING_HANDLES && is_armed("serving.handles") {
            let text = format!("this session serves {held} names, the most: withdraw one");
            return Err(Error::new(ErrorCode::Quota, text));
        }
        let (handle, name) = (self.number(), Arc::<str>::from(name));
        self.services.entry(name.clone()).or_default().servers += 1;
        self.handles.insert(handle, (session, name));
        Ok(handle)
    }

    /// A session serves it no longer.
    pub(super) fn withdraw(&mut self, session: u64, handle: u64) -> Result<(), Error> {
        let name = self.served(session, handle)?;
        self.handles.remove(&handle);
        if let Some(service) = self.services.get_mut(&name) {
            service.servers -= 1;
            for idle in extract(&mut service.idle, |idle| idle.handle == handle) {
                no_longer_waits(&mut self.takes, session);
                let _or_it_is_over = idle.call.answer(Err(withdrawn(handle)));
            }
        }
        self.abandon(&name);
        Ok(())
    }

    fn served(&self, session: u64, handle: u64) -> Result<Arc<str>, Error> {
        match self.handles.get(&handle) {
            Some((of, name)) if *of == session || !is_armed("serving.handle") => Ok(name.clone()),
            _ => Err(withdrawn(handle)),
        }
    }

    /// Makes sure that a session can wait for one more request.
    pub(super) fn make_place(&mut self, session: u64, handle: u64) -> Result<(), Error> {
        self.served(session, handle)?;
        if self.takes_of(session) >= self.bounds.takes {
            self.forget_what_is_over();
        }
        let waiting = self.takes_of(session);
        if waiting >= self.bounds.takes && is_armed("serving.takes") {
            let text =
                format!("{waiting} takes of this session wait, the most: open another client");
            return Err(Error::new(ErrorCode::Backpressure, text));
        }
        self.check_running(session)
    }

    fn takes_of(&self, session: u64) -> usize {
        self.takes.get(&session).copied().unwrap_or_default()
    }

    fn check_running(&self, session: u64) -> Result<(), Error> {
        if self.running.len() < limits::SERVING_RUNNING || !is_armed("serving.running") {
            return Ok(());
        }
        let owed = self.running.values().filter(|running| running.session == session).count();
        if owed < limits::SERVING_RUNNING {
            return Ok(());
        }
        let text = format!("this session owes {owed} answers, the most: answer some first");
        Err(Error::new(ErrorCode::Backpressure, text))
    }

    /// A take, for which there is a place.
    pub(super) fn take(&mut self, session: u64, handle: u64, call: Deferred) {
        let Ok(name) = self.served(session, handle) else { return };
        if let Some(service) = self.services.get_mut(&name) {
            service.idle.push_back(Idle { session, handle, call });
            *self.takes.entry(session).or_default() += 1;
        }
        self.bring_together(&name);
    }

    /// Gives requests of a name to takes of it, as long as there are both.
    fn bring_together(&mut self, name: &str) {
        let Some((name, service)) = self.services.get_key_value(name) else { return };
        let (name, mut idle) = (name.clone(), service.idle.len());
        while idle > 0 {
            let Some(request) = self.next_request(&name) else { return };
            if let Some(request) = self.give(&name, request) {
                self.queued_bytes += request.payload.len();
                if let Some(service) = self.services.get_mut(&name) {
                    service.queue.push_front(request);
                }
            }
            idle = self.services.get(&name).map_or(0, |service| service.idle.len());
        }
    }

    /// The next request that somebody still wants. From now on nobody is told that it had no effect.
    fn next_request(&mut self, name: &str) -> Option<Queued> {
        let service = self.services.get_mut(name)?;
        while let Some(mut request) = service.queue.pop_front() {
            self.queued_bytes -= request.payload.len();
            if let Some(stop) = request.call.stop() {
                request.end(stop);
            } else if request.begun || request.call.begin() {
                request.begun = true;
                return Some(request);
            }
        }
        None
    }

    /// Gives a request to the first take that still waits, or gives it back.
    fn give(&mut self, name: &Arc<str>, request: Queued) -> Option<Queued> {
        let number = self.number();
        let mut taken = Vec::with_capacity(Taken::FIXED + request.payload.len());
        let time_left_us = left_us(&request.call);
        Taken { request: number, time_left_us, payload: &request.payload }.encode(&mut taken);
        let service = self.services.get_mut(name)?;
        while let Some(Idle { session, call, .. }) = service.idle.pop_front() {
            no_longer_waits(&mut self.takes, session);
            match call.answer(Ok(taken)) {
                None => {
                    service.running += 1;
                    let running = Running { session, name: name.clone(), call: request.call };
                    self.running.insert(number, running);
                    return None;
                }
                Some(back) => taken = back.unwrap_or_default(),
            }
        }
        Some(request)
    }

    /// An answer, or why there is none.
    pub(super) fn answer(
        &mut self,
        session: u64,
        number: u64,
        status: u16,
        payload: &[u8],
    ) -> Result<(), Error> {
        self.owed(session, number)?;
        let Some(Running { name, call, .. }) = self.running.remove(&number) else { return Ok(()) };
        if let Some(service) = self.services.get_mut(&name) {
            service.running -= 1;
            service.answered += 1;
        }
        let _nobody_may_want_it = call.answer(match status {
            0 => Ok(payload.to_vec()),
            _ => Err(failed(status, payload)),
        });
        self.abandon(&name);
        Ok(())
    }

    fn owed(&self, session: u64, number: u64) -> Result<&Running, Error> {
        let is_its =
            |running: &&Running| running.session == session || !is_armed("serving.request");
        self.running.get(&number).filter(is_its).ok_or_else(|| {
            let text =
                format!("request {number} was not given to this session, or is answered already");
            Error::new(ErrorCode::InvalidArgument, text)
        })
    }

    /// Does the caller of a request still wait?
    pub(super) fn wanted(&self, session: u64, number: u64) -> Result<Wanted, Error> {
        let Running { call, .. } = self.owed(session, number)?;
        let wanted = call.stop().is_none();
        Ok(Wanted { wanted, time_left_us: if wanted { left_us(call) } else { 0 } })
    }

    /// A session is over: it asks for nothing, serves nothing, waits for nothing, and answers nothing.
    pub(super) fn leave(&mut self, session: u64) {
        let mut names: Vec<Arc<str>> = Vec::new();
        for (_, (_, name)) in self.handles.extract_if(|_, (of, _)| *of == session) {
            if let Some(service) = self.services.get_mut(&name) {
                service.servers -= 1;
                service.idle.retain(|idle| idle.session != session);
            }
            names.push(name);
        }
        self.takes.remove(&session);
        for (name, service) in &mut self.services {
            if service.queue.iter().any(|request| request.session == session) {
                for request in extract(&mut service.queue, |request| request.session == session) {
                    self.queued_bytes -= request.payload.len();
                }
                names.push(name.clone());
            }
        }
        for (_, gone) in self.running.extract_if(|_, running| running.session == session) {
            if let Some(service) = self.services.get_mut(&gone.name) {
                service.running -= 1;
                service.interrupted += 1;
            }
            let text = format!("the process that served `{}` ended before it answered", gone.name);
            let _or_it_is_over = gone.call.answer(Err(Error::new(ErrorCode::Interrupted, text)));
            names.push(gone.name);
        }
        for name in names {
            self.abandon(&name);
        }
    }

    /// Looks after a name that may have lost its last server, or everything.
    fn abandon(&mut self, name: &str) {
        let Some(service) = self.services.get(name).filter(|service| service.servers == 0) else {
            return;
        };
        if service.queue.iter().any(|request| !request.wait) {
            let error = self.not_served(name);
            let Some(service) = self.services.get_mut(name) else { return };
            for request in extract(&mut service.queue, |request| !request.wait) {
                self.queued_bytes -= request.payload.len();
                let _or_it_is_over = request.call.answer(Err(error.clone()));
            }
        }
        if self.services.get(name).is_some_and(|at| at.queue.is_empty() && at.running == 0) {
            self.services.remove(name);
        }
    }

    /// Drops requests and takes that nobody waits for any more, and names without anything.
    fn forget_what_is_over(&mut self) {
        for service in self.services.values_mut() {
            for request in extract(&mut service.queue, |at| at.call.stop().is_some()) {
                self.queued_bytes -= request.payload.len();
                if let Some(stop) = request.call.stop() {
                    request.end(stop);
                }
            }
            for idle in extract(&mut service.idle, |idle| idle.call.stop().is_some()) {
                no_longer_waits(&mut self.takes, idle.session);
            }
        }
        self.services.retain(|_, at| at.servers > 0 || !at.queue.is_empty() || at.running > 0);
    }

    fn not_served(&self, name: &str) -> Error {
        const SHOWN: usize = 8;
        let served = self.services.iter().filter(|(_, service)| service.servers > 0);
        let names: Vec<&str> = served.take(SHOWN).map(|(name, _)| &**name).collect();
        let all = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        let text = format!("nobody serves `{name}`: it had no effect. Served are: {all}");
        Error::new(ErrorCode::NotServed, text)
    }

    /// What is served, as a reply.
    pub(super) fn list(&self, call: &mut Call<'_>) {
        let column = |of: fn(&Service) -> u64| self.services.values().map(of).collect::<Vec<_>>();
        let names: Vec<&str> = self.services.keys().map(|name| &**name).collect();
        call.reply(&Services {
            servers: &column(|service| service.servers),
            idle: &column(|service| service.idle.len() as u64),
            queued: &column(|service| service.queue.len() as u64),
            running: &column(|service| service.running),
            answered: &column(|service| service.answered),
            interrupted: &column(|service| service.interrupted),
            names: &names.join("\n"),
        });
    }
}

impl Queued {
    /// Ends it for its caller, whom the sweep has not told yet.
    fn end(self, stop: Stop) {
        let (code, text) = match (stop, self.begun) {
            (Stop::Expired, false) => (ErrorCode::Expired, "no server took it in time"),
            (Stop::Expired, true) => (ErrorCode::Overdue, "no server took it in time"),
            (Stop::Cancelled, _) => (ErrorCode::Cancelled, "cancelled before a server took it"),
        };
        let _or_it_is_over = self.call.answer(Err(Error::new(code, text)));
    }
}

/// Takes out what is meant, in its order.
fn extract<T>(queue: &mut VecDeque<T>, is_meant: impl Fn(&T) -> bool) -> VecDeque<T> {
    let (meant, others) = std::mem::take(queue).into_iter().partition(is_meant);
    *queue = others;
    meant
}

fn no_longer_waits(takes: &mut HashMap<u64, usize>, session: u64) {
    if let Entry::Occupied(mut count) = takes.entry(session) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

fn left_us(call: &Deferred) -> u64 {
    call.time_left().map_or(api::FOR_EVER, |left| left.as_micros() as u64)
}

#[cold]
fn withdrawn(handle: u64) -> Error {
    let text =
        format!("handle {handle} is withdrawn, or not of this session: serve the name again");
    Error::new(ErrorCode::NotServed, text)
}

/// A server's own words. What only a daemon can know of a call it cannot say.
fn failed(status: u16, text: &[u8]) -> Error {
    let text = String::from_utf8_lossy(text);
    let code = ErrorCode::from_u16(status).filter(|code| code.as_u16() < 4000);
    Error::new(code.unwrap_or(ErrorCode::HandlerFailed), text)
}
