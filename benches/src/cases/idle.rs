//! A daemon with nothing to do: what it costs, what the first call after a pause costs, and its memory.
//!
//! CPU time is the kernel's account of the daemon's process (its CPU clock: user and system time of all its
//! threads, not rounded to ticks). Memory is the kernel's too, from the daemon's `smaps`.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use ringfence::Client;
use ringfence_protocol::names::SHM_DIR;

use super::ringfence::{Daemon, Role, Shared, call_error, client};
use crate::BenchError;
use crate::harness::{Case, Context, Few, Runner, Slice};

const SILENT: usize = 100;
/// Of cases that sleep before each sample.
pub(super) const AFTER_PAUSES: Few = Few { turns: 10, samples: 2 };
const ONCE: Few = Few { turns: 1, samples: 1 };
/// How long the daemon is watched.
const WATCHED: Duration = Duration::from_secs(2);
/// Long after the daemon has parked, which it does within two milliseconds.
pub(super) const PAUSE: Duration = Duration::from_millis(50);
/// Sessions whose memory is counted: enough to make pages of the heap that they share count for little.
const COUNTED_SESSIONS: usize = 50;

/// Of `st_blocks`, whatever the file system (stat(2)).
const BLOCK_BYTES: u64 = 512;

/// The cases.
#[must_use]
pub fn all(shared: &Shared) -> Vec<Box<dyn Case>> {
    vec![
        Box::new(FirstCall { pinned: None }),
        Box::new(FirstCall { pinned: Some(shared.clone()) }),
        Box::new(Idle),
        Box::new(Memory),
    ]
}

/// CPU time of a process so far.
fn cpu_time(pid: Pid) -> Result<Duration, BenchError> {
    let time = clock_getcpuclockid(pid).and_then(clock_gettime);
    let time = time.map_err(|source| BenchError::Os { what: "the daemon's CPU clock", source })?;
    Ok(time.into())
}

/// The share of a core that a process takes while we sleep.
fn share_of_a_core(pid: Pid, watched: Duration) -> Result<f64, BenchError> {
    let (before, since) = (cpu_time(pid)?, Instant::now());
    std::thread::sleep(watched);
    let (used, passed) = (cpu_time(pid)?.saturating_sub(before), since.elapsed());
    Ok(used.as_secs_f64() / passed.as_secs_f64())
}

struct Idle;

impl Case for Idle {
    fn name(&self) -> &'static str {
        "idle-daemon"
    }
    fn description(&self) -> &'static str {
        "a daemon with 100 connected, silent sessions: its user and system time over 2 s, as a share of a core"
    }
    fn few(&self) -> Option<Few> {
        Some(ONCE)
    }
    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let (daemon, clients) = silent(context)?;
        Ok(Box::new(Silence { clients, daemon, share: None }))
    }
}

/// A daemon as it is shipped, and its silent sessions.
fn silent(context: &Context) -> Result<(Daemon, Vec<Client>), BenchError> {
    let daemon = Daemon::start(&context.exe, Role::AsShipped)?;
    let clients = (0..SILENT).map(|_| client(&daemon.target()));
    let clients = clients.collect::<Result<_, _>>()?;
    Ok((daemon, clients))
}

struct Silence {
    clients: Vec<Client>,
    daemon: Daemon,
    share: Option<f64>,
}

impl Runner for Silence {
    /// All of them are connected, and served.
    fn check(&mut self) -> Result<(), BenchError> {
        self.clients.iter().try_for_each(Client::ping).map_err(call_error)?;
        let sessions = self.clients[0].stats().map_err(call_error)?.sessions;
        if sessions == SILENT as u64 {
            return Ok(());
        }
        let (expected, got) = (format!("{SILENT} sessions"), format!("{sessions}"));
        Err(BenchError::WrongAnswer { request: 0, expected, got })
    }

