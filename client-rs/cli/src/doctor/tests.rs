//! Every fault is put into a world of its own and found there, with what mends it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use ringfence::Info;
use ringfence_protocol::names::{Instance, SegmentKind, SegmentName};
use ringfence_protocol::sys::lock::InstanceLock;

use super::world::{Daemon, Room, Silence, World, elsewhere};
use super::*;

const PID: u32 = 4242;
const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units
Max locked memory         8388608              8388608              bytes
Max open files            65536                65536                files
";

/// A machine without faults, in a folder that goes with it.
struct Machine {
    root: PathBuf,
    world: World,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Machine {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringfence-doctor-{}-{number}", std::process::id());
        let root = std::env::temp_dir().join(name);
        let at = |path: &str| root.join(path);
        let socket = at("r/default/control.sock");
        for folder in ["r/default", "etc/systemd", "run/systemd/system", "usr", "shm", "proc/self"]
        {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::create_dir_all(at(&format!("proc/{PID}/task/1"))).unwrap();
        let mut info = Info::default();
        (info.daemon_pid, info.daemon_version) = (PID, "0.1.0".into());
        info.socket = Some(socket.clone());
        let room = Room { free_bytes: 2 << 30, total_bytes: 2 << 30 };
        let world = World {
            etc: at("etc"),
            run: at("run"),
            usr_lib: at("usr"),
            proc: at("proc"),
            shm: at("shm"),
            room: Ok(Some(room)),
            cores: 4,
            uid: nix::unistd::geteuid().as_raw(),
            sockets: vec![socket.clone()],
            instance: Some(Instance::default()),
            named: false,
            daemon: Ok(Daemon { info, sessions: 2, elsewhere: false }),
            version: "0.1.0",
            systemctl: None,
        };
        let machine = Self { root, world };
        for folder in ["r", "r/default"] {
            machine.mode(folder, 0o700);
        }
        drop(UnixListener::bind(&socket).unwrap());
        machine.mode("r/default/control.sock", 0o600);
        machine.write(&format!("proc/{PID}/limits"), LIMITS);
        machine.write("proc/self/limits", LIMITS);
        machine.write(&format!("proc/{PID}/task/1/comm"), "poller-0\n");
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.root.join(path), Permissions::from_mode(mode)).unwrap();
    }

    /// A name in shared memory as a daemon makes them.
    fn segment(&self, uid: u32, instance: &str) -> PathBuf {
        let instance = instance.parse().unwrap();
        let name = SegmentName::random(uid, &instance, SegmentKind::Up).unwrap().to_string();
        self.write(&format!("shm/{name}"), "");
        self.mode(&format!("shm/{name}"), 0o600);
        self.world.shm.join(name)
    }

    /// What systemctl answers here.
    fn systemctl(&mut self, script: &str) {
        self.write("systemctl", script);
        self.world.systemctl = Some(vec!["/bin/sh".into(), self.root.join("systemctl").into()]);
    }

    #[track_caller]
    fn is(&self, name: &str, state: State, found: &str, fix: &str) {
        self.is_after(name, state, found, fix, false);
    }

    /// The check has come to this, and the report as a whole to the same.
    #[track_caller]
    fn is_after(&self, name: &str, state: State, found: &str, fix: &str, fixing: bool) {
        let report = Report::of(&self.world, fixing);
        let check = report.checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!(check.state, state, "{check:?}");
        assert!(check.found.contains(found), "{check:?}");
        assert!(check.fix.as_deref().unwrap_or_default().contains(fix), "{check:?}");
        assert_eq!(check.fix.is_none(), state == State::Ok, "{check:?}");
        assert_eq!(report.ok, report.failed().next().is_none());
        assert_eq!(report.failed().any(|check| check.name == name), state == State::Fail);
        let others = report.checks.iter().filter(|check| check.name != name);
        let others: Vec<_> = others.filter(|check| check.state != State::Ok).collect();
        assert!(others.is_empty(), "only what was put in is found: {others:?}");
    }
}

#[test]
fn a_machine_without_faults_is_well_and_stays_as_it_is() {
    let machine = Machine::new();
    let report = Report::of(&machine.world, true);
    assert!(report.ok && report.checks.iter().all(|check| check.state == State::Ok), "{report:?}");
    assert_eq!(report.checks.len(), 11);
    assert_eq!(fs::read_dir(&machine.world.shm).unwrap().count(), 0);
    let shown = output::plain(&report.text());
    assert!(
        shown.lines().all(|line| line.chars().count() <= WIDTH || line.contains('/')),
        "{shown}"
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["ok"], &json["checks"][0]["state"]), (&true.into(), &"ok".into()));
}

