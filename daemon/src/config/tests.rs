//! Precedence, bounds, suggestions and the round trip of `--check-config`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::settings::{Kind, SETTINGS, Setting, Step};
use super::*;

/// A directory that is gone when the test is.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringfence-config-{}-{count}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn sources(uid: u32, etc: &Path) -> Sources {
    Sources {
        host: Host { uid, cores: 4, xdg_runtime_dir: None, state_home: None, etc: etc.to_owned() },
        file: None,
        env: Vec::new(),
        flags: Vec::new(),
        extra_engines: Vec::new(),
    }
}

fn user() -> Sources {
    sources(4242, Path::new("/nonexistent"))
}

fn with_file(text: &str) -> Result<Config, String> {
    let dir = TempDir::new();
    let file = Some(dir.write("f.toml", text));
    let loaded = Config::load(&Sources { file, ..user() });
    loaded.map_err(|error| error.to_string().replace(dir.0.to_str().unwrap(), ""))
}

fn with_env(name: &str, text: &str) -> Result<Config, String> {
    let env = vec![(name.to_owned(), text.to_owned())];
    Config::load(&Sources { env, ..user() }).map_err(|error| error.to_string())
}

#[test]
fn each_layer_beats_the_ones_below() {
    const ENV: &str = "RINGFENCE_SPIN_US";
    // Bits: ringfence.toml, conf.d/10, conf.d/20, environment, flag. The highest set bit wins.
    for layers in 0..32_u32 {
        let dir = TempDir::new();
        let names = ["ringfence.toml", "conf.d/10-a.toml", "conf.d/20-b.toml"];
        for (bit, name) in names.iter().enumerate().filter(|(bit, _)| layers & (1 << bit) != 0) {
            dir.write(name, &format!("[polling]\nspin_us = {}\n", 100 + bit));
        }
        let mut sources = sources(0, &dir.0);
        if layers & 8 != 0 {
            sources.env.push((ENV.to_owned(), "103".to_owned()));
        }
        if layers & 16 != 0 {
            let (flag, path) = ("--spin-us", "polling.spin_us");
            sources.flags.push(FlagValue { flag, path, text: "104".to_owned() });
        }
        let config = Config::load(&sources).unwrap();
        let (value, origin) = match layers.checked_ilog2() {
            None => (50, Origin::Default),
            Some(3) => (103, Origin::Env(ENV.to_owned())),
            Some(4) => (104, Origin::Flag("--spin-us")),
            Some(bit) => (100 + u64::from(bit), Origin::File(dir.0.join(names[bit as usize]))),
        };
        assert_eq!(config.polling.spin_us, value, "layers {layers:05b}");
        assert_eq!(*config.origin("polling.spin_us"), origin, "layers {layers:05b}");
    }
}

#[test]
fn only_the_machines_daemon_reads_etc_and_a_named_file_is_the_only_one() {
    let dir = TempDir::new();
    dir.write("ringfence.toml", "[workers]\nqueue = 5\n");
    dir.write("conf.d/x.toml.bak", "not even TOML");
    let named = dir.write("named.toml", "[polling]\nspin_us = 6\n");
    let load = |uid, file| Config::load(&Sources { file, ..sources(uid, &dir.0) }).unwrap();
    for (uid, queue) in [(0, 5), (999, 5), (61_184, 5), (1000, 1024), (65_534, 1024)] {
        assert_eq!(load(uid, None).workers.queue, queue, "uid {uid}");
    }
    let config = load(0, Some(named));
    assert_eq!((config.workers.queue, config.polling.spin_us), (1024, 6));
}

#[test]
fn defaults_follow_the_host() {
    let config = Config::load(&user()).unwrap();
    assert_eq!(config.runtime_dir, PathBuf::from("/tmp/ringfence-4242"));
    assert_eq!(config.socket_path(), PathBuf::from("/tmp/ringfence-4242/default/control.sock"));
    assert_eq!((config.workers.threads, config.workers.running_per_session), (3, 2));
    assert!(config.allows_uid(0) && config.allows_uid(4242) && !config.allows_uid(4243));
    let mut sources = sources(0, Path::new("/nonexistent"));
    sources.host.cores = 1;
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.runtime_dir, PathBuf::from("/run/ringfence"));
    assert_eq!((config.workers.threads, config.allowed_uids), (1, vec![0]));
    let config = with_env("RINGFENCE_WORKERS", "7").unwrap();
    assert_eq!(config.workers.running_per_session, 4, "derived from the threads in force");
}