    fn run(&mut self, _samples: usize, _slice: &mut Slice) -> Result<(), BenchError> {
        // It stood still until now: let it catch up, and park again after these calls.
        self.check()?;
        std::thread::sleep(PAUSE);
        self.share = Some(share_of_a_core(self.daemon.pid(), WATCHED)?);
        Ok(())
    }

    fn scalars(&mut self) -> Vec<(&'static str, f64)> {
        self.share
            .take()
            .map(|share| ("idle-daemon % of a core", share * 100.0))
            .into_iter()
            .collect()
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.daemon.resume()
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.daemon.pause()
    }
}

/// A call whose daemon has to be woken: where the kernel likes, or on a core that sleeps as well.
struct FirstCall {
    pinned: Option<Shared>,
}

impl Case for FirstCall {
    fn name(&self) -> &'static str {
        if self.pinned.is_some() { "first-call-apart" } else { "first-call" }
    }
    fn description(&self) -> &'static str {
        if self.pinned.is_some() {
            "the same of a daemon that is pinned to the other core, which sleeps, too"
        } else {
            "Rust client.echo, 24 bytes, after the client slept for 50 ms and the daemon has parked, with 100 silent sessions; nobody pinned the daemon"
        }
    }
    fn few(&self) -> Option<Few> {
        Some(AFTER_PAUSES)
    }
    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let (daemon, silent) = match &self.pinned {
            Some(shared) => (shared.get(context)?, Vec::new()),
            None => {
                let (daemon, silent) = silent(context)?;
                (Rc::new(RefCell::new(daemon)), silent)
            }
        };
        let client = client(&daemon.borrow().target())?;
        Ok(Box::new(Sleeper { client, _silent: silent, daemon }))
    }
}

struct Sleeper {
    client: Client,
    _silent: Vec<Client>,
    daemon: Rc<RefCell<Daemon>>,
}

impl Runner for Sleeper {
    /// The daemon does park: else this would be `rust-echo` once more.
    fn check(&mut self) -> Result<(), BenchError> {
        self.run(1, &mut Slice::default())?;
        std::thread::sleep(PAUSE / 2);
        let share = share_of_a_core(self.daemon.borrow().pid(), PAUSE / 2)?;
        if share < 0.1 {
            return Ok(());
        }
        let (expected, got) = ("a daemon that has parked".into(), format!("{share:.2} of a core"));
        Err(BenchError::WrongAnswer { request: 0, expected, got })
    }

    fn run(&mut self, samples: usize, slice: &mut Slice) -> Result<(), BenchError> {
        for _ in 0..samples {
            std::thread::sleep(PAUSE);
            slice.time(1, || self.client.echo(&[7; 24])).map_err(call_error)?;
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.daemon.borrow_mut().resume()
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.daemon.borrow_mut().pause()
    }
}

struct Memory;

impl Case for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }
    fn description(&self) -> &'static str {
        "a fresh daemon with the built-in engines: base is what it has written before the first session (Private_Dirty \
         of all its mappings, anonymous memory and its board included); a session is what 50 idle ones with one lane \
         each add: the blocks of their segments in /dev/shm, and Private_Dirty of all else"
    }
    fn few(&self) -> Option<Few> {
        Some(ONCE)
    }
    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        Ok(Box::new(Scales { exe: context.exe.clone(), figures: Vec::new() }))
    }
}

struct Scales {
    exe: PathBuf,
    figures: Vec<(&'static str, f64)>,
}

impl Runner for Scales {
    /// One round of it, which compares the kernel's sizes with what the daemon accounts for.
    fn check(&mut self) -> Result<(), BenchError> {
        self.run(1, &mut Slice::default())
    }