#[test]
fn too_little_room_in_shared_memory() {
    let mut machine = Machine::new();
    let mib =
        |free: u64, total: u64| Ok(Some(Room { free_bytes: free << 20, total_bytes: total << 20 }));
    machine.world.room = mib(64, 64);
    machine.is(
        "shared_memory",
        State::Warn,
        "64 MB are what Docker gives",
        "docker run --shm-size=1g",
    );
    machine.world.room = mib(60, 4096);
    machine.is("shared_memory", State::Warn, "60.0 MiB of 4.0 GiB free", "remount,size=1g");
    machine.world.room = mib(0, 64);
    machine.is("shared_memory", State::Fail, "Docker", "docker run --shm-size=1g");
    machine.world.room = mib(0, 4096);
    machine.is("shared_memory", State::Fail, "room for 0 sessions", "remount,size=1g");
    machine.world.room = Err("ENOENT".into());
    machine.is("shared_memory", State::Fail, "ENOENT", "sudo mount -t tmpfs");
    machine.world.room = Ok(None);
    machine.is("shared_memory", State::Ok, "no limit", "");
}

#[test]
fn of_a_daemon_in_another_container_only_that_is_told() {
    let mut machine = Machine::new();
    machine.world.room = Ok(Some(Room { free_bytes: 0, total_bytes: 64 << 20 }));
    machine
        .write(&format!("proc/{PID}/limits"), "a process of ours that happens to have its number");
    machine.world.daemon.as_mut().unwrap().elsewhere = true;
    machine.is("shared_memory", State::Ok, "the daemon is in another container", "");
    machine.is("open_files", State::Ok, "this process may open", "");
    machine.is("cores", State::Ok, "the daemon's threads cannot be counted", "");
}

#[test]
fn a_segment_of_another_file_system_is_elsewhere() {
    let uuid = "0123456789abcdef0123456789abcdef";
    let line = |device: &str, path: &str| format!("7f00-7f10 rw-s 00000000 {device} 7 {path}\n");
    let board = format!("/dev/shm/ringfence.0.default.{uuid}.board");
    let device = nix::sys::stat::makedev(0, 0x1a);
    assert!(!elsewhere(&line("00:1a", &board), device));
    assert!(elsewhere(&line("00:2b", &board), device));
    // Where the file has no path here it is shown by its name; and only segments count.
    assert!(elsewhere(&line("00:2b", &format!("/ringfence.0.default.{uuid}.up")), device));
    assert!(!elsewhere(&(line("08:01", "/usr/lib/libc.so.6") + &line("00:1a", &board)), device));
    assert!(!elsewhere("", device));
}

#[test]
fn names_of_killed_daemons_go_if_that_is_asked_for() {
    let machine = Machine::new();
    let uid = machine.world.uid;
    let stale = [machine.segment(uid, "dead"), machine.segment(uid, "dead")];
    let foreign = machine.segment(uid + 1, "dead");
    let live = machine.segment(uid, "live");
    let lock = InstanceLock::acquire_in(&machine.world.shm, uid, &"live".parse().unwrap()).unwrap();
    machine.is("stale_names", State::Warn, "2 of instance dead", "ringfence doctor --fix");
    assert!(stale.iter().all(|path| path.exists()), "only asked");
    assert_eq!(fs::read_dir(&machine.world.shm).unwrap().count(), 5, "nothing is made either");
    machine.is_after("stale_names", State::Ok, "in use: 1, stale and removed: 2", "", true);
    assert!(!stale.iter().any(|path| path.exists()) && live.exists() && foreign.exists());

    drop(lock);
    machine.is("stale_names", State::Warn, "1 of instance live", "ringfence doctor --fix");
    machine.is_after("stale_names", State::Ok, "in use: 0, stale and removed: 1", "", true);
    assert!(!live.exists() && foreign.exists());
}

