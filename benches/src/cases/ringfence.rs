//! Ringfence itself: calls through a daemon of the harness's own, and the same in this process.
//!
//! The daemon is this program again (role `daemon`) with a user's engine beside the built-in ones. Its
//! poller is pinned to the server's core; its workers may run anywhere, as in a real installation. Cases that
//! are about the daemon as it is shipped have one of their own (role `daemon-as-shipped`).

use std::cell::RefCell;
use std::hint::black_box;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use ringfence::{CallOptions, Client, Method};
use ringfence_protocol::limits::LINE_BYTES;
use ringfenced::{Call, Engine, EngineSchema, Error, MethodSchema, message};

use super::bulk::Bulk;
use super::steady::Steady;
use super::twin::{Timed, Twin};
use super::{Payload, check_echo};
use crate::BenchError;
use crate::harness::{Case, Context, Runner, Slice};
use crate::peer::{Peer, SERVER_CORE, say_ready};
use crate::place::Place;

message! {
    /// Whom to greet: 24 bytes, like the echo.
    struct Hello { times: u64, who: u64, why: u64 }
}

/// A user's own engine: what `daemon/examples/greeterd.rs` shows, with an answer of fixed layout.
struct Greeter;

impl Engine for Greeter {
    fn schema(&self) -> EngineSchema {
        let hello = MethodSchema::new::<Hello, Hello>(0, "hello", "Greets back.").idempotent();
        EngineSchema::new("greeter", "A user's own engine.", vec![hello])
    }

    fn call(&self, _op: u16, call: &mut Call<'_>) -> Result<(), Error> {
        let hello: Hello = call.request()?;
        call.reply(&hello);
        Ok(())
    }
}

/// Which daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// With the engines of the benchmarks; its poller has the server's core.
    Bench,
    /// With the built-in engines and the default configuration: nothing of it is pinned.
    AsShipped,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Bench => "daemon",
            Role::AsShipped => "daemon-as-shipped",
        }
    }
}

/// The daemon's half: serves below a directory, as the instance of its name, until it is killed or its input ends.
pub(super) fn serve(place: &str, role: Role) -> Result<(), BenchError> {
    let broken = |detail: String| BenchError::Peer { what: "daemon".into(), detail };
    // The harness pinned us; only the poller is meant to stay there.
    crate::peer::unpin()?;
    ringfenced::sigbus::install().map_err(|error| broken(error.to_string()))?;
    let dir = PathBuf::from(place);
    let mut config = ringfenced::config::Config::default();
    config.instance = instance_of(&dir);
    config.runtime_dir = dir;
    let builder = match role {
        Role::AsShipped => ringfenced::Daemon::builder().builtin_engines(),
        Role::Bench => {
            config.polling.cpus = Some(vec![SERVER_CORE as u32]);
            // A thousand silent sessions and a hot one are one user's.
            config.sessions.max = 2048;
            config.sessions.max_per_uid = 2048;
            config.engines.enable = vec!["system".into(), "bus".into()];
            with_engines()?.builtin_engines()
        }
    };
    let daemon = builder.build(config).map_err(|error| broken(error.to_string()))?;
    say_ready()?;
    std::thread::spawn(|| {
        // The harness holds the other end: when it is gone, so are we, in order.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGTERM);
    });
    daemon.run().map_err(|error| broken(error.to_string()))
}