#[test]
fn unknown_keys_are_errors_that_help() {
    for (text, want) in [
        (
            "[poling]\nspin = 1",
            "/f.toml: unknown key `poling` in the top level: did you mean `polling`?",
        ),
        ("poling = 1", "/f.toml: unknown key `poling` in the top level: did you mean `polling`?"),
        (
            "[polling]\nspinus = 1",
            "/f.toml: unknown key `spinus` in [polling]: did you mean `spin_us`?",
        ),
        ("slots = 8", "/f.toml: unknown key `slots` in the top level: `slots` belongs to [lanes]"),
        (
            "[lanes]\ninstance = 'a'",
            "/f.toml: unknown key `instance` in [lanes]: `instance` belongs to the top level, \
             before the first section",
        ),
        (
            "log = 'info'",
            "/f.toml: unknown key `log` in the top level: `log` is a section: write [log]",
        ),
        (
            "[log]\nzzzzzzzz = 1",
            "/f.toml: unknown key `zzzzzzzz` in [log]: known here: format, level",
        ),
        (
            "state = '/'",
            "/f.toml: unknown key `state` in the top level: `state` is a section: write [state]",
        ),
        (
            "[lanes]\n\"\\u001b[31m\" = 1",
            "/f.toml: unknown key `\\u{1b}[31m` in [lanes]: known here: slots, arena_bytes, \
             max_per_session",
        ),
    ] {
        assert_eq!(with_file(text).unwrap_err(), want);
    }
}

#[test]
fn wrong_values_name_the_rule() {
    for (text, want) in [
        (
            "[lanes]\nslots = 100",
            "/f.toml: lanes.slots = 100: expected a power of two from 8 to 4096",
        ),
        (
            "[lanes]\narena_bytes = 5000",
            "/f.toml: lanes.arena_bytes = 5000: expected a multiple of 4096 from 4096 to 262144",
        ),
        (
            "[polling]\npollers = 'two'",
            "/f.toml: polling.pollers = \"two\": expected a whole number from 1 to 16",
        ),
        (
            "[polling]\nspin = 'allways'",
            "/f.toml: polling.spin = \"allways\": expected one of adaptive, always, never; did \
             you mean `always`?",
        ),
        (
            "[polling]\ncpus = [0, 1024]",
            "/f.toml: polling.cpus = [0, 1024]: expected at most 1024 whole numbers from 0 to 1023",
        ),
        (
            "[metrics]\nlisten = '0.0.0.0:9464'",
            "/f.toml: metrics.listen = \"0.0.0.0:9464\": expected an absolute path, or a loopback \
             port: \"127.0.0.1:9464\" or \"[::1]:9464\"; metrics do not leave the machine: let a \
             scraper on it, or a proxy that asks who is there, carry them",
        ),
        ("[state]\ndir = 'saved'", "/f.toml: state.dir = \"saved\": expected an absolute path"),
        ("allow_any_uid = 1", "/f.toml: allow_any_uid = 1: expected true or false"),
        (
            "instance = 'Upper'",
            "/f.toml: instance = \"Upper\": expected 1 to 32 letters, digits, `_` or `-`, lower \
             case",
        ),
        ("runtime_dir = 'here'", "/f.toml: runtime_dir = \"here\": expected an absolute path"),
        (
            "[instance]\nname = 'x'",
            "/f.toml: instance = { name = \"x\" }: expected 1 to 32 letters, digits, `_` or \
             `-`, lower case",
        ),
        (
            "socket_mode = '0640'\n[engines]\nenable = ['system', 'bus', 'bus']",
            "/f.toml: engines.enable = [\"system\", \"bus\", \"bus\"]: expected a list of \
             distinct engine names, each [a-z0-9_]{1,32}; look at `bus`",
        ),
        (
            "[board]\ngroup = 'a b'",
            "/f.toml: board.group = \"a b\": expected the name of a group, 1 to 32 letters, \
             digits, `_`, `-`, `.` or `$`",
        ),
    ] {
        assert_eq!(with_file(text).unwrap_err(), want);
    }
    let error = with_file("instance = \"a\"\nspin us = 3\n").unwrap_err();
    assert!(error.starts_with("/f.toml: TOML parse error at line 2, column 6"), "{error}");
}

