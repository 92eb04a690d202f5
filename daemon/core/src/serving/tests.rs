//! The engine without a daemon: callers and servers are values of this file.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use ringfence_protocol::api::serving::{Answer, Handle, Request, Serve, Services, Take, Taken};
use ringfence_protocol::api::serving::{Wanted, Which};
use ringfence_protocol::api::system::Nothing;
use ringfence_protocol::message::Message;

use super::*;
use crate::deferred::{self, Deferred, Later};
use crate::engine::{Stop, Surroundings};

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const OVER: u8 = 2;

/// A call as its caller sees it.
#[derive(Debug, Default)]
struct Slot {
    state: AtomicU8,
    answer: Mutex<Option<deferred::Answer>>,
    expired: AtomicU8,
}

impl Slot {
    fn answer(&self) -> Option<deferred::Answer> {
        self.answer.lock().take()
    }

    fn text(&self) -> String {
        self.answer().unwrap().unwrap_err().to_string()
    }

    fn code(&self) -> ErrorCode {
        self.answer().unwrap().unwrap_err().code
    }

    /// What was taken: its number and payload.
    fn taken(&self) -> (u64, Vec<u8>) {
        let bytes = self.answer().unwrap().unwrap();
        let Taken { request, payload, .. } = Message::decode(&bytes).unwrap();
        (request, payload.to_vec())
    }

    /// What the daemon's sweep does: did the call have no effect?
    fn end(&self) -> bool {
        let before = self.state.swap(OVER, Ordering::SeqCst);
        assert_ne!(before, OVER);
        before == WAITING
    }
}

struct Kept(Arc<Slot>);

impl Later for Kept {
    fn answer(self: Box<Self>, answer: deferred::Answer) -> Option<deferred::Answer> {
        if self.0.state.swap(OVER, Ordering::SeqCst) == OVER {
            return Some(answer);
        }
        *self.0.answer.lock() = Some(answer);
        None
    }
    fn begin(&self) -> bool {
        let order = Ordering::SeqCst;
        self.0.state.compare_exchange(WAITING, BEGUN, order, order).is_ok()
    }
    fn stop(&self) -> Option<Stop> {
        if self.0.state.load(Ordering::SeqCst) == OVER {
            return Some(Stop::Cancelled);
        }
        (self.0.expired.load(Ordering::SeqCst) == 1).then_some(Stop::Expired)
    }
    fn time_left(&self) -> Option<Duration> {
        Some(Duration::from_millis(5))
    }
}

struct Around {
    session: u64,
    uid: u32,
    slot: Arc<Slot>,
    deferred: Cell<bool>,
}

impl Surroundings for Around {
    fn stop(&self) -> Option<Stop> {
        None
    }
    fn progress(&self, _done: u64) {}
    fn session(&self) -> u64 {
        self.session
    }
    fn uid(&self) -> Option<u32> {
        Some(self.uid)
    }
    fn defer(&self) -> Option<Deferred> {
        let again = self.deferred.replace(true);
        (!again).then(|| Deferred::new(Box::new(Kept(self.slot.clone()))))
    }
}

fn engine() -> Serving {
    let grants = vec![Grant::new("pricing.*", &[1000]).unwrap()];
    let engine = Serving::new(Rules { owner: 500, grants, ..Rules::default() }, 1000);
    engine.assembled(&[api::schema(), ringfence_protocol::api::system::schema()]);
    engine
}

/// A call of this session: what it was answered at once, and where an answer comes later.
fn call<'m>(
    engine: &Serving,
    session: u64,
    op: u16,
    request: &impl Message<'m>,
) -> Result<(Vec<u8>, Arc<Slot>), Error> {
    call_of(engine, (session, 500), op, request)
}

fn call_of<'m>(
    engine: &Serving,
    (session, uid): (u64, u32),
    op: u16,
    request: &impl Message<'m>,
) -> Result<(Vec<u8>, Arc<Slot>), Error> {
    let (mut bytes, mut reply) = (Vec::new(), Vec::new());
    request.encode(&mut bytes);
    let around = Around { session, uid, slot: Arc::default(), deferred: Cell::new(false) };
    engine.call(op, &mut Call::new(&bytes, &mut reply, &around))?;
    Ok((reply, around.slot))
}

