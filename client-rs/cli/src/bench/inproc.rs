//! An echo in one process, measured by the daemon's own binary: this command has no engine in it.
//!
//! Each turn runs `ringfenced --measure-echo` once, so that it sees the same phases of the machine as the
//! other cases. It does *not* talk to the daemon that serves.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// What a process may take to start and to end, beside what it measures.
const PATIENCE: Duration = Duration::from_secs(5);

/// The binary, or why it measures nothing.
pub(super) struct Inproc {
    binary: PathBuf,
    broken: Option<String>,
}

impl Inproc {
    /// The binary that a client would start.
    pub(super) fn find() -> Self {
        Self { binary: ringfence::daemon_binary(), broken: None }
    }

    /// Why there are no samples.
    pub(super) fn reason(&self) -> Option<String> {
        let binary = self.binary.display();
        self.broken.as_ref().map(|why| format!("{binary} did not measure it: {why}"))
    }

    /// Echoes for so long; once it did not work it is not tried again.
    pub(super) fn turn(&mut self, turn: Duration, samples_ns: &mut Vec<u64>) {
        if self.broken.is_some() {
            return;
        }
        match self.measure(turn) {
            Ok(mut samples) => samples_ns.append(&mut samples),
            Err(why) => self.broken = Some(why),
        }
    }

    fn measure(&self, turn: Duration) -> Result<Vec<u64>, String> {
        let milliseconds = turn.as_millis().clamp(1, 10_000).to_string();
        let child = Command::new(&self.binary)
            .args(["--measure-echo", &milliseconds])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let printed = output(child, turn + PATIENCE)?;
        serde_json::from_slice(&printed).map_err(|_| "it is of another version".into())
    }
}

/// What it printed. Whatever is named `ringfenced` there, it ends.
fn output(mut child: Child, within: Duration) -> Result<Vec<u8>, String> {
    let Some(mut stdout) = child.stdout.take() else { return Err("no pipe".into()) };
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut printed = Vec::new();
        let read = stdout.read_to_end(&mut printed).map(|_| printed);
        // Nobody listens any more once the time is over.
        let _ = sender.send(read);
    });
    let printed = receiver.recv_timeout(within);
    // It has ended, or it has to.
    let _ = child.kill();
    let _ = child.wait();
    let _ = reader.join();
    match printed {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it took more than {within:?}")),
    }
}
