//! Limits of the process, and cores for what spins.

use super::Check;
use super::world::World;
use crate::output::bytes;

/// Descriptors of a session: socket, segments and bells of its lane (systemd/README.md).
const PER_SESSION: u64 = 10;
/// What a daemon with a handful of clients needs, and what is comfortable.
const FILES_LEAST: u64 = 64;
const FILES_ENOUGH: u64 = 1024;
/// The kernel's own default, since 5.16.
const LOCKED_ENOUGH: u64 = 8 << 20;

pub(super) fn open_files(world: &World) -> Check {
    const NAME: &str = "open_files";
    let (soft, who) = match limit(world, "Max open files") {
        Ok(found) => found,
        Err(unknown) => return Check::ok(NAME, unknown),
    };
    let fix = "ulimit -n 65536   # under systemd: LimitNOFILE=65536 in the unit";
    let Some(soft) = soft else { return Check::ok(NAME, format!("{who} has no limit")) };
    let sessions = soft / PER_SESSION;
    let found =
        format!("{who} may open {soft} files: enough for some {sessions} sessions in a daemon");
    match soft {
        ..FILES_LEAST => Check::fail(NAME, found, fix),
        FILES_LEAST..FILES_ENOUGH => Check::warn(NAME, found, fix),
        _ => Check::ok(NAME, found),
    }
}

pub(super) fn locked_memory(world: &World) -> Check {
    const NAME: &str = "locked_memory";
    let (soft, who) = match limit(world, "Max locked memory") {
        Ok(found) => found,
        Err(unknown) => return Check::ok(NAME, unknown),
    };
    let Some(soft) = soft else { return Check::ok(NAME, format!("{who} has no limit")) };
    let found = format!("{who} may lock {}; Ringfence locks none, an engine may", bytes(soft));
    let fix = "ulimit -l 8192   # under systemd: LimitMEMLOCK=8M in the unit";
    if soft < LOCKED_ENOUGH { Check::warn(NAME, found, fix) } else { Check::ok(NAME, found) }
}

/// The soft limit, none if there is none, and whose it is; or why it is not known.
fn limit(world: &World, name: &str) -> Result<(Option<u64>, &'static str), String> {
    let (path, who) = world.process("limits");
    let unknown = |why: &str| format!("not known: {} {why}", path.display());
    let text = std::fs::read_to_string(&path).map_err(|error| unknown(&error.to_string()))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let soft = line.and_then(|line| line.split_whitespace().next());
    match soft.ok_or_else(|| unknown("does not say it"))? {
        "unlimited" => Ok((None, who)),
        number => {
            number.parse().map(|soft| (Some(soft), who)).map_err(|_| unknown("is no text of ours"))
        }
    }
}

pub(super) fn cores(world: &World) -> Check {
    const NAME: &str = "cores";
    let cores = world.cores;
    let Ok(daemon) = &world.daemon else {
        let found = format!("{cores} cores; no daemon whose pollers could be counted");
        return match cores {
            1 => Check::warn(
                NAME,
                found,
                "ringfenced --spin never   # one core cannot spin for both sides",
            ),
            _ => Check::ok(NAME, found),
        };
    };
    let Some(pollers) = world.daemon_pid().and_then(|pid| pollers(world, pid)) else {
        return Check::ok(NAME, format!("{cores} cores; the daemon's threads cannot be counted"));
    };
    let clients = daemon.sessions;
    let found = format!(
        "{cores} cores for {pollers} pollers and {clients} clients, which spin while they wait"
    );
    if pollers >= cores {
        let fix = "ringfenced --pollers 1   # where that is no fewer: --spin never";
        return Check::warn(NAME, format!("{found}: no core is left for a client"), fix);
    }
    if clients > (cores - pollers) as u64 {
        let fix = "connect(spin=\"never\")   # where they all wait at once; in Rust: Spin::Never";
        return Check::warn(NAME, format!("{found}: clients take turns"), fix);
    }
    Check::ok(NAME, found)
}

/// Threads of the daemon that poll; none if nobody may look.
fn pollers(world: &World, pid: u32) -> Option<usize> {
    let tasks = std::fs::read_dir(world.proc.join(pid.to_string()).join("task")).ok()?;
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).ok();
    let pollers =
        tasks.flatten().filter_map(name).filter(|name| name.starts_with("poller")).count();
    (pollers > 0).then_some(pollers)
}
