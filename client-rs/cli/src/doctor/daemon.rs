//! Is there a daemon, and is it of this release?

use ringfence_protocol::names::Instance;

use super::systemd::unit_of;
use super::world::{Silence, World};
use super::{Check, State};
use crate::exit::Exit;

pub(super) fn answers(world: &World) -> Check {
    const NAME: &str = "daemon";
    match &world.daemon {
        Ok(daemon) => {
            let info = &daemon.info;
            let socket = info.socket.as_ref().map_or("".into(), |path| path.to_string_lossy());
            Check::ok(NAME, format!("pid {} answers at {socket}", info.daemon_pid))
        }
        Err(silence) => {
            let check = Check::fail(NAME, silence.reason.as_str(), fix(world, silence));
            // Nobody said that there has to be one.
            let wanted = world.named || silence.exit != Exit::Unavailable;
            if wanted { check } else { Check { state: State::Warn, ..check } }
        }
    }
}

fn fix(world: &World, silence: &Silence) -> String {
    let instance = world.instance.as_ref().map(Instance::as_str);
    let unit = unit_of(instance.unwrap_or("default"));
    match (silence.exit, instance) {
        (Exit::Unavailable, Some(name)) => {
            format!("ringfenced --instance {name}   # or: sudo systemctl start {unit}")
        }
        (Exit::Unavailable, None) => "ringfenced".to_owned(),
        (Exit::NotPermitted, _) => {
            "sudo usermod -aG ringfence $USER   # from the next login on; see control_socket"
                .to_owned()
        }
        _ => format!("journalctl -u {unit} -e   # then: sudo systemctl restart {unit}"),
    }
}

pub(super) fn versions(world: &World) -> Check {
    const NAME: &str = "versions";
    let own = world.version;
    match &world.daemon {
        Err(_) => Check::ok(NAME, format!("ringfence {own}; no daemon to compare with")),
        Ok(daemon) if daemon.info.daemon_version == own => {
            Check::ok(NAME, format!("ringfence and ringfenced are {own}"))
        }
        Ok(daemon) => Check::warn(
            NAME,
            format!("ringfence is {own}, ringfenced is {}", daemon.info.daemon_version),
            "sudo systemctl restart ringfence.service   # after both were installed from one release",
        ),
    }
}