#[test]
fn every_number_is_accepted_at_its_bounds_and_refused_beyond() {
    for setting in SETTINGS {
        let Kind::Int { min, max, step } = &setting.kind else { continue };
        let by = match step {
            Step::MultipleOf(of) => *of,
            _ => 1,
        };
        for (value, fine) in [(*min, true), (*max, true), (min - by, false), (max + by, false)] {
            let checked = setting.check(&toml::Value::Integer(value));
            assert_eq!(checked.is_ok(), fine, "{} = {value}", setting.path);
            let rule = checked.err().unwrap_or_default();
            let numbers = rule.contains(&min.to_string()) && rule.contains(&max.to_string());
            assert!(fine || numbers, "{}: {rule}", setting.path);
            let env = with_env(setting.env, &value.to_string());
            assert!(fine || env.is_err(), "{} = {value} by environment", setting.path);
        }
    }
}

#[test]
fn socket_modes() {
    for (text, bits) in [("0600", 0o600), ("660", 0o660), ("0666", 0o666)] {
        let config = with_env("RINGFENCE_SOCKET_MODE", text).unwrap();
        assert_eq!(config.socket_mode.bits(), bits);
    }
    for text in ["0700", "0060", "0o600", "+600", "1600", "0800", "06600", "6", "rw"] {
        let error = with_env("RINGFENCE_SOCKET_MODE", text).unwrap_err();
        assert!(error.contains("such as \"0660\""), "{text}: {error}");
    }
}

#[test]
fn combinations_that_cannot_work_are_refused() {
    let error = with_file("[engines]\nenable = ['vectors']").unwrap_err();
    assert!(error.contains("`system` answers hello"), "{error}");
    let error = with_file("[polling]\npollers = 3\ncpus = [0, 1]").unwrap_err();
    assert!(error.contains("2 CPUs for [polling] pollers = 3"), "{error}");
    let error = with_file(&format!("runtime_dir = '/{}'", "d".repeat(100))).unwrap_err();
    assert!(error.contains("would have 122 bytes, an address holds 107"), "{error}");
    let text = "[lanes]\nslots = 4096\n[sessions]\nbytes_per_uid = 1048576";
    let error = with_file(text).unwrap_err();
    assert!(error.contains("one lane needs 2228224 bytes"), "{error}");
}

#[test]
fn a_socket_that_was_passed_admits_whoever_may_open_it_unless_somebody_said_who() {
    let admits = |text: &str, uid| {
        let mut config = with_file(text).unwrap();
        config.admit_by_socket();
        config.allows_uid(uid)
    };
    assert!(!with_file("").unwrap().allows_uid(7), "a socket of its own: itself and root");
    assert!(admits("", 7));
    assert!(!admits("allow_any_uid = false", 7));
    assert!(!admits("allowed_uids = [8]", 7) && admits("allowed_uids = [8]", 8));
    assert!(admits("allowed_uids = [8]\nallow_any_uid = true", 7));
}

#[test]
fn access_that_the_socket_mode_denies_is_a_warning() {
    let warned = |text: &str| with_file(text).unwrap().warnings().len();
    assert_eq!(warned("allow_any_uid = true"), 1);
    assert_eq!(warned("allowed_uids = [7]"), 1);
    assert_eq!(warned("allowed_uids = [7]\nsocket_mode = '0666'"), 0);
    assert_eq!(warned("allowed_uids = [4242, 0]"), 0);
}

