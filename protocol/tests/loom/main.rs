//! loom on the shipped rings: every interleaving, and every value that a Relaxed load may return,
//! within three preemptions (two for the longest model).
//!
//! Each model runs as it ships and must pass; then once without each ordering that it is about (a
//! letter of the table in `ring/mod.rs`, `ring/listening.rs` or `log/mod.rs`), and must fail, for the
//! reason given: otherwise the model could not tell whether the ordering is there. Only lanes, logs and
//! the board are under test: bell and futex are stand-ins with the guarantees of eventfd and futex(2).
#![allow(unsafe_code, clippy::unwrap_used)]

mod board;
mod cursor;
mod kill;
mod ledger;
mod listening;
mod log;
mod memory;
mod sleep;

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use loom::thread;
use memory::{GEOMETRY, Letter, LoomMemory};
use ringfence_protocol::layout::{Header, down};
use ringfence_protocol::ring::{ClientLane, Nap, Peek, Request, ServerLane, WakeBy, initialise};
use sleep::{Bell, Futex};

type Client = ClientLane<LoomMemory, LoomMemory>;
type Server = ServerLane<LoomMemory, LoomMemory>;

/// The last positions before the 32-bit boundary: the models cross it.
const START: u64 = (1 << 32) - 1;

fn lane(without: Option<Letter>) -> (Client, Server) {
    let [client_up, daemon_up] = LoomMemory::up(without);
    let [client_down, daemon_down] = LoomMemory::down(without);
    initialise(&client_up, &daemon_down, GEOMETRY, START);
    let server = ServerLane::new(daemon_up, daemon_down, GEOMETRY, START, 1);
    (ClientLane::new(client_up, client_down, GEOMETRY, START).unwrap(), server)
}

/// What a request and its answer carry: different for each ticket.
fn payload(ticket: u64) -> [u8; 8] {
    (ticket ^ 0x5a5a).to_le_bytes()
}

fn submit(client: &mut Client) -> bool {
    let body = payload(client.next_ticket());
    client.submit(Header { len: 8, ..Header::default() }, &body).is_ok()
}

/// Takes an answer if one is there, and checks that it is the next one in order. Its bell is
/// dropped.
fn take(client: &mut Client, expected: u64) -> bool {
    let Some(header) = client.peek().expect("the daemon is honest") else { return false };
    let mut body = [0; 8];
    client.read(header, &mut body);
    assert_eq!((header.ticket, body), (expected, payload(expected)));
    true
}

fn next(server: &mut Server) -> Option<(Request, [u8; 8])> {
    let Peek::Request(request) = server.peek().expect("the client is honest") else { return None };
    let mut body = [0; 8];
    server.read(&request, &mut body);
    assert_eq!(body, payload(request.ticket), "a request is read as it was written");
    Some((request, body))
}

fn answer_to(request: &Request) -> Header {
    Header { ticket: request.ticket, len: 8, ..Header::default() }
}

fn serve(server: &mut Server) -> bool {
    let Some((request, body)) = next(server) else { return false };
    server.claim();
    server.answer(answer_to(&request), &body);
    server.release();
    true
}

/// Serves one request, and sleeps by the bell while there is none.
fn serve_or_sleep(server: &mut Server, rung: &Bell) {
    while !serve(server) {
        if server.park().expect("the client is honest") {
            rung.wait();
            server.unpark();
        }
    }
}

fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        thread::yield_now();
    }
}

/// A scenario, to be run without one of its orderings or with all.
type Model<L> = fn(Option<L>);

/// What a model can go without: a letter of one of the tables.
trait Canary: Copy + Debug + Send + Sync + 'static {}
impl<L: Copy + Debug + Send + Sync + 'static> Canary for L {}

/// Runs every execution of a model with up to `bound` preemptions; the message of the first that
/// fails.
fn explore<L: Canary>(model: Model<L>, bound: usize, without: Option<L>) -> Result<(), String> {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.max_branches = 10_000;
    // Loom leaves its thread-local state in disorder when a model fails, so each has a thread.
    let run = move || catch_unwind(AssertUnwindSafe(|| builder.check(move || model(without))));
    let outcome = std::thread::spawn(run).join().expect("the panic was caught");
    outcome.map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map_or(String::new(), |text| text.to_string()),
    })
}