fn serve(engine: &Serving, session: u64, name: &str) -> u64 {
    let (reply, _) = call(engine, session, api::SERVE, &Serve { name }).unwrap();
    Handle::decode(&reply).unwrap().handle
}

fn ask(engine: &Serving, payload: &[u8]) -> Result<Arc<Slot>, Error> {
    let request = Request { wait: false, name: "pricing.quote", payload };
    call(engine, 99, api::CALL, &request).map(|(_, slot)| slot)
}

fn take(engine: &Serving, session: u64, handle: u64, answers: u64) -> Result<Arc<Slot>, Error> {
    let take = Take { handle, answers, status: 0, payload: b"done" };
    call(engine, session, api::TAKE, &take).map(|(_, slot)| slot)
}

fn list(engine: &Serving) -> (String, [u64; 6]) {
    let (reply, _) = call(engine, 1, api::LIST, &Nothing {}).unwrap();
    let all = Services::decode(&reply).unwrap();
    let first = |column: &[u64]| column.first().copied().unwrap_or_default();
    let columns = [all.servers, all.idle, all.queued, all.running, all.answered, all.interrupted];
    (all.names.to_owned(), columns.map(first))
}

#[test]
fn a_request_goes_to_a_server_and_its_answer_back() {
    let engine = engine();
    assert_eq!(ask(&engine, b"early").unwrap_err().code, ErrorCode::NotServed);
    let handle = serve(&engine, 1, "pricing.quote");
    let first = ask(&engine, b"first").unwrap();
    assert!(first.answer().is_none());
    let taken = take(&engine, 1, handle, 0).unwrap().taken();
    assert_eq!(taken.1, b"first");
    // The answer is the wish for the next.
    let waits = take(&engine, 1, handle, taken.0).unwrap();
    assert_eq!(first.answer().unwrap().unwrap(), b"done");
    let second = ask(&engine, b"second").unwrap();
    let (number, payload) = waits.taken();
    assert_eq!(payload, b"second");
    assert_eq!(list(&engine), ("pricing.quote".to_owned(), [1, 0, 0, 1, 1, 0]));
    let failed = Answer { answers: number, status: 1005, payload: "too much".as_bytes() };
    call(&engine, 1, api::ANSWER, &failed).unwrap();
    assert!(second.text().contains("too much [RF1005]"));
    // Once is enough.
    let again = call(&engine, 1, api::ANSWER, &failed).unwrap_err();
    assert_eq!(again.code, ErrorCode::InvalidArgument);
}

#[test]
fn what_only_a_daemon_can_know_a_server_cannot_say() {
    let engine = engine();
    let handle = serve(&engine, 1, "pricing.quote");
    for status in [ErrorCode::ShuttingDown.as_u16(), ErrorCode::Backpressure.as_u16(), 77] {
        let asked = ask(&engine, b"").unwrap();
        let (answers, _) = take(&engine, 1, handle, 0).unwrap().taken();
        call(&engine, 1, api::ANSWER, &Answer { answers, status, payload: b"" }).unwrap();
        assert_eq!(asked.code(), ErrorCode::HandlerFailed);
    }
}

#[test]
fn only_who_took_a_request_answers_it() {
    let engine = engine();
    let (mine, other) = (serve(&engine, 1, "pricing.quote"), serve(&engine, 2, "pricing.quote"));
    let asked = ask(&engine, b"x").unwrap();
    let (number, _) = take(&engine, 1, mine, 0).unwrap().taken();
    assert_eq!(take(&engine, 2, other, number).unwrap_err().code, ErrorCode::InvalidArgument);
    assert_eq!(take(&engine, 2, mine, 0).unwrap_err().code, ErrorCode::NotServed);
    assert!(call(&engine, 2, api::WITHDRAW, &Handle { handle: mine }).is_err());
    assert!(asked.answer().is_none());
    take(&engine, 1, mine, number).unwrap();
    assert_eq!(asked.answer().unwrap().unwrap(), b"done");
}

