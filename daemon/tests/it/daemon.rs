//! A daemon process of a test's own: unique instance, own runtime directory, stopped by its own pid.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// How long a condition may take on a loaded machine before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running daemon.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) instance: String,
    dir: PathBuf,
}

impl Daemon {
    /// The daemon with the engine `trial`, serving.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_to_crash(flags, None)
    }

    /// The same, to die at `name:n` of the crash points.
    pub(crate) fn start_to_crash(flags: &[&str], crash_at: Option<&str>) -> Self {
        let (instance, dir) = Self::place();
        Self::start_again(instance, dir, flags, crash_at)
    }

    /// A path in its own directory, for flags.
    pub(crate) fn own_path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// With these variables, and its log in [`own_path`](Self::own_path)`("log")`.
    pub(crate) fn start_logged(env: &[(&str, &str)]) -> Self {
        Self::start_under(&[], env)
    }

    /// The same under a program that becomes the daemon in the end, as `sh -c 'exec "$@"' --` does.
    pub(crate) fn start_under(wrapper: &[&str], env: &[(&str, &str)]) -> Self {
        let mut daemon = Self::spawn_under(wrapper, env);
        until("the daemon listens", || {
            assert!(daemon.is_running(), "the daemon did not start: {}", daemon.log());
            is_listening(&daemon.socket())
        });
        daemon
    }

    /// The same, and it may refuse to start.
    pub(crate) fn spawn_under(wrapper: &[&str], env: &[(&str, &str)]) -> Self {
        let (instance, dir) = Self::place();
        Self::spawn_at(instance, dir, wrapper, env)
    }

    /// An instance of a test's own, and a directory for it.
    pub(crate) fn place() -> (String, PathBuf) {
        let instance = unique();
        let dir = std::env::temp_dir().join(format!("ringfence-{instance}"));
        std::fs::create_dir(&dir).unwrap();
        (instance, dir)
    }

    /// At a place that was prepared for it.
    pub(crate) fn spawn_at(
        instance: String,
        dir: PathBuf,
        wrapper: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let program = testd();
        let words: Vec<_> =
            wrapper.iter().map(std::ffi::OsStr::new).chain([program.as_os_str()]).collect();
        let child = Command::new(words[0])
            .args(&words[1..])
            .envs(
                env.iter()
                    .map(|(name, value)| (*name, value.replace("DIR", dir.to_str().unwrap()))),
            )
            .args(["--instance", &instance, "--log-format", "text"])
            .args(if env.iter().any(|(name, _)| *name == "RINGFENCE_ENGINES") {
                &[][..]
            } else {
                &["--engines", "system"]
            })
            .arg("--runtime-dir")
            .arg(&dir)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, instance, dir }
    }

    /// Does it listen? One that has ended fails the test.
    pub(crate) fn is_serving(&self) -> bool {
        is_listening(&self.socket())
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.own_path("log")).unwrap_or_default()
    }

    fn start_again(instance: String, dir: PathBuf, flags: &[&str], crash_at: Option<&str>) -> Self {
        let child = Command::new(testd())
            .envs(crash_at.map(|at| ("RINGFENCE_CRASH_AT", at)))
            .args([
                "--instance",
                &instance,
                "--log-format",
                "text",
                "--log-level",
                "warn",
                "--runtime-dir",
            ])
            .arg(&dir)
            .args(if flags.contains(&"--engines") { &[][..] } else { &["--engines", "system"] })
            .args(flags)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut daemon = Self { child, instance, dir };
        until("the daemon listens", || {
            assert!(daemon.is_running(), "the daemon did not start");
            is_listening(&daemon.socket())
        });
        daemon
    }

    /// Kills it with -9 and starts another of the same instance.
    pub(crate) fn kill_and_restart(&mut self, flags: &[&str]) {
        self.kill();
        self.restart(flags);
    }

    /// Starts another of the same instance in place of one that is dead.
    pub(crate) fn restart(&mut self, flags: &[&str]) {
        self.child.wait().unwrap();
        let (instance, dir) = (self.instance.clone(), self.dir.clone());
        let next = Self::start_again(instance, dir, flags, None);
        let old = std::mem::replace(self, next);
        std::mem::forget(old);
    }

    /// Kills it with -9.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// The place of one that has ended, for the next one there.
    pub(crate) fn into_place(mut self) -> (String, PathBuf) {
        self.child.wait().unwrap();
        let place = (self.instance.clone(), self.dir.clone());
        std::mem::forget(self);
        place
    }

    /// Waits for its end: the exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        until("the daemon ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join(&self.instance).join("control.sock")
    }

    /// Its names in /dev/shm, the lock included.
    pub(crate) fn names(&self) -> Vec<String> {
        let part = format!(".{}.", self.instance);
        let mut names: Vec<String> = std::fs::read_dir("/dev/shm")
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("ringfence.") && name.contains(&part))
            .collect();
        names.sort();
        names
    }

    /// How many descriptors it has open. Right after a handshake it may hold some for a moment longer.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// How many descriptors its epolls watch.
    pub(crate) fn watched(&self) -> usize {
        let infos = std::fs::read_dir(format!("/proc/{}/fdinfo", self.child.id())).unwrap();
        // One that was closed meanwhile watches nothing.
        let texts = infos.flatten().filter_map(|info| std::fs::read_to_string(info.path()).ok());
        texts.map(|text| text.lines().filter(|line| line.starts_with("tfd:")).count()).sum()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill(self.pid(), Signal::SIGTERM);
            let end = Instant::now() + PATIENCE;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(2));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        for name in self.names() {
            let _ = std::fs::remove_file(Path::new("/dev/shm").join(name));
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Where a pid says nothing, as in a pid namespace, names begin with this.
pub(crate) const TAG: &str = "TRIAL_TAG";

/// A name that no other test has.
pub(crate) fn unique() -> String {
    let tag = std::env::var(TAG).unwrap_or_else(|_| format!("t{}", std::process::id()));
    format!("{tag}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Asks the kernel rather than the daemon: a connection would be one more descriptor there.
fn is_listening(path: &Path) -> bool {
    /// `__SO_ACCEPTCON` of linux/net.h, as /proc/net/unix prints it.
    const ACCEPTS: &str = "00010000";
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    table.lines().any(|line| {
        line.ends_with(path.to_str().unwrap()) && line.split(' ').any(|word| word == ACCEPTS)
    })
}

/// Waits for a condition, never for a time.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Cargo builds the examples before it runs the tests, beside them.
fn testd() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/testd");
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --examples -p ringfenced`",
        path.display()
    );
    path
}