/// The model passes as shipped and fails, with `why` in its message, without each of `letters`.
fn prove<L: Canary>(model: Model<L>, why: &str, letters: &[L]) {
    prove_within(3, model, why, letters);
}

fn prove_within<L: Canary>(bound: usize, model: Model<L>, why: &str, letters: &[L]) {
    assert_eq!(explore(model, bound, None), Ok(()), "the shipped orderings");
    for letter in letters {
        let failure =
            explore(model, bound, Some(*letter)).expect_err(&format!("without {letter:?}"));
        assert!(failure.contains(why), "without {letter:?}: {failure}");
    }
}

const RACE: &str = "Causality violation";
const ASLEEP_FOR_EVER: &str = "deadlock";

/// Two requests, answered in place and collected while the other side goes on.
#[test]
fn a_b_c_d_what_is_published_is_what_is_read() {
    fn model(without: Option<Letter>) {
        let (mut client, mut server) = lane(without);
        let daemon = thread::spawn(move || (0..2).for_each(|_| until(|| serve(&mut server))));
        for _ in 0..2 {
            assert!(submit(&mut client));
        }
        for ticket in START..START + 2 {
            until(|| take(&mut client, ticket));
            client.collect();
        }
        daemon.join().unwrap();
    }
    prove(model, RACE, &[Letter::A, Letter::B, Letter::C, Letter::D]);
}

/// Both submission slots are full; the daemon gives one back. (Where it moves a request into its table the
/// fence before the entry's words would do as well as E.)
#[test]
fn e_f_a_slot_is_reused_only_after_the_daemon_has_read_it() {
    fn model(without: Option<Letter>) {
        let (mut client, mut server) = lane(without);
        assert!(submit(&mut client) && submit(&mut client));
        assert!(!submit(&mut client), "full");
        let daemon = thread::spawn(move || assert!(serve(&mut server)));
        until(|| submit(&mut client));
        daemon.join().unwrap();
    }
    prove(model, RACE, &[Letter::E, Letter::F]);
}

/// Both completion slots hold answers that were not read, a third request waits for credit.
#[test]
fn g_h_an_answer_is_overwritten_only_after_it_was_read() {
    fn model(without: Option<Letter>) {
        let (mut client, mut server) = lane(without);
        for _ in 0..2 {
            assert!(submit(&mut client) && serve(&mut server));
        }
        assert!(submit(&mut client));
        assert_eq!(server.peek(), Ok(Peek::NoCredit));
        let daemon = thread::spawn(move || until(|| serve(&mut server)));
        for ticket in START..START + 3 {
            until(|| take(&mut client, ticket));
            client.collect();
        }
        daemon.join().unwrap();
    }
    prove(model, RACE, &[Letter::G, Letter::H]);
}

/// The reply arena has one block, and both answers need it.
#[test]
fn m_n_a_reply_block_is_rewritten_only_after_it_was_given_back() {
    fn model(without: Option<Letter>) {
        let (mut client, mut server) = lane(without);
        assert!(submit(&mut client) && submit(&mut client));
        let first = serve_by_block(&mut server);
        assert!(first);
        let daemon = thread::spawn(move || until(|| serve_by_block(&mut server)));
        for ticket in START..START + 2 {
            until(|| take(&mut client, ticket));
            client.collect();
        }
        daemon.join().unwrap();
    }
    prove(model, RACE, &[Letter::M, Letter::N]);
}

/// As [`serve`], with the answer in the arena. `false` also while the client holds the block.
fn serve_by_block(server: &mut Server) -> bool {
    let Some((request, body)) = next(server) else { return false };
    let Some(block) = server.place(&body, request.ticket) else { return false };
    server.claim();
    server.answer(Header { block, ..answer_to(&request) }, &[]);
    server.release();
    true
}

/// The daemon sleeps by the bell. It has no credit for the third request at first, so it may go to
/// sleep for two reasons: nothing submitted, and nothing collected.
#[test]
fn i_j_a_sleeping_daemon_is_woken_for_requests_and_for_credit() {
    fn model(without: Option<Letter>) {
        let (mut client, mut server) = lane(without);
        for _ in 0..2 {
            assert!(submit(&mut client) && serve(&mut server));
        }
        let bell = Bell::new();
        let rung = bell.clone();
        let daemon = thread::spawn(move || {
            serve_or_sleep(&mut server, &rung);
        });
        assert!(submit(&mut client));
        if client.bell_due() {
            bell.ring();
        }
        assert!(take(&mut client, START));
        if client.collect() {
            bell.ring();
        }
        daemon.join().unwrap();
    }
    prove(model, ASLEEP_FOR_EVER, &[Letter::I, Letter::J]);
}

