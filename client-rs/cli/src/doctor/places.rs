//! Folders and control sockets: whose they are, and who may do what there.
//!
//! Whoever may write the folder can put a socket of its own in the daemon's place.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use nix::unistd::{AccessFlags, access};

use super::Check;
use super::world::World;

const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// The places of the first socket that there is; of the first folder if there is none.
pub(super) fn check(world: &World) -> Vec<Check> {
    const NAMES: [&str; 2] = ["runtime_dir", "control_socket"];
    let connected = world.daemon.as_ref().ok().and_then(|daemon| daemon.info.socket.clone());
    let known = world.sockets.iter().filter(|path| path.symlink_metadata().is_ok());
    let folder_only = world.sockets.iter().filter(|path| path.parent().is_some_and(Path::exists));
    let Some(path) = connected.as_ref().or(known.chain(folder_only).next()) else {
        let looked: Vec<_> = world.sockets.iter().map(|path| path.to_string_lossy()).collect();
        let none = format!("none yet at {}", looked.join(" nor at "));
        return NAMES.map(|name| Check::ok(name, none.clone())).into();
    };
    vec![folders(NAMES[0], world, path), socket(NAMES[1], world, path)]
}

/// The runtime folder, and the instance's in it.
fn folders(name: &'static str, world: &World, socket: &Path) -> Check {
    let mut folders: Vec<&Path> = socket.ancestors().skip(1).take(2).collect();
    folders.retain(|folder| *folder != Path::new(""));
    folders.reverse();
    let mut seen = Vec::new();
    let mut roots = false;
    for folder in folders {
        let shown = folder.display();
        let meta = match folder.metadata() {
            Ok(meta) => meta,
            Err(error) => {
                return Check::fail(name, format!("{shown}: {error}"), format!("ls -ld {shown}"));
            }
        };
        let (owner, mode) = (meta.uid(), meta.mode() & 0o7777);
        seen.push(format!("{shown} of uid {owner}, mode {mode:04o}"));
        let what = seen.join("; ");
        if mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0 {
            let found = format!("{what}: others may put a socket of theirs there");
            return Check::fail(name, found, format!("chmod go-w {shown}"));
        }
        // Who names a path has chosen whom to trust; what root's folder holds, root has.
        if world.instance.is_some() && owner != world.uid && owner != 0 && !roots {
            let found = format!("{what}: it should be this user's ({}) or root's", world.uid);
            return Check::fail(
                name,
                found,
                format!("sudo rm -r {shown}   # ask uid {owner} first"),
            );
        }
        roots = owner == 0;
    }
    Check::ok(name, seen.join("; "))
}

fn socket(name: &'static str, world: &World, path: &Path) -> Check {
    let shown = path.display();
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        Err(_) => return Check::ok(name, format!("none yet at {shown}")),
    };
    let (owner, mode) = (meta.uid(), meta.mode() & 0o7777);
    let found = format!("{shown} of uid {owner}, mode {mode:04o}");
    if !meta.file_type().is_socket() {
        return Check::fail(
            name,
            format!("{found}: no socket"),
            format!("rm {shown}   # the daemon makes it"),
        );
    }
    if mode & 0o002 != 0 {
        let found = format!("{found}: every user of this machine may connect");
        return Check::warn(
            name,
            found,
            format!("chmod o-rwx {shown}   # and socket_mode in ringfence.toml"),
        );
    }
    if owner != world.uid && access(path, AccessFlags::W_OK).is_err() {
        let group = meta.gid();
        let group = nix::unistd::Group::from_gid(group.into())
            .ok()
            .flatten()
            .map_or(group.to_string(), |g| g.name);
        let found = format!("{found}: this user may not connect");
        return Check::fail(
            name,
            found,
            format!("sudo usermod -aG {group} $USER   # from the next login on"),
        );
    }
    Check::ok(name, found)
}