#[test]
fn takes_get_requests_in_their_order_whoever_serves() {
    let engine = engine();
    let handles = [1, 2, 3].map(|session| serve(&engine, session, "pricing.quote"));
    let takes: Vec<_> = (1..)
        .zip(handles)
        .map(|(session, handle)| take(&engine, session, handle, 0).unwrap())
        .collect();
    for payload in [b"1", b"2", b"3"] {
        ask(&engine, payload).unwrap();
    }
    let got: Vec<_> = takes.iter().map(|take| take.taken().1).collect();
    assert_eq!(got, [b"1", b"2", b"3"]);
}

#[test]
fn the_end_of_a_server_interrupts_what_it_took_and_nothing_else() {
    let engine = engine();
    let (dies, lives) = (serve(&engine, 1, "pricing.quote"), serve(&engine, 2, "pricing.quote"));
    let taken = ask(&engine, b"taken").unwrap();
    take(&engine, 1, dies, 0).unwrap().taken();
    let waits = ask(&engine, b"waits").unwrap();
    engine.session_ended(1);
    assert_eq!(taken.code(), ErrorCode::Interrupted);
    assert!(waits.answer().is_none());
    assert_eq!(take(&engine, 2, lives, 0).unwrap().taken().1, b"waits");
    // A take of a dead session is passed over.
    let again = serve(&engine, 3, "pricing.quote");
    let dead = take(&engine, 3, again, 0).unwrap();
    dead.end();
    let next = ask(&engine, b"next").unwrap();
    assert!(next.answer().is_none());
    assert_eq!(take(&engine, 2, lives, 0).unwrap().taken().1, b"next");
    // With the last server, what waits is told so.
    let last = ask(&engine, b"last").unwrap();
    engine.session_ended(3);
    engine.session_ended(2);
    assert_eq!(last.code(), ErrorCode::NotServed);
    assert_eq!(next.code(), ErrorCode::Interrupted);
    assert_eq!(list(&engine).0, "", "nothing is kept of them");
}

#[test]
fn who_was_told_that_it_had_no_effect_is_never_given_to_anybody() {
    let engine = engine();
    let handle = serve(&engine, 1, "pricing.quote");
    let (ended, expired) = (ask(&engine, b"ended").unwrap(), ask(&engine, b"late").unwrap());
    let wanted = ask(&engine, b"wanted").unwrap();
    assert!(ended.end(), "told: no effect");
    expired.expired.store(1, Ordering::SeqCst);
    let (number, payload) = take(&engine, 1, handle, 0).unwrap().taken();
    assert_eq!(payload, b"wanted");
    assert_eq!(expired.code(), ErrorCode::Expired);
    let is_wanted = || {
        let which = Which { request: number };
        let (reply, _) = call(&engine, 1, api::WANTED, &which).unwrap();
        let Wanted { wanted, time_left_us } = Message::decode(&reply).unwrap();
        (wanted, time_left_us)
    };
    assert_eq!(is_wanted(), (true, 5000));
    assert!(!wanted.end(), "told: unknown");
    assert_eq!(is_wanted(), (false, 0));
    take(&engine, 1, handle, number).unwrap();
}

#[test]
fn a_request_may_wait_for_its_server() {
    let engine = engine();
    let request = Request { wait: true, name: "pricing.quote", payload: b"patient" };
    let (_, asked) = call(&engine, 99, api::CALL, &request).unwrap();
    let handle = serve(&engine, 1, "pricing.quote");
    call(&engine, 1, api::WITHDRAW, &Handle { handle }).unwrap();
    assert!(asked.answer().is_none());
    let handle = serve(&engine, 2, "pricing.quote");
    let (number, _) = take(&engine, 2, handle, 0).unwrap().taken();
    take(&engine, 2, handle, number).unwrap();
    assert_eq!(asked.answer().unwrap().unwrap(), b"done");
}

#[test]
fn nothing_is_kept_of_a_caller_that_is_gone() {
    let engine = engine();
    let request = Request { wait: true, name: "pricing.quote", payload: &[0; 900] };
    let (_, asked) = call(&engine, 99, api::CALL, &request).unwrap();
    assert_eq!(list(&engine).1, [0, 0, 1, 0, 0, 0]);
    engine.session_ended(99);
    assert_eq!(Arc::strong_count(&asked), 1, "the engine has let go");
    assert_eq!(list(&engine).0, "");
    call(&engine, 98, api::CALL, &request).unwrap();
}