#[test]
fn a_name_or_a_lock_that_is_not_ours_stays_and_is_named() {
    let machine = Machine::new();
    let uid = machine.world.uid;
    let odd = machine.segment(uid, "dead");
    fs::set_permissions(&odd, Permissions::from_mode(0o644)).unwrap();
    let name = odd.file_name().unwrap().to_str().unwrap();
    machine.is_after("stale_names", State::Fail, name, "sudo rm", true);
    assert!(odd.exists());

    let machine = Machine::new();
    let kept = machine.segment(uid, "dead");
    std::os::unix::fs::symlink(
        "/nonexistent",
        machine.world.shm.join(format!("ringfence.{uid}.dead.lock")),
    )
    .unwrap();
    machine.is("stale_names", State::Fail, "squatted", "sudo rm");
    machine.is_after("stale_names", State::Fail, "squatted", "sudo rm", true);
    assert!(kept.exists());
}

#[test]
fn limits_that_are_too_low() {
    let machine = Machine::new();
    let set = |name: &str, soft: &str| {
        let line = LIMITS.lines().find(|line| line.starts_with(name)).unwrap();
        let text = LIMITS.replace(line, &format!("{name:26}{soft:21}unlimited"));
        machine.write(&format!("proc/{PID}/limits"), &text);
    };
    set("Max open files", "32");
    machine.is("open_files", State::Fail, "the daemon may open 32 files", "ulimit -n 65536");
    set("Max open files", "256");
    machine.is("open_files", State::Warn, "some 25 sessions", "LimitNOFILE=65536");
    set("Max open files", "unlimited");
    machine.is("open_files", State::Ok, "no limit", "");
    set("Max locked memory", "65536");
    machine.is("locked_memory", State::Warn, "may lock 64.0 KiB", "ulimit -l 8192");
    // Another user's daemon cannot be asked: this process's limits are shown.
    fs::remove_file(machine.world.proc.join(format!("{PID}/limits"))).unwrap();
    machine.is("open_files", State::Ok, "this process may open 65536", "");
}

#[test]
fn too_few_cores_for_what_spins() {
    let mut machine = Machine::new();
    machine.world.cores = 1;
    machine.is("cores", State::Warn, "no core is left for a client", "--spin never");
    machine.world.cores = 2;
    machine.is("cores", State::Warn, "1 pollers and 2 clients", "connect(spin=\"never\")");
    machine.world.cores = 3;
    machine.is("cores", State::Ok, "3 cores for 1 pollers and 2 clients", "");
    for thread in 2..=3 {
        machine.write(&format!("proc/{PID}/task/{thread}/comm"), &format!("poller-{thread}\n"));
    }
    machine.is("cores", State::Warn, "3 pollers", "ringfenced --pollers 1");
}

#[test]
fn folders_that_others_may_write_or_own() {
    let mut machine = Machine::new();
    machine.mode("r", 0o777);
    machine.is("runtime_dir", State::Fail, "mode 0777: others may", "chmod go-w");
    machine.mode("r", 0o700);
    machine.mode("r/default", 0o770);
    machine.is("runtime_dir", State::Fail, "mode 0770: others may", "r/default");
    machine.mode("r/default", 0o700);
    machine.is("runtime_dir", State::Ok, "mode 0700", "");
    // /tmp is sticky, and may be everybody's.
    machine.mode("r", 0o1777);
    machine.is("runtime_dir", State::Ok, "mode 1777", "");
    if machine.world.uid != 0
        || std::os::unix::fs::chown(machine.root.join("r"), Some(4711), None).is_ok()
    {
        machine.world.uid = if machine.world.uid == 0 { 0 } else { 4711 };
        machine.is("runtime_dir", State::Fail, "should be this user's", "sudo rm -r");
    }
}

#[test]
fn a_control_socket_that_is_none_or_everybodys() {
    let machine = Machine::new();
    machine.mode("r/default/control.sock", 0o666);
    machine.is("control_socket", State::Warn, "every user of this machine", "chmod o-rwx");
    let path = machine.root.join("r/default/control.sock");
    fs::remove_file(&path).unwrap();
    fs::write(&path, "").unwrap();
    machine.is("control_socket", State::Fail, "no socket", "rm ");
    fs::remove_file(&path).unwrap();
    machine.is("control_socket", State::Ok, "none yet", "");
    assert_eq!(path.parent().unwrap().metadata().unwrap().uid(), machine.world.uid);
}

