//! What is there and back, whatever carries it; and where iceoryx2 puts its files: into a place that is swept, so that
//! nothing here cleans up.
//!
//! As in its own benchmarks: memory for the next message is loaned while waiting for the answer to the last, and both
//! sides poll without a pause. What is sent is written each time, and read from where it lies.

use std::fmt::Debug;
use std::hint::black_box;
use std::path::Path as Dir;
use std::process::Stdio;

use iceoryx2::prelude::{
    Config, FileName, LogLevel, Node, NodeBuilder, Path, SemanticString as _, SignalHandlingMode,
    ipc, set_log_level,
};
use ringfence_benches::BenchError;
use ringfence_benches::cases::check_echo;
use ringfence_benches::harness::{Context, Runner, Slice};
use ringfence_benches::peer::{Peer, say_ready};
use ringfence_benches::place::Place;

use super::Iceoryx2;

pub(super) type Ipc = ipc::Service;

/// Which half; they start in this order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Near,
    Far,
}

impl Side {
    /// Of two services, the one it sends by and the one it receives by.
    pub(super) fn services(self) -> [&'static str; 2] {
        match self {
            Side::Near => ["there", "back"],
            Side::Far => ["back", "there"],
        }
    }
}

/// One side's way to send and to receive.
pub(super) trait Port<const N: usize>: Sized {
    fn open(node: &Node<Ipc>, side: Side) -> Result<Self, BenchError>;
    /// Gets memory for what is sent next.
    fn loan(&mut self) -> Result<(), BenchError>;
    fn send(&mut self, payload: [u64; N]) -> Result<(), BenchError>;
    /// What has come, if anything has.
    fn look(&mut self) -> Result<Option<[u64; N]>, BenchError>;

    #[inline]
    fn wait(&mut self) -> Result<[u64; N], BenchError> {
        loop {
            if let Some(payload) = self.look()? {
                return Ok(payload);
            }
        }
    }
}

/// The near half. Dropped from the top: nobody is left to write when the place is swept.
pub(super) struct Near<P, const N: usize> {
    port: P,
    peer: Peer,
    _place: Place,
}

impl<P: Port<N> + 'static, const N: usize> Near<P, N> {
    /// Opens it and starts the far half.
    pub(super) fn start(case: Iceoryx2, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let place = Place::new("rivals")?;
        let port = P::open(&node(place.dir())?, Side::Near)?;
        let args = [case.name, &place.dir().to_string_lossy()];
        let peer = Peer::spawn(&context.exe, &args, Stdio::null())?;
        Ok(Box::new(Self { port, peer, _place: place }))
    }

    #[inline]
    fn echo(&mut self, payload: [u64; N]) -> Result<[u64; N], BenchError> {
        self.port.send(payload)?;
        self.port.loan()?;
        self.port.wait()
    }
}

impl<P: Port<N> + 'static, const N: usize> Runner for Near<P, N> {
    fn check(&mut self) -> Result<(), BenchError> {
        self.port.loan()?;
        check_echo(|payload| self.echo(payload))
    }

    fn run(&mut self, samples: usize, slice: &mut Slice) -> Result<(), BenchError> {
        let payload = black_box([7; N]);
        slice.time(samples, || self.echo(payload))
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.peer.resume()
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.peer.pause()
    }
}

/// The far half.
pub(super) fn answer<P: Port<N>, const N: usize>(dir: &Dir) -> Result<(), BenchError> {
    let mut port = P::open(&node(dir)?, Side::Far)?;
    say_ready()?;
    loop {
        port.loan()?;
        let payload = port.wait()?;
        port.send(payload)?;
    }
}

fn node(dir: &Dir) -> Result<Node<Ipc>, BenchError> {
    set_log_level(LogLevel::Error);
    let mut config = Config::default();
    let root = Path::new(dir.as_os_str().as_encoded_bytes()).map_err(told)?;
    config.global.set_root_path(&root);
    let mut prefix = dir.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
    prefix.push(b'.');
    config.global.prefix = FileName::new(&prefix).map_err(told)?;
    let builder = NodeBuilder::new().config(&config);
    builder.signal_handling_mode(SignalHandlingMode::Disabled).create().map_err(told)
}

/// Its errors are many enums; here they only end a case.
#[cold]
pub(super) fn told(error: impl Debug) -> BenchError {
    BenchError::Peer { what: String::from("iceoryx2"), detail: format!("{error:?}") }
}

/// Something was sent before there was memory for it: a mistake in this program.
#[cold]
pub(super) fn no_loan() -> BenchError {
    told("sent without a loan")
}
