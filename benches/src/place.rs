//! Where a peer leaves its files: a directory of this run alone, whose name also begins whatever the peer puts
//! in /dev/shm.
//!
//! Invariant: both are gone when the place is dropped, and when this process is killed: a shell waits for our end of
//! its input. So peers may be killed, and nobody asks whether they clean up.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::BenchError;

/// Outlives an interrupt from the terminal: it is what cleans up after one. Names in /dev/shm are a rival's or
/// those of a daemon that is called like the directory (`ringfence.UID.INSTANCE.`).
const SWEEP: &str = r#"trap '' HUP INT TERM; read -r _
rm -rf -- "$1" "/dev/shm/${1##*/}".* /dev/shm/ringfence.*."${1##*/}".*"#;

/// A directory and a prefix.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    sweeper: Child,
}

impl Place {
    /// Makes one that no other run has. `whose` is part of its name.
    pub fn new(whose: &str) -> Result<Self, BenchError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = format!("ringfence-{whose}-{}-{nth}", std::process::id());
        let dir = std::env::temp_dir().join(dir);
        let sweeper = Command::new("sh")
            .args(["-c", SWEEP, "sweep"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let place = Self { dir, sweeper };
        std::fs::create_dir(&place.dir)?;
        Ok(place)
    }

    /// Its directory. Names in /dev/shm begin with the last part of it, and a dot.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.sweeper.stdin.take());
        // Whatever became of it, there is nobody left to tell.
        let _ = self.sweeper.wait();
    }
}