#[test]
fn strange_variables_warn_and_those_of_the_client_do_not() {
    let config = with_env("RINGFENCE_SPINS", "never").unwrap();
    let want = "environment RINGFENCE_SPINS is not a setting: did you mean RINGFENCE_SPIN?";
    assert_eq!(config.warnings(), [want]);
    for name in ["RINGFENCE_TARGET", "RINGFENCE_AUTOSTART", "OTHER"] {
        assert_eq!(with_env(name, "x").unwrap().warnings(), [""; 0], "{name}");
    }
    assert_eq!(with_env("RINGFENCE_SPIN", "").unwrap().polling.spin, Spin::Adaptive);
}

#[test]
fn lists_and_switches_are_read_from_variables() {
    let config = with_env("RINGFENCE_CPUS", "2, 3,").unwrap();
    assert_eq!(config.polling.cpus, Some(vec![2, 3]));
    let config = with_env("RINGFENCE_ENGINES", "system,graph").unwrap();
    assert_eq!(config.engines.enable, ["system", "graph"]);
    assert!(with_env("RINGFENCE_ALLOW_ANY_UID", "1").unwrap().allow_any_uid);
    let error = with_env("RINGFENCE_ALLOWED_UIDS", "0,me").unwrap_err();
    assert!(error.starts_with("environment RINGFENCE_ALLOWED_UIDS: allowed_uids = \"0,me\""));
}

#[test]
fn the_printed_configuration_loads_to_the_same() {
    let text = "exit_when_idle_ms = 1\nsocket_group = 'g'\n[polling]\ncpus = [1]\nspin = 'never'\n\
                [board]\ngroup = 'b'\n[state]\ndir = '/s'\n[metrics]\nlisten = '[::1]:9464'\n[lanes]\nslots = 16\n";
    let first = with_file(text).unwrap();
    let second = with_file(&first.to_toml()).unwrap();
    let bare = |config: Config| Config { origins: BTreeMap::new(), ..config };
    assert_eq!(bare(first.clone()), bare(second));
    assert!(first.to_toml().contains("slots = 16  # /"), "{}", first.to_toml());
    let plain = Config::load(&user()).unwrap().to_toml();
    assert!(plain.contains("# exit_when_idle_ms is not set\n"), "{plain}");
    assert!(plain.contains("\n[polling]\nspin = \"adaptive\"\nspin_us = 50\n"), "{plain}");
}

#[test]
fn the_table_and_the_structs_have_the_same_keys_and_variables_are_unique() {
    let mut config = Config::for_host(&user().host);
    config.exit_when_idle_ms = Some(1);
    config.socket_group = Some("g".to_owned());
    config.polling.cpus = Some(vec![0]);
    config.board.group = Some("g".to_owned());
    config.metrics.listen = Some(MetricsAddress::Unix("/m".into()));
    config.state.dir = Some("/s".into());
    let mut have = Vec::new();
    for (key, value) in toml::Table::try_from(&config).unwrap() {
        match value {
            toml::Value::Table(inner) => {
                have.extend(inner.keys().map(|name| format!("{key}.{name}")));
            }
            _ => have.push(key),
        }
    }
    let mut want: Vec<_> = SETTINGS.iter().map(|setting| setting.path.to_owned()).collect();
    have.sort();
    want.sort();
    assert_eq!(have, want);
    let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.env).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), SETTINGS.len());
    assert_eq!(Setting::find("polling.spin").map(Setting::section), Some("polling"));
}

#[test]
fn files_that_are_missing_or_too_large_are_refused() {
    let file = Some(PathBuf::from("/nonexistent/ringfence.toml"));
    let error = Config::load(&Sources { file, ..user() }).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }), "{error}");
    let error = with_file(&"#".repeat((1 << 20) + 1)).unwrap_err();
    assert_eq!(error, "/f.toml: 1048577 bytes, a configuration file has at most 1048576");
}

#[test]
fn users_without_a_number_of_their_own_must_be_listed() {
    let allows = |text: &str, uid| with_file(text).unwrap().allows_uid(uid);
    assert!(allows("allow_any_uid = true", 4242));
    assert!(!allows("allow_any_uid = true", 65_534));
    assert!(allows("allow_any_uid = true\nallowed_uids = [65534]", 65_534));
}