#[test]
fn no_daemon_or_one_of_another_release() {
    let mut machine = Machine::new();
    machine.world.version = "0.2.0";
    machine.is("versions", State::Warn, "ringfence is 0.2.0, ringfenced is 0.1.0", "restart");
    let silent = |exit, reason: &str| Err(Silence { exit, reason: reason.into() });
    machine.world.daemon = silent(Exit::Unavailable, "no daemon listens");
    machine.is("daemon", State::Warn, "no daemon listens", "ringfenced --instance default");
    machine.world.named = true;
    machine.is("daemon", State::Fail, "no daemon listens", "systemctl start ringfence.service");
    machine.world.named = false;
    machine.world.daemon = silent(Exit::NotPermitted, "not in the group");
    machine.is("daemon", State::Fail, "not in the group", "sudo usermod -aG ringfence");
    machine.world.daemon = silent(Exit::TryAgain, "has not run");
    machine.is("daemon", State::Fail, "has not run", "journalctl -u ringfence.service");
}

#[test]
fn logind_that_removes_what_users_share() {
    let mut machine = Machine::new();
    machine.world.uid = 1000;
    machine.world.sockets.clear();
    // Only this check: another user owns what was put here.
    let found = |machine: &Machine| systemd::remove_ipc(&machine.world);
    let (check, drop_in) =
        (found(&machine), "RemoveIPC=no\\n' | sudo tee /etc/systemd/logind.conf.d/");
    assert_eq!(check.state, State::Warn);
    assert!(check.found.contains("the default") && check.fix.unwrap().contains(drop_in));

    for (file, text, state) in [
        ("usr/systemd/logind.conf", "[Login]\nRemoveIPC=no\n", State::Ok),
        ("etc/systemd/logind.conf", "[Login]\n#RemoveIPC=no\n", State::Warn),
        ("etc/systemd/logind.conf", "[Other]\nRemoveIPC=no\n", State::Warn),
        ("etc/systemd/logind.conf", "[Login]\n RemoveIPC = off \n", State::Ok),
        ("usr/systemd/logind.conf.d/50-a.conf", "[Login]\nRemoveIPC=yes\n", State::Warn),
        ("etc/systemd/logind.conf.d/50-a.conf", "[Login]\nRemoveIPC=0\n", State::Ok),
        ("run/systemd/logind.conf.d/60-b.conf", "[Login]\nRemoveIPC=true\n", State::Warn),
        ("etc/systemd/logind.conf.d/70-c.conf", "[Login]\nRemoveIPC=no\n", State::Ok),
        ("etc/systemd/logind.conf.d/80-d.txt", "[Login]\nRemoveIPC=yes\n", State::Ok),
    ] {
        machine.write(file, text);
        let check = found(&machine);
        assert_eq!(check.state, state, "{file}: {text}: {check:?}");
    }
    machine.write("etc/systemd/logind.conf.d/90-e.conf", "[Login]\nRemoveIPC=yes\n");
    machine.world.uid = 999;
    assert_eq!(found(&machine).state, State::Ok, "a system user");
    machine.world.uid = 1000;
    assert_eq!(found(&machine).state, State::Warn);
    fs::remove_dir(machine.world.run.join("systemd/system")).unwrap();
    assert_eq!(found(&machine).state, State::Ok, "no systemd");
}

#[test]
fn a_unit_that_failed_or_does_not_run() {
    let mut machine = Machine::new();
    let says = |load: &str, active: &str, result: &str| {
        format!(
            "echo LoadState={load}; echo ActiveState={active}; echo SubState=x; echo Result={result}"
        )
    };
    machine.systemctl(&says("loaded", "failed", "exit-code"));
    machine.is(
        "systemd_unit",
        State::Fail,
        "failed (x), result exit-code",
        "journalctl -u ringfence.service",
    );
    machine.systemctl(&says("loaded", "inactive", "success"));
    machine.is("systemd_unit", State::Warn, "inactive", "systemctl enable --now ringfence.service");
    machine.systemctl(&says("masked", "inactive", "success"));
    machine.is("systemd_unit", State::Fail, "is masked", "ringfence.service");
    machine.systemctl(&says("loaded", "active", "success"));
    machine.is("systemd_unit", State::Ok, "active", "");
    machine.systemctl(&says("not-found", "inactive", "success"));
    machine.is("systemd_unit", State::Ok, "not installed", "");
    machine.systemctl("exit 1");
    machine.is("systemd_unit", State::Ok, "does not run", "");
    machine.systemctl(
        "test \"$2\" = ringfence@prod.service && echo LoadState=loaded && echo ActiveState=failed",
    );
    machine.world.instance = Some("prod".parse().unwrap());
    machine.is(
        "systemd_unit",
        State::Fail,
        "ringfence@prod.service is failed",
        "restart ringfence@prod",
    );
    assert!(Path::new("/bin/sh").exists());
}