/// As a batch rings: it looks before the fence, then takes an answer, and only then asks with the fence. What the first
/// look misses the second finds, and whoever is rung for by the first finds the request.
#[test]
fn i_j_a_look_before_the_fence_loses_no_bell() {
    fn model(without: Option<Letter>) {
        let (mut client, mut server) = lane(without);
        assert!(submit(&mut client) && serve(&mut server));
        let bell = Bell::new();
        let rung = bell.clone();
        let daemon = thread::spawn(move || {
            serve_or_sleep(&mut server, &rung);
        });
        assert!(submit(&mut client));
        if client.bell_due_unfenced() {
            bell.ring();
        }
        assert!(take(&mut client, START));
        if client.bell_due() {
            bell.ring();
        }
        daemon.join().unwrap();
    }
    prove(model, ASLEEP_FOR_EVER, &[Letter::I, Letter::J]);
}

/// The client sleeps by its futex, twice.
#[test]
fn k_l_a_sleeping_client_is_woken_for_its_answers() {
    fn model(without: Option<Letter>) {
        let (mut client, mut server) = lane(without);
        assert!(submit(&mut client) && submit(&mut client));
        let futex = Futex::new();
        let waker = futex.clone();
        let daemon = thread::spawn(move || {
            for _ in 0..2 {
                assert!(serve(&mut server));
                if server.wake_due().is_some() {
                    waker.wake();
                }
            }
        });
        for ticket in START..START + 2 {
            while !take(&mut client, ticket) {
                let nap = client.park(WakeBy::Futex, || unreachable!("the daemon never sleeps"));
                if let Nap::Sleep { wake } = nap {
                    futex.wait(client.down(), down::WAKE, wake);
                    client.unpark();
                }
            }
            client.collect();
        }
        daemon.join().unwrap();
    }
    prove(model, ASLEEP_FOR_EVER, &[Letter::K, Letter::L]);
}

/// Both sides sleep whenever they find nothing, and two answers are all that the client is owed:
/// the whole of section P at once.
#[test]
fn p_two_sleepers_wake_each_other() {
    fn model(without: Option<Letter>) {
        let (mut client, mut server) = lane(without);
        let (bell, futex) = (Bell::new(), Futex::new());
        let (rung, waker) = (bell.clone(), futex.clone());
        let daemon = thread::spawn(move || {
            for _ in 0..2 {
                serve_or_sleep(&mut server, &rung);
                if server.wake_due().is_some() {
                    waker.wake();
                }
            }
        });
        for ticket in START..START + 2 {
            assert!(submit(&mut client));
            if client.bell_due() {
                bell.ring();
            }
            while !take(&mut client, ticket) {
                if let Nap::Sleep { wake } = client.park(WakeBy::Futex, || bell.ring()) {
                    futex.wait(client.down(), down::WAKE, wake);
                    client.unpark();
                }
            }
            if client.collect() {
                bell.ring();
            }
        }
        daemon.join().unwrap();
    }
    prove(model, ASLEEP_FOR_EVER, &[Letter::I, Letter::J, Letter::K, Letter::L]);
}

/// A pipeline of four requests over two slots: each position of both rings is used twice, while the
/// client runs ahead as far as slots and credit let it.
#[test]
fn f_a_pipeline_that_wraps_keeps_every_promise() {
    fn model(without: Option<Letter>) {
        let (mut client, mut server) = lane(without);
        let daemon = thread::spawn(move || (0..4).for_each(|_| until(|| serve(&mut server))));
        let (mut sent, mut taken) = (0, 0);
        until(|| {
            while sent < 4 && submit(&mut client) {
                sent += 1;
            }
            if take(&mut client, START + taken) {
                client.collect();
                taken += 1;
            }
            taken == 4
        });
        daemon.join().unwrap();
    }
    let letters = [Letter::A, Letter::B, Letter::C, Letter::D, Letter::G, Letter::H];
    prove_within(2, model, RACE, &letters);
}
