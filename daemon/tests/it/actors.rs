//! The other half of tests that need a second process: this test program again, as somebody else.
//!
//! [`play`] starts it, [`actor`] is what it then does. An actor that finds something else than it
//! should panics, so that its process fails.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::{crowds, foreigners, namespaces, stopped};

/// What to do.
const ROLE: &str = "RINGFENCE_TEST_ROLE";
/// The socket to connect to.
const SOCKET: &str = "RINGFENCE_TEST_SOCKET";
/// What begins a line that is meant for the test.
const SAYS: &str = "actor: ";

/// A process that plays; killed when it is dropped.
pub(crate) struct Actor {
    pub(crate) child: Child,
    out: BufReader<ChildStdout>,
}

/// Starts this program again, to play `role` with the daemon at `socket`.
pub(crate) fn play(role: &str, socket: &Path, prepare: impl FnOnce(&mut Command)) -> Actor {
    let mut command = Command::new(std::env::current_exe().unwrap());
    prepare(&mut command);
    start(command, role, socket)
}

/// The same under a program that becomes it, or waits for it.
pub(crate) fn play_under(wrapper: &[&str], role: &str, socket: &Path) -> Actor {
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(std::env::current_exe().unwrap());
    start(command, role, socket)
}

fn start(mut command: Command, role: &str, socket: &Path) -> Actor {
    let mut child = command
        .args(["--exact", "actors::actor", "--nocapture"])
        .env(ROLE, role)
        .env(SOCKET, socket)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    Actor { child, out }
}

/// Does nothing when it is not started by another test.
#[test]
fn actor() {
    let (Ok(role), Some(socket)) = (std::env::var(ROLE), std::env::var_os(SOCKET)) else { return };
    let socket = Path::new(&socket);
    match role.as_str() {
        "shut out" => foreigners::shut_out(socket),
        "refused" => foreigners::refused(socket),
        "admitted" => foreigners::admitted(socket),
        "member" => foreigners::member(socket),
        "busy user" => foreigners::busy_user(socket),
        "maker" => foreigners::maker(socket),
        "full maker" => foreigners::full_maker(socket),
        "crowd" => crowds::crowd(socket),
        "nameless" => namespaces::nameless(socket),
        "holder" => namespaces::holder(socket),
        "of another time" => namespaces::of_another_time(socket),
        "keeper" => stopped::keeper(socket),
        "pipeline" => stopped::pipeline(socket),
        other => panic!("no role is called {other:?}"),
    }
    say("done");
}

/// Tells the test that has started this actor. The line before is the test program's own.
pub(crate) fn say(word: &str) {
    println!("\n{SAYS}{word}");
}

impl Actor {
    /// Waits for what the actor says next.
    pub(crate) fn hear(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.out.read_line(&mut line).unwrap() > 0, "the actor ended");
            if let Some(word) = line.trim_end().strip_prefix(SAYS) {
                return word.to_owned();
            }
        }
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn finish(mut self) {
        let mut said = String::new();
        self.out.read_to_string(&mut said).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success() && said.contains(&format!("{SAYS}done")), "{status}: {said}");
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ = self.child.wait();
    }
}
