//! A peer of the chaos test (`tests/chaos`): a publisher or a subscriber with the real client, one
//! process each, that writes down what it did until it is killed or its standard input ends.
//!
//! `bus_peer publish|subscribe SOCKET JOURNAL KEY`. It decides nothing about right and wrong: the test
//! reads the journals.

mod journal;
mod publish;
mod subscribe;

use std::error::Error;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use journal::{Journal, Record};
use ringfence::{Client, ErrorCode};

/// No longer than this without a daemon.
const PATIENCE: Duration = Duration::from_secs(20);

/// Standard input has ended: come to an end.
static OVER: AtomicBool = AtomicBool::new(false);

struct Peer {
    client: Client,
    journal: Journal,
    key: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [role, socket, journal, key] = args.as_slice() else {
        return Err("usage: bus_peer publish|subscribe SOCKET JOURNAL KEY".into());
    };
    std::thread::spawn(|| {
        let _ended = std::io::stdin().read(&mut [0]);
        OVER.store(true, Ordering::SeqCst);
    });
    let journal = Journal::create(Path::new(journal))?;
    let Some(client) = connect(socket)? else { return Ok(()) };
    let peer = Peer { client, journal, key: key.parse()? };
    match role.as_str() {
        "publish" => publish::run(&peer),
        _ => subscribe::run(&peer),
    }
}

/// The daemon may be dead for the moment. `None`: it is all over.
fn connect(socket: &str) -> Result<Option<Client>, ringfence::Error> {
    let since = Instant::now();
    while !is_over() {
        match Client::builder().socket(socket).connect() {
            Err(error) if is_restart(&error) && since.elapsed() < PATIENCE => pause(),
            connected => return connected.map(Some),
        }
    }
    Ok(None)
}

fn is_over() -> bool {
    OVER.load(Ordering::SeqCst)
}

fn pause() {
    std::thread::sleep(Duration::from_millis(2));
}

/// What a peer may see because the daemon is killed.
fn is_restart(error: &ringfence::Error) -> bool {
    matches!(error.code(), ErrorCode::DaemonRestarted | ErrorCode::DaemonUnavailable)
}

impl Peer {
    fn note(&self, record: &Record) -> std::io::Result<()> {
        self.journal.note(record)
    }

    fn unexpected(&self, doing: &str, error: &ringfence::Error) -> std::io::Result<()> {
        self.note(&Record::Unexpected { what: format!("{doing}: {:?}: {error}", error.code()) })
    }
}
