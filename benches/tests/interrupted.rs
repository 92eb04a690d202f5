//! Benchmarks that are killed leave nothing behind: neither in /dev/shm nor in /tmp.
// Helpers of tests fail by panicking.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Whatever is waited for comes within this, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What lies in a directory and has this in its name.
fn named(dir: &Path, part: &str) -> usize {
    let names = std::fs::read_dir(dir).unwrap().flatten();
    names.filter(|entry| entry.file_name().to_string_lossy().contains(part)).count()
}

/// A harness, which does not outlive a test that fails.
struct Harness(Child);

impl Harness {
    fn kill(&mut self) {
        // It may have ended by itself, and is waited for in any case.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn what_was_its_daemons_is_swept() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interrupted");
    let harness = Command::new(env!("CARGO_BIN_EXE_ringfence-benches"))
        .args(["--only", "rust-echo", "--runs", "1000", "--out"])
        .arg(out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut harness = Harness(harness);
    let (shm, tmp) = (Path::new("/dev/shm"), std::env::temp_dir());
    let ours = format!("ringfence-bench-{}-", harness.0.id());
    eventually("a daemon of the harness's is there", || {
        named(shm, &ours) > 0 && named(&tmp, &ours) > 0
    });
    harness.kill();
    eventually("all of it is swept", || named(shm, &ours) + named(&tmp, &ours) == 0);
}
