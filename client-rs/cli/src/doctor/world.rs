//! What the checks look at: places in the file system, and what was found out about daemon and host.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use ringfence::Info;
use ringfence_protocol::names::{Instance, RuntimeDir, SHM_DIR, SegmentName};

use crate::args::Global;
use crate::exit::{Exit, Failure};

/// Bytes of a file system that has a limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) free_bytes: u64,
    pub(super) total_bytes: u64,
}

/// What a check may look at, and nothing else.
#[derive(Debug)]
pub(super) struct World {
    /// Configuration of the machine: `/etc`.
    pub(super) etc: PathBuf,
    /// Configuration until the next start: `/run`.
    pub(super) run: PathBuf,
    /// Configuration of the distribution: `/usr/lib`.
    pub(super) usr_lib: PathBuf,
    /// `/proc`.
    pub(super) proc: PathBuf,
    /// `/dev/shm`.
    pub(super) shm: PathBuf,
    /// The room there; none if it has no limit.
    pub(super) room: Result<Option<Room>, String>,
    /// Cores that this process may use.
    pub(super) cores: usize,
    /// This user.
    pub(super) uid: u32,
    /// Where the daemon that is meant may have its socket, the likeliest first.
    pub(super) sockets: Vec<PathBuf>,
    /// The instance that is meant, where a name says it.
    pub(super) instance: Option<Instance>,
    /// Was a daemon named, by a flag or the environment?
    pub(super) named: bool,
    /// The daemon, or why it does not answer.
    pub(super) daemon: Result<Daemon, Silence>,
    /// This command's version.
    pub(super) version: &'static str,
    /// How to start systemctl, if there is one.
    pub(super) systemctl: Option<Vec<OsString>>,
}

/// A daemon that answers.
#[derive(Clone, Debug)]
pub(super) struct Daemon {
    pub(super) info: Info,
    /// Sessions but that of this command.
    pub(super) sessions: u64,
    /// Are its segments in another `/dev/shm` than this one? Then it is in another container.
    pub(super) elsewhere: bool,
}

/// Why no daemon answers.
#[derive(Clone, Debug)]
pub(super) struct Silence {
    /// What another command would leave with.
    pub(super) exit: Exit,
    pub(super) reason: String,
}

impl World {
    /// This machine. Fails only if the command line is wrong.
    pub(super) fn here(global: &Global) -> Result<Self, Failure> {
        let uid = nix::unistd::geteuid().as_raw();
        let environment = std::env::var("RINGFENCE_TARGET").ok().filter(|text| !text.is_empty());
        let target = global.target.clone().or(environment);
        let daemon = match ask(global) {
            Err(failure) if failure.exit() == Exit::Usage => return Err(failure),
            Err(failure) => Err(Silence { exit: failure.exit(), reason: failure.to_string() }),
            Ok(daemon) => Ok(daemon),
        };
        let runtime = std::env::var_os("XDG_RUNTIME_DIR");
        let (sockets, instance) = sockets(target.as_deref(), runtime.as_deref(), uid);
        Ok(Self {
            etc: "/etc".into(),
            run: "/run".into(),
            usr_lib: "/usr/lib".into(),
            proc: "/proc".into(),
            shm: SHM_DIR.into(),
            room: room(Path::new(SHM_DIR)),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            uid,
            sockets,
            instance,
            named: target.is_some(),
            daemon,
            version: env!("CARGO_PKG_VERSION"),
            systemctl: systemctl(),
        })
    }

    /// The daemon's process, if this `/proc` has it by the number that it knows itself by.
    pub(super) fn daemon_pid(&self) -> Option<u32> {
        self.daemon.as_ref().ok().filter(|it| !it.elsewhere).map(|it| it.info.daemon_pid)
    }

    /// What the daemon's process says of itself in `/proc`, else this one.
    pub(super) fn process(&self, file: &str) -> (PathBuf, &'static str) {
        if let Some(pid) = self.daemon_pid() {
            let path = self.proc.join(pid.to_string()).join(file);
            if std::fs::read(&path).is_ok() {
                return (path, "the daemon");
            }
        }
        (self.proc.join("self").join(file), "this process")
    }
}

fn ask(global: &Global) -> Result<Daemon, Failure> {
    let client = global.connect()?;
    let sessions = client.stats()?.sessions.saturating_sub(1);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let elsewhere = std::fs::metadata(SHM_DIR).is_ok_and(|shm| elsewhere(&maps, shm.dev()));
    Ok(Daemon { info: client.info(), sessions, elsewhere })
}

/// Is a segment mapped (proc_pid_maps(5)) that is on another file system than this one?
pub(super) fn elsewhere(maps: &str, shm: u64) -> bool {
    let (major, minor) = (nix::sys::stat::major(shm), nix::sys::stat::minor(shm));
    let here = format!("{major:02x}:{minor:02x}");
    let segments = maps.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut segments = segments.filter(|words| {
        let name = words.get(5).and_then(|path| path.rsplit('/').next());
        name.is_some_and(|name| name.parse::<SegmentName>().is_ok())
    });
    segments.any(|words| words[3] != here)
}

/// As the client looks for it.
fn sockets(
    target: Option<&str>,
    runtime: Option<&OsStr>,
    uid: u32,
) -> (Vec<PathBuf>, Option<Instance>) {
    if let Some(path) = target.filter(|text| text.contains('/')) {
        return (vec![path.into()], None);
    }
    let instance: Instance = target.and_then(|name| name.parse().ok()).unwrap_or_default();
    let dirs = [RuntimeDir::user(runtime, uid), RuntimeDir::system()];
    (dirs.iter().map(|dir| dir.control_socket(&instance)).collect(), Some(instance))
}

fn room(shm: &Path) -> Result<Option<Room>, String> {
    let stat = statvfs(shm).map_err(|errno| errno.to_string())?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
    // A tmpfs without a limit has no blocks at all.
    let limited = stat.blocks() != 0;
    Ok(limited.then(|| Room {
        free_bytes: bytes(stat.blocks_available()),
        total_bytes: bytes(stat.blocks()),
    }))
}

fn systemctl() -> Option<Vec<OsString>> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join("systemctl")).find(|p| p.exists());
    found.map(|path| vec![path.into_os_string()])
}