/// Of a user's daemons no two may have one name: the folder's, which no other run has.
fn instance_of(dir: &Path) -> String {
    dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn with_engines() -> Result<ringfenced::Builder, BenchError> {
    // The engine that comes with the daemon, with a clock, shared with the twin.
    let limits = ringfence_core::vectors::Limits::default();
    let vectors = Arc::new(Timed::new(ringfence_core::vectors::Vectors::new(limits)));
    let twin = Twin::new(Arc::clone(&vectors))?;
    let builder = ringfenced::Daemon::builder().engine(vectors as Arc<dyn Engine>);
    Ok(builder.engine(Greeter).engine(Bulk).engine(Steady).engine(twin))
}

/// A running daemon; the one of role `Bench` is shared by all cases that need one.
pub struct Daemon {
    // Before its place: it ends in order, and leaves nothing to sweep.
    peer: Peer,
    place: Place,
}

impl Daemon {
    /// Starts one. Any number of them may run side by side.
    pub(super) fn start(exe: &Path, role: Role) -> Result<Self, BenchError> {
        let place = Place::new("bench")?;
        let dir = place.dir().to_string_lossy();
        let peer = Peer::spawn(exe, &[role.name(), &dir], Stdio::piped())?;
        Ok(Self { peer, place })
    }

    /// It may run.
    pub fn resume(&mut self) -> Result<(), BenchError> {
        self.peer.resume()
    }

    /// It stands still.
    pub fn pause(&mut self) -> Result<(), BenchError> {
        self.peer.pause()
    }

    /// Its name among this user's daemons.
    pub(super) fn instance(&self) -> String {
        instance_of(self.place.dir())
    }

    /// Its process.
    pub(super) fn pid(&self) -> nix::unistd::Pid {
        self.peer.pid()
    }

    /// The path of its control socket.
    #[must_use]
    pub fn target(&self) -> String {
        self.place.dir().join(self.instance()).join("control.sock").to_string_lossy().into_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.peer.finish();
    }
}

/// The one daemon of this run: started by the first case, ended with the last.
#[derive(Clone, Debug, Default)]
pub struct Shared(Rc<RefCell<Weak<RefCell<Daemon>>>>);

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Shared {
    /// The daemon.
    pub fn get(&self, context: &Context) -> Result<Rc<RefCell<Daemon>>, BenchError> {
        if let Some(daemon) = self.0.borrow().upgrade() {
            // Other cases may have left it standing still.
            daemon.borrow_mut().resume()?;
            return Ok(daemon);
        }
        let daemon = Rc::new(RefCell::new(Daemon::start(&context.exe, Role::Bench)?));
        *self.0.borrow_mut() = Rc::downgrade(&daemon);
        Ok(daemon)
    }
}

/// The cases, around one daemon.
#[must_use]
pub fn all(shared: &Shared) -> Vec<Box<dyn Case>> {
    let echo = |name, description, what, bytes| -> Box<dyn Case> {
        Box::new(Echo { name, description, what, bytes, shared: shared.clone() })
    };
    vec![
        echo("rust-echo", "Rust client.echo, 24 bytes, through the daemon", What::Echo, LINE_BYTES),
        echo("rust-echo-64", "the same of 64 bytes: two cache lines each way", What::Echo, 64),
        echo("rust-echo-200", "the same of 200 bytes: four cache lines each way", What::Echo, 200),
        echo(
            "greeter",
            "Rust call of a user's own engine, 24 bytes each way",
            What::Greeter,
            LINE_BYTES,
        ),
        echo(
            "rust-inproc-echo",
            "Rust client.echo, 24 bytes, target inproc:",
            What::Inproc,
            LINE_BYTES,
        ),
        Box::new(Connect { shared: shared.clone() }),
    ]
}

pub(super) fn client(target: &str) -> Result<Client, BenchError> {
    Client::builder().target(target).and_then(ringfence::Builder::connect).map_err(call_error)
}

pub(super) fn call_error(error: ringfence::Error) -> BenchError {
    BenchError::Peer { what: "call".into(), detail: error.to_string() }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Echo,
    Greeter,
    Inproc,
}

struct Echo {
    name: &'static str,
    description: &'static str,
    what: What,
    bytes: usize,
    shared: Shared,
}

impl Case for Echo {
    fn name(&self) -> &'static str {
        self.name
    }
    fn description(&self) -> &'static str {
        self.description
    }
    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let daemon = if self.what == What::Inproc { None } else { Some(self.shared.get(context)?) };
        let target =
            daemon.as_ref().map_or_else(|| "inproc:".into(), |daemon| daemon.borrow().target());
        let client = client(&target)?;
        let method = match self.what {
            What::Greeter => Some(client.method("greeter", "hello").map_err(call_error)?),
            _ => None,
        };
        Ok(Box::new(EchoRunner { client, method, bytes: self.bytes, daemon }))
    }
}

struct EchoRunner {
    client: Client,
    method: Option<Method>,
    bytes: usize,
    daemon: Option<Rc<RefCell<Daemon>>>,
}

impl EchoRunner {
    fn echo(&self, payload: &[u8]) -> Result<ringfence::Reply, ringfence::Error> {
        match &self.method {
            None => self.client.echo(payload),
            Some(method) => self.client.call(method, payload, &CallOptions::default()),
        }
    }
}

impl Runner for EchoRunner {
    fn check(&mut self) -> Result<(), BenchError> {
        check_echo(|payload: Payload| {
            let sent: Vec<u8> = payload.iter().flat_map(|word| word.to_le_bytes()).collect();
            let reply = self.echo(&sent).map_err(call_error)?;
            let mut words = reply.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
            Ok(std::array::from_fn(|_| words.next().unwrap_or(0)))
        })?;
        let sent: Vec<u8> = (0..self.bytes).map(|at| at as u8).collect();
        match self.echo(&sent).map_err(call_error)? {
            reply if reply == sent => Ok(()),
            reply => Err(BenchError::WrongAnswer {
                request: 0,
                expected: format!("{sent:?}"),
                got: format!("{reply:?}"),
            }),
        }
    }

    fn run(&mut self, samples: usize, slice: &mut Slice) -> Result<(), BenchError> {
        let payload = black_box(vec![7; self.bytes]);
        slice.time(samples, || self.echo(&payload)).map_err(call_error)
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.daemon.as_ref().map_or(Ok(()), |daemon| daemon.borrow_mut().resume())
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.daemon.as_ref().map_or(Ok(()), |daemon| daemon.borrow_mut().pause())
    }
}

/// A connect with its first answer, and a goodbye.
struct Connect {
    shared: Shared,
}

impl Case for Connect {
    fn name(&self) -> &'static str {
        "connect"
    }
    fn description(&self) -> &'static str {
        "Rust Client::connect, handshake and mapping included"
    }
    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let daemon = self.shared.get(context)?;
        let target = daemon.borrow().target();
        Ok(Box::new(ConnectRunner { daemon, target }))
    }
}

struct ConnectRunner {
    daemon: Rc<RefCell<Daemon>>,
    target: String,
}

impl Runner for ConnectRunner {
    fn check(&mut self) -> Result<(), BenchError> {
        client(&self.target)?.ping().map_err(call_error)
    }
    fn run(&mut self, samples: usize, slice: &mut Slice) -> Result<(), BenchError> {
        slice.time(samples, || client(&self.target))
    }
    fn resume(&mut self) -> Result<(), BenchError> {
        self.daemon.borrow_mut().resume()
    }
    fn pause(&mut self) -> Result<(), BenchError> {
        self.daemon.borrow_mut().pause()
    }
}