#[test]
fn withdrawing_ends_the_takes_and_lets_answers_through() {
    let engine = engine();
    let handle = serve(&engine, 1, "pricing.quote");
    let asked = ask(&engine, b"x").unwrap();
    let (answers, _) = take(&engine, 1, handle, 0).unwrap().taken();
    let waits = take(&engine, 1, handle, 0).unwrap();
    call(&engine, 1, api::WITHDRAW, &Handle { handle }).unwrap();
    assert_eq!(waits.code(), ErrorCode::NotServed);
    // The answer arrives although there is no next.
    assert_eq!(take(&engine, 1, handle, answers).unwrap_err().code, ErrorCode::NotServed);
    assert_eq!(asked.answer().unwrap().unwrap(), b"done");
}

#[test]
fn who_may_serve_what() {
    let engine = engine();
    let code = |uid, name| match call_of(&engine, (1, uid), api::SERVE, &Serve { name }) {
        Ok(_) => None,
        Err(error) => Some(error.code),
    };
    assert_eq!(code(1000, "pricing.quote"), None);
    assert_eq!(code(1000, "quotes"), Some(ErrorCode::PermissionDenied));
    assert_eq!((code(500, "quotes"), code(0, "quotes")), (None, None));
    for name in ["system.echo", "system", "serving.call"] {
        assert_eq!(code(500, name), Some(ErrorCode::AlreadyExists), "{name}");
    }
    assert_eq!(code(500, "systems"), None);
    for name in ["", "A", "a b", "a*", &"a".repeat(65)] {
        assert_eq!(code(500, name), Some(ErrorCode::InvalidArgument), "{name}");
    }
}

#[test]
fn names_are_bounded() {
    let engine = engine();
    for at in 0..limits::SERVING_NAMES {
        serve(&engine, (at / limits::SERVING_HANDLES) as u64, &format!("name.{at}"));
    }
    let session = limits::SERVING_NAMES as u64;
    let more = Serve { name: "one.more" };
    assert_eq!(call(&engine, session, api::SERVE, &more).unwrap_err().code, ErrorCode::Quota);
    // Names that are asked for count, too; and one that is there takes nothing.
    let request = Request { wait: true, name: "one.more", payload: b"" };
    assert_eq!(call(&engine, 99, api::CALL, &request).unwrap_err().code, ErrorCode::Quota);
    serve(&engine, session, "name.0");
    engine.session_ended(1);
    serve(&engine, session, "one.more");
}

#[test]
fn everything_is_bounded() {
    let engine = engine();
    let handle = serve(&engine, 1, "pricing.quote");
    // Bytes: what is over makes room.
    let large = ask(&engine, &[0; 600]).unwrap();
    assert_eq!(ask(&engine, &[0; 600]).unwrap_err().code, ErrorCode::Backpressure);
    large.end();
    ask(&engine, &[0; 600]).unwrap();
    take(&engine, 1, handle, 0).unwrap().taken();
    for _ in 0..limits::SERVING_QUEUE {
        ask(&engine, b"").unwrap();
    }
    assert_eq!(ask(&engine, b"").unwrap_err().code, ErrorCode::Backpressure);
    for _ in 1..limits::SERVING_RUNNING {
        take(&engine, 1, handle, 0).unwrap();
    }
    let owes = take(&engine, 1, handle, 0).unwrap_err();
    assert_eq!(owes.code, ErrorCode::Backpressure, "{owes}");
    // Takes: dead ones make room.
    let other = serve(&engine, 2, "pricing.other");
    let takes: Vec<_> =
        (0..limits::SERVING_TAKES).map(|_| take(&engine, 2, other, 0).unwrap()).collect();
    assert_eq!(take(&engine, 2, other, 0).unwrap_err().code, ErrorCode::Backpressure);
    takes[3].end();
    take(&engine, 2, other, 0).unwrap();
    for at in 1..limits::SERVING_HANDLES {
        serve(&engine, 2, &format!("name.{at}"));
    }
    let many = call(&engine, 2, api::SERVE, &Serve { name: "one.more" }).unwrap_err();
    assert_eq!(many.code, ErrorCode::Quota);
}
