//! The other end of some attacks: a client in a process of its own, which is this command with a hidden flag. It does
//! one step, and then kills or stops itself.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringfence_protocol::layout::{Header, slot};
use ringfence_protocol::memory::Memory as _;
use ringfence_protocol::ring::WakeBy;
use ringfence_protocol::sys::clock;
use ringfence_protocol::sys::socket::Conn;
use ringfence_protocol::wire::ClientMessage;

use super::attack::{Wrong, broken, must, patience};
use super::attacker::{Attacker, hear, hello, tell};
use super::attacks;

/// What it does before it is killed; it holds whatever that gave it.
type Step = fn(&Path) -> Result<Box<dyn std::any::Any>, Wrong>;

/// Steps at which it is killed.
pub(super) const DEATHS: &[(&str, Step)] = &[
    ("connected", |socket| Ok(Box::new(Conn::connect(socket, patience())?))),
    ("hello", |socket| {
        let conn = Conn::connect(socket, patience())?;
        tell(&conn, &hello("killed"))?;
        Ok(Box::new(conn))
    }),
    ("welcome", |socket| {
        let conn = Conn::connect(socket, patience())?;
        tell(&conn, &hello("killed"))?;
        let heard = hear(&conn)?;
        Ok(Box::new((conn, heard)))
    }),
    ("mapped", |socket| Ok(Box::new(Attacker::connect(socket)?))),
    ("written", |socket| {
        let client = Attacker::connect(socket)?;
        let at = client.slot_at(client.lane.next_ticket());
        client.up.store_words(at + slot::TICKET, Header::default().words());
        Ok(Box::new(client))
    }),
    ("submitted", |socket| {
        let mut client = Attacker::connect(socket)?;
        client.submit(client.echo_method(), b"nobody reads the answer")?;
        Ok(Box::new(client))
    }),
    ("parked", |socket| {
        let mut client = Attacker::connect(socket)?;
        let bell = &client.bell;
        let _nap = client.lane.park(WakeBy::Futex, || {
            // Nobody is left to tell.
            let _ = bell.ring();
        });
        Ok(Box::new(client))
    }),
    ("answered", |socket| {
        let mut client = Attacker::connect(socket)?;
        client.submit(client.echo_method(), b"seen, and not collected")?;
        while client.lane.peek()?.is_none() {
            std::thread::yield_now();
        }
        Ok(Box::new(client))
    }),
    ("lease", |socket| {
        let mut client = Attacker::connect(socket)?;
        let payload = [7; 5000];
        let block = client.lane.place(&payload).ok_or(Wrong::NotLanded("no block".into()))?;
        let method = client.echo_method();
        client.publish(Header { method, len: 5000, block, ..Header::default() }, &[])?;
        while client.lane.peek()?.is_none() {
            std::thread::yield_now();
        }
        client.collect()?;
        Ok(Box::new(client))
    }),
    ("bulk", |socket| {
        let mut client = Attacker::connect(socket)?;
        let (segment, memory, fd) = client.open_bulk(1 << 20)?;
        let (method, block) = (client.echo_method(), segment << 24 | 1);
        client.publish(Header { method, len: 1 << 20, block, ..Header::default() }, &[])?;
        Ok(Box::new((client, memory, fd)))
    }),
    ("lanes", |socket| {
        let client = Attacker::connect(socket)?;
        for message in [ClientMessage::OpenLane, ClientMessage::OpenWaker, ClientMessage::OpenBoard]
        {
            tell(&client.conn, &message)?;
        }
        let heard = (hear(&client.conn)?, hear(&client.conn)?);
        Ok(Box::new((client, heard)))
    }),
    ("waiting", |socket| {
        let mut client = Attacker::connect(socket)?;
        match attacks::waiting(&mut client, clock::NONE) {
            Ok(_) | Err(Wrong::Skipped(_)) => Ok(Box::new(client)),
            Err(wrong) => Err(wrong),
        }
    }),
    ("subscribed", |socket| {
        let mut client = Attacker::connect(socket)?;
        match attacks::subscribed(&mut client) {
            Ok(()) | Err(Wrong::Skipped(_)) => Ok(Box::new(client)),
            Err(wrong) => Err(wrong),
        }
    }),
];

/// It stops itself with calls in flight; once it goes on it reads their answers.
pub(super) const STOPS: &str = "stops";
/// It is killed, and a child of it keeps its socket.
pub(super) const LEAVES_A_CHILD: &str = "leaves-a-child";
/// That child.
const HOLDS: &str = "holds";

/// Does a step. Comes back only if it could not, or if the step is one that ends.
pub(super) fn run(step: &str, socket: &Path) -> Result<(), Wrong> {
    match step {
        STOPS => return stops(socket),
        HOLDS => return holds(),
        LEAVES_A_CHILD => return leaves_a_child(socket),
        _ => {}
    }
    let Some((_, act)) = DEATHS.iter().find(|(name, _)| *name == step) else {
        return broken(format!("there is no step `{step}`"));
    };
    let _held = act(socket)?;
    die()
}

fn die() -> Result<(), Wrong> {
    kill(Pid::this(), Signal::SIGKILL)?;
    broken("SIGKILL did nothing")
}

fn stops(socket: &Path) -> Result<(), Wrong> {
    let mut client = Attacker::connect(socket)?;
    let echo = client.echo_method();
    for call in 0..client.slots() {
        client.submit(echo, &call.to_le_bytes())?;
    }
    kill(Pid::this(), Signal::SIGSTOP)?;
    for call in 0..client.slots() {
        let (_, answer) = client.take()?;
        must(answer == Ok(call.to_le_bytes().to_vec()), || format!("answer {call}: {answer:?}"))?;
    }
    client.echo(b"as if nothing had been")
}

fn leaves_a_child(socket: &Path) -> Result<(), Wrong> {
    let mut client = Attacker::connect(socket)?;
    client.echo(b"still alive")?;
    // The child's standard error is the socket; its input ends when the attack does.
    let held: OwnedFd = client.conn.as_fd().try_clone_to_owned()?;
    Command::new(std::env::current_exe()?)
        .args(["torture", "--peer", HOLDS, "--at"])
        .arg(socket)
        .stderr(Stdio::from(held))
        .spawn()?;
    die()
}

fn holds() -> Result<(), Wrong> {
    let mut out = std::io::stdout();
    out.write_all(b"holds\n")?;
    out.flush()?;
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    out.write_all(b"held\n")?;
    Ok(out.flush()?)
}