    fn run(&mut self, _samples: usize, _slice: &mut Slice) -> Result<(), BenchError> {
        let daemon = Daemon::start(&self.exe, Role::AsShipped)?;
        let before = Footprint::of(&daemon)?;
        let clients = (0..COUNTED_SESSIONS).map(|_| client(&daemon.target()));
        let clients: Vec<_> = clients.collect::<Result<_, _>>()?;
        clients.iter().try_for_each(Client::ping).map_err(call_error)?;
        let after = Footprint::of(&daemon)?;
        let segments = after.segments.saturating_sub(before.segments);
        self.compare(&clients, segments)?;
        let added = segments + after.private.saturating_sub(before.private);
        self.figures = vec![
            ("memory-base MiB", before.written as f64 / f64::from(1 << 20)),
            ("memory-session KiB", added as f64 / COUNTED_SESSIONS as f64 / 1024.0),
            ("memory-session-segments KiB", segments as f64 / COUNTED_SESSIONS as f64 / 1024.0),
        ];
        Ok(())
    }

    fn scalars(&mut self) -> Vec<(&'static str, f64)> {
        std::mem::take(&mut self.figures)
    }
}

impl Scales {
    /// The kernel's sizes of segments are those that the daemon accounts for.
    fn compare(&self, clients: &[Client], segments: u64) -> Result<(), BenchError> {
        let mut accounted = 0;
        for client in clients {
            accounted += client.stats().map_err(call_error)?.segment_bytes;
        }
        if accounted == segments {
            return Ok(());
        }
        let (expected, got) = (format!("{accounted} bytes of segments"), format!("{segments}"));
        Err(BenchError::WrongAnswer { request: 0, expected, got })
    }
}

/// What a process occupies, in bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Footprint {
    /// What the files of its name occupy in /dev/shm.
    segments: u64,
    /// Private_Dirty of everything else.
    private: u64,
    /// Private_Dirty of everything.
    written: u64,
}

impl Footprint {
    fn of(daemon: &Daemon) -> Result<Self, BenchError> {
        let smaps = std::fs::read_to_string(format!("/proc/{}/smaps", daemon.pid()))?;
        let part = format!(".{}.", daemon.instance());
        let mut segments = 0;
        for entry in std::fs::read_dir(SHM_DIR)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().contains(&part) {
                segments += entry.metadata()?.blocks() * BLOCK_BYTES;
            }
        }
        Ok(Self { segments, ..Self::parse(&smaps) })
    }

    /// A mapping is a line with addresses and perhaps a path, and then lines `Name:  number kB`.
    fn parse(smaps: &str) -> Self {
        let mut sum = Self::default();
        let mut shared = false;
        for line in smaps.lines() {
            let mut words = line.split_whitespace();
            let name = words.next().unwrap_or_default();
            let Some(name) = name.strip_suffix(':') else {
                shared = line.contains(SHM_DIR);
                continue;
            };
            let bytes = words.next().and_then(|number| number.parse().ok()).unwrap_or(0_u64) * 1024;
            match name {
                "Private_Dirty" if shared => sum.written += bytes,
                "Private_Dirty" => {
                    sum.written += bytes;
                    sum.private += bytes;
                }
                _ => {}
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
55e5a0000000-55e5a0010000 rw-p 00000000 00:00 0                          [heap]
Size:                 64 kB
Private_Dirty:        40 kB
VmFlags: rd wr mr mw me ac sd
7f0000000000-7f0000021000 rw-s 00000000 00:19 7                          /dev/shm/ringfence.0.a.00.up
Size:                132 kB
Private_Dirty:         8 kB
7f0000100000-7f0000101000 r--p 00000000 08:01 9                          /usr/bin/x (deleted)
Size:                  4 kB
Private_Dirty:         4 kB
";

    #[test]
    fn what_was_written_counts_apart_from_segments() {
        let expected = Footprint { segments: 0, private: 44 << 10, written: 52 << 10 };
        assert_eq!(Footprint::parse(SMAPS), expected);
    }

    #[test]
    fn the_cpu_clock_of_a_busy_process_moves() {
        let us = Pid::this();
        let before = cpu_time(us).unwrap();
        let since = Instant::now();
        while cpu_time(us).unwrap() - before < Duration::from_millis(5) {
            assert!(since.elapsed() < Duration::from_secs(20), "the CPU clock stands still");
        }
    }
}
