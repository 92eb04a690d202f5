//! An echo of 24 bytes over a Unix socket pair, both sides spinning or both blocking.
//!
//! A stream socket: measured against sequenced packets in the same run, it was 5 % faster spinning
//! and 20 % faster blocking. The peer has its end as standard input: no path in any file system.

use std::hint::black_box;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use super::{Payload, check_echo};
use crate::BenchError;
use crate::harness::{Case, Context, Runner, Slice};
use crate::peer::{Peer, say_ready};
use crate::raw::PAYLOAD_WORDS;

const MESSAGE_BYTES: usize = PAYLOAD_WORDS * size_of::<u64>();
type Message = [u8; MESSAGE_BYTES];

/// Both sides ask the kernel again and again.
pub const SPIN: Unix = Unix { name: "unix-spin", spin: true };
/// Both sides sleep in the kernel.
pub const BLOCK: Unix = Unix { name: "unix-block", spin: false };

/// One of the two cases.
#[derive(Clone, Copy, Debug)]
pub struct Unix {
    name: &'static str,
    spin: bool,
}

impl Case for Unix {
    fn name(&self) -> &'static str {
        self.name
    }

    fn description(&self) -> &'static str {
        if self.spin {
            "Unix socket (STREAM, non-blocking), 24 bytes, both sides spin"
        } else {
            "Unix socket (STREAM), 24 bytes, both sides block"
        }
    }

    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let (ours, theirs) = UnixStream::pair()?;
        let peer = Peer::spawn(&context.exe, &[self.name], Stdio::from(OwnedFd::from(theirs)))?;
        let socket = Socket::new(ours, self.spin)?;
        Ok(Box::new(Client { socket, peer }))
    }
}

/// The server's half: echoes until the client hangs up.
pub(super) fn serve(case: Unix) -> Result<(), BenchError> {
    let mut socket = Socket::new(std::io::stdin().as_fd().try_clone_to_owned()?.into(), case.spin)?;
    say_ready()?;
    while let Some(message) = socket.receive()? {
        socket.send(&message)?;
    }
    Ok(())
}

struct Client {
    socket: Socket,
    peer: Peer,
}

impl Runner for Client {
    fn check(&mut self) -> Result<(), BenchError> {
        check_echo(|payload| Ok(payload_of(&self.socket.call(&message_of(payload))?)))
    }

    fn run(&mut self, samples: usize, slice: &mut Slice) -> Result<(), BenchError> {
        let message = black_box(message_of([1, 2, 3]));
        slice.time(samples, || self.socket.call(&message))
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.peer.resume()
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.peer.pause()
    }
}

/// One end.
struct Socket(UnixStream);

impl Socket {
    fn new(stream: UnixStream, spin: bool) -> Result<Self, BenchError> {
        stream.set_nonblocking(spin)?;
        Ok(Self(stream))
    }

    fn call(&mut self, message: &Message) -> Result<Message, BenchError> {
        self.send(message)?;
        let hung_up = || BenchError::Io(ErrorKind::UnexpectedEof.into());
        self.receive()?.ok_or_else(hung_up)
    }

    /// One request is under way at most, so the buffer is never full.
    fn send(&mut self, message: &Message) -> Result<(), BenchError> {
        Ok(self.0.write_all(message)?)
    }

    /// The next message; none after the other end was closed.
    fn receive(&mut self) -> Result<Option<Message>, BenchError> {
        let mut message = [0; MESSAGE_BYTES];
        let mut filled = 0;
        while filled < MESSAGE_BYTES {
            match self.0.read(&mut message[filled..]) {
                Ok(0) => return Ok(None),
                Ok(bytes) => filled += bytes,
                // Spinning, or stopped and continued between two turns.
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(Some(message))
    }
}

fn message_of(payload: Payload) -> Message {
    let mut message = [0; MESSAGE_BYTES];
    for (bytes, word) in message.chunks_exact_mut(size_of::<u64>()).zip(payload) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    message
}

fn payload_of(message: &Message) -> Payload {
    let mut words = message.as_chunks().0.iter().copied().map(u64::from_le_bytes);
    std::array::from_fn(|_| words.next().unwrap_or(0))
}
