//! A daemon that runs out of what the machine gives it: descriptors, and room in /dev/shm.
//!
//! What does not fit is refused with the limit in the text; what is there goes on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ringfence_protocol::api::bus;
use ringfence_protocol::error::ErrorCode;
use ringfence_protocol::sys::socket::Conn;
use ringfence_protocol::wire::{self, ClientMessage, DaemonMessage, Refusal};

use super::daemon::{Daemon, PATIENCE, until};
use super::raw::{Raw, encode, hear, map, tell};
use super::trial::{FILL, Number};

use crate::skip::skip;

fn knock(daemon: &Daemon) -> Result<Raw, Refusal> {
    Raw::try_connect(&daemon.socket(), "knock")
}

/// Processor time of a process, all threads, in ticks of 10 ms.
fn ticks(daemon: &Daemon) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    // Behind the name, which may hold spaces: utime is field 14, stime 15, state is field 3.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Row 34. A session takes several descriptors, so 64 are soon used up.
#[test]
fn without_descriptors_the_newcomer_is_told_and_the_others_are_served() {
    let few = ["sh", "-c", "ulimit -n 64 && exec \"$@\"", "--"];
    let daemon = Daemon::start_under(&few, &[]);
    let (mut inside, refusal) = fill(&daemon);
    assert!(inside.len() >= 4, "{} sessions fit", inside.len());
    assert_eq!(ErrorCode::from_u16(refusal.code), Some(ErrorCode::Quota), "{refusal:?}");
    assert!(refusal.reason.contains("RLIMIT_NOFILE = 64"), "{refusal:?}");
    assert!(refusal.remedy.contains("raise"), "{refusal:?}");
    // It starves, while somebody knocks all the time.
    let (before, since) = (ticks(&daemon), Instant::now());
    let mut knocked = 0;
    while since.elapsed() < Duration::from_secs(2) {
        // What is left is too few for a session. Now not one is left, so that nobody is even let in to be
        // told; each time, for what a refusal took is given back a moment later.
        let most = lowest_free(&daemon);
        limit_to(&daemon, most);
        let Err(refusal) = knock(&daemon) else { panic!("there was a descriptor left") };
        assert!(refusal.reason.contains(&format!("RLIMIT_NOFILE = {most}")), "{refusal:?}");
        knocked += 1;
        for client in &mut inside {
            client.echo(b"still served");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let used = ticks(&daemon) - before;
    assert!(knocked >= 2 && used < 100, "{used} ticks of 10 ms in 2 s, {knocked} refusals");
    limit_to(&daemon, 64);
    inside.pop();
    until("there is room again", || knock(&daemon).is_ok());
    for client in &mut inside {
        client.echo(b"never noticed");
    }
}

/// The number of the next descriptor that it opens.
fn lowest_free(daemon: &Daemon) -> u32 {
    let open = |number: &u32| Path::new(&format!("/proc/{}/fd/{number}", daemon.pid())).exists();
    (0..).find(|number| !open(number)).unwrap()
}

fn limit_to(daemon: &Daemon, most: u32) {
    let (pid, limit) = (daemon.pid().to_string(), format!("--nofile={most}:64"));
    let set = Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap();
    assert!(set.success(), "prlimit of util-linux");
}

/// The same with descriptors that nobody ever gives back: connections that say nothing. Each takes two,
/// so that of an odd and an even limit one leaves a single descriptor to the last that comes.
#[test]
fn silent_connections_keep_no_descriptor_from_those_that_speak() {
    let env = [("RINGFENCE_SESSIONS_HANDSHAKE_TIMEOUT_MS", "60000")];
    for limit in [64, 65] {
        let few = format!("ulimit -n {limit} && exec \"$@\"");
        let daemon = Daemon::start_under(&["sh", "-c", &few, "--"], &env);
        let silent: Vec<_> =
            (0..100).map(|_| Conn::connect(&daemon.socket(), PATIENCE).unwrap()).collect();
        let mut client = Raw::connect(&daemon);
        client.echo(b"in spite of them");
        drop(silent);
    }
}

/// Sessions until one is refused.
fn fill(daemon: &Daemon) -> (Vec<Raw>, Refusal) {
    let mut inside = Vec::new();
    loop {
        match knock(daemon) {
            Ok(client) => inside.push(client),
            Err(refusal) => return (inside, refusal),
        }
        assert!(inside.len() < 500, "never full");
    }
}

/// A daemon with a /dev/shm of its own of so many KiB; nothing where that cannot be had.
fn with_small_shm(kib: u32) -> Option<Daemon> {
    let mount = format!("mount -t tmpfs -o size={kib}k,mode=1777 tmpfs /dev/shm && exec \"$@\"");
    let wrappers = [
        ["unshare", "-m", "sh", "-c", &mount, "--"],
        ["unshare", "-Urm", "sh", "-c", &mount, "--"],
    ];
    let works = |wrapper: &&[&str; 6]| {
        let mut tried = Command::new(wrapper[0]);
        tried.args(&wrapper[1..]).arg("true").stderr(Stdio::null());
        tried.status().is_ok_and(|status| status.success())
    };
    let Some(wrapper) = wrappers.iter().find(works) else {
        skip("neither root nor a user namespace that may mount a tmpfs");
        return None;
    };
    Some(Daemon::start_under(wrapper, &[("RINGFENCE_ENGINES", "system,bus")]))
}

/// Row 38: a session, a lane, a segment of a client, a reply and a topic that do not fit.
#[test]
fn what_does_not_fit_into_shared_memory_is_refused_with_the_limit() {
    let Some(mut daemon) = with_small_shm(4096) else { return };
    let mut first = Raw::connect(&daemon);
    let says_so = |text: &str| {
        assert!(text.contains("/dev/shm has ") && text.contains(" of 4194304 bytes free"), "{text}")
    };
    // Large ones first: there is room for none of them, and for much that is small.
    tell(&first.conn, &ClientMessage::OpenBulk { len: 8 << 20 });
    says_so(&refused(&first).reason);
    let error = first.trial(FILL, &Number { value: 6 << 20 }).unwrap_err();
    assert!(matches!(error.code, ErrorCode::OutOfMemory | ErrorCode::ReplyArenaFull), "{error:?}");
    says_so(&error.message);
    let open = first.method(bus::NAME, bus::OPEN);
    let topic = bus::Open {
        slots: 1 << 16,
        payload_bytes: 64,
        blocks: 0,
        block_bytes: 0,
        patience_ms: 0,
        policy: 0,
        name: "large",
    };
    let error = first.call(open, &encode(&topic)).unwrap_err();
    assert_eq!(error.code, ErrorCode::OutOfMemory, "{error:?}");
    says_so(&error.message);
    // Then small ones until nothing fits.
    let (mut others, refusal) = fill(&daemon);
    assert!(others.len() >= 4, "{}", others.len());
    assert_eq!(ErrorCode::from_u16(refusal.code), Some(ErrorCode::OutOfMemory));
    says_so(&refusal.reason);
    let mut lanes = Vec::new();
    let refusal = loop {
        tell(&first.conn, &ClientMessage::OpenLane);
        match hear(&first.conn).unwrap() {
            (DaemonMessage::Lane(opened), fds) => lanes.push(map(&opened, &fds[0], &fds[1])),
            (DaemonMessage::Refused(refusal), _) => break refusal,
            other => panic!("{other:?}"),
        }
    };
    says_so(&refusal.reason);
    // Whoever is there goes on, also with what is larger than a slot.
    for client in others.iter_mut().chain([&mut first]) {
        client.echo(b"goes on");
        let len = client.trial(FILL, &Number { value: 20_000 }).unwrap().len();
        assert!(len >= 20_000);
    }
    others.clear();
    until("there is room again", || knock(&daemon).is_ok());
    until("there is room for more", || {
        tell(&first.conn, &ClientMessage::OpenBulk { len: 1 << 20 });
        matches!(hear(&first.conn).unwrap().0, DaemonMessage::Bulk { .. })
    });
    assert!(daemon.is_running());
}

fn refused(client: &Raw) -> Refusal {
    match hear(&client.conn).unwrap().0 {
        DaemonMessage::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// A control group for memory, and its limit.
struct Group(PathBuf);

impl Group {
    const LIMIT_MIB: u64 = 64;

    /// `None` where this process may not make one.
    fn make() -> Option<Self> {
        let roots =
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        let limit = (Self::LIMIT_MIB << 20).to_string();
        for (root, file) in roots {
            let group = Path::new(root).join(format!("ringfence-{}", super::daemon::unique()));
            if std::fs::create_dir(&group).is_err() {
                continue;
            }
            let group = Self(group);
            if std::fs::write(group.0.join(file), &limit).is_ok() {
                return Some(group);
            }
        }
        skip("no control group for memory can be made here");
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its last process has just ended, and may count for a moment longer.
        until("the group is empty", || std::fs::remove_dir(&self.0).is_ok());
    }
}

/// Row 39: the limit of a control group is reached while segments are made. Whether the kernel refuses or
/// kills, it is this daemon alone, and the next one serves.
#[test]
fn a_memory_limit_reaches_this_daemon_alone_and_the_next_one_serves() {
    let Some(group) = Group::make() else { return };
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.0.display());
    let wrapper = ["sh", "-c", &enter, "--"];
    let mut bystander = Daemon::start(&[]);
    let mut outside = Raw::connect(&bystander);
    let mut daemon = Daemon::start_under(&wrapper, &[]);
    let client = Raw::connect(&daemon);
    let mut bulks = 0;
    let refused = loop {
        assert!(bulks * 8 <= Group::LIMIT_MIB, "{bulks} segments of 8 MiB: there is no limit");
        let asked = wire::encode(&ClientMessage::OpenBulk { len: 8 << 20 }).unwrap();
        if client.conn.send(&asked, &[], PATIENCE).is_err() {
            break None;
        }
        match hear(&client.conn) {
            None => break None,
            Some((DaemonMessage::Refused(refusal), _)) => break Some(refusal),
            Some((DaemonMessage::Bulk { .. }, _)) => bulks += 1,
            Some(other) => panic!("{other:?}"),
        }
    };
    assert!(bulks >= 4, "{bulks}");
    if let Some(refusal) = refused {
        assert!(refusal.reason.contains("memory limit"), "{refusal:?}");
    } else {
        until("the kernel has ended it", || !daemon.is_running());
        let (instance, dir) = daemon.into_place();
        daemon = Daemon::spawn_at(instance, dir, &wrapper, &[]);
        until("the next one serves", || {
            assert!(daemon.is_running(), "{}", daemon.log());
            daemon.is_serving()
        });
    }
    Raw::connect(&daemon).echo(b"as new");
    outside.echo(b"never noticed");
    assert!(bystander.is_running());
    drop((client, daemon));
}
