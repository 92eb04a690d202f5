//! systemd: does logind remove live segments, and how is the unit?

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Check;
use super::world::World;

/// `SYS_UID_MAX` that systemd is built with everywhere: logind spares these users.
const SYSTEM_UID_MAX: u32 = 999;
/// How long systemctl may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// logind removes the shared memory of a user who has logged out from all sessions.
pub(super) fn remove_ipc(world: &World) -> Check {
    const NAME: &str = "remove_ipc";
    if world.uid <= SYSTEM_UID_MAX {
        return Check::ok(NAME, format!("uid {} is a system user: logind spares it", world.uid));
    }
    if !world.run.join("systemd/system").exists() {
        return Check::ok(NAME, "systemd does not run here");
    }
    let (removes, origin) = remove_ipc_setting(world);
    if !removes {
        return Check::ok(NAME, format!("RemoveIPC=no in {origin}"));
    }
    let found = format!(
        "RemoveIPC=yes ({origin}): when uid {} logs out, the names of a daemon of its own go",
        world.uid
    );
    let drop_in = "/etc/systemd/logind.conf.d/ringfence.conf";
    let fix = format!(
        "sudo mkdir -p /etc/systemd/logind.conf.d && printf '[Login]\\nRemoveIPC=no\\n' | \
         sudo tee {drop_in} && sudo systemctl reload-or-restart systemd-logind"
    );
    Check::warn(NAME, found, fix)
}

/// The setting and where it stands: the main file, then drop-ins by name, the last one counts.
fn remove_ipc_setting(world: &World) -> (bool, String) {
    let dirs = [&world.etc, &world.run, &world.usr_lib].map(|dir| dir.join("systemd"));
    let mut files: Vec<PathBuf> = Vec::new();
    files.extend(dirs.iter().map(|dir| dir.join("logind.conf")).find(|path| path.exists()));
    let mut drop_ins: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    // One of the same name in a folder that comes earlier hides those behind it.
    for dir in dirs.iter().rev() {
        for entry in std::fs::read_dir(dir.join("logind.conf.d")).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|ending| ending == "conf") {
                drop_ins.insert(entry.file_name(), entry.path());
            }
        }
    }
    files.extend(drop_ins.into_values());
    let mut setting = (true, "the default".to_owned());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        for value in values(&text) {
            let removes = !["no", "n", "false", "f", "0", "off"].contains(&value.as_str());
            setting = (removes, file.display().to_string());
        }
    }
    setting
}

/// Every value of `RemoveIPC=` in `[Login]`, in their order.
fn values(text: &str) -> Vec<String> {
    let mut in_login = false;
    let mut values = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            in_login = line == "[Login]";
        }
        let value =
            line.strip_prefix("RemoveIPC").and_then(|rest| rest.trim_start().strip_prefix('='));
        if let Some(value) = value.filter(|_| in_login) {
            values.push(value.trim().to_lowercase());
        }
    }
    values
}

/// The service of an instance.
pub(super) fn unit_of(instance: &str) -> String {
    match instance {
        "default" => "ringfence.service".to_owned(),
        other => format!("ringfence@{other}.service"),
    }
}

pub(super) fn unit(world: &World) -> Check {
    const NAME: &str = "systemd_unit";
    let Some(systemctl) = &world.systemctl else {
        return Check::ok(NAME, "there is no systemctl");
    };
    let Some(instance) = &world.instance else {
        return Check::ok(NAME, "not known: the target is a path");
    };
    let unit = unit_of(instance.as_str());
    let Some(shown) = show(systemctl, &unit) else {
        return Check::ok(NAME, "systemd does not run here");
    };
    let value = |key: &str| {
        let line = shown.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().to_owned()
    };
    let (load, active, why) = (value("LoadState"), value("ActiveState"), value("Result"));
    let found = format!("{unit} is {active} ({})", value("SubState"));
    match (load.as_str(), active.as_str()) {
        ("not-found" | "", _) => Check::ok(NAME, format!("{unit} is not installed")),
        ("loaded", "active" | "activating" | "reloading") => Check::ok(NAME, found),
        ("loaded", "inactive") => {
            Check::warn(NAME, found, format!("sudo systemctl enable --now {unit}"))
        }
        ("loaded", _) => Check::fail(
            NAME,
            format!("{found}, result {why}"),
            format!("journalctl -u {unit} -e   # then: sudo systemctl restart {unit}"),
        ),
        _ => {
            Check::fail(NAME, format!("{unit} is {load}"), format!("systemd-analyze verify {unit}"))
        }
    }
}

/// What systemctl says; nothing if it fails or takes too long.
fn show(systemctl: &[OsString], unit: &str) -> Option<String> {
    let (program, first) = systemctl.split_first()?;
    let mut child = Command::new(program)
        .args(first)
        .args(["show", unit, "--property=LoadState,ActiveState,SubState,Result"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let end = Instant::now() + PATIENCE;
    // Its few lines fit into a pipe, so it can end before they are read.
    let status = loop {
        match child.try_wait().ok()? {
            Some(status) => break status,
            None if Instant::now() > end => {
                let _ = child.kill();
                break child.wait().ok()?;
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let mut text = String::new();
    child.stdout.take()?.read_to_string(&mut text).ok()?;
    status.success().then_some(text)
}
