//! What others put where the daemon's names would be: nothing is followed, nothing overwritten, and the
//! refusal names path and owner.

use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::{Uid, chown, mkfifo};
use ringfence_protocol::wire::{ClientMessage, DaemonMessage};

use super::daemon::Daemon;
use super::foreigners::{path_in_shm, stranger};
use super::raw::{Raw, hear, tell};
use super::trial::Number;

use crate::skip::skip;

/// A path that is gone when the test is.
struct Put(PathBuf);

impl Drop for Put {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0).or_else(|_| std::fs::remove_dir(&self.0));
    }
}

const TREASURE: &[u8] = b"not the daemon's";

/// A file of somebody's, to be led to.
fn treasure(dir: &Path) -> PathBuf {
    let path = dir.join("treasure");
    std::fs::write(&path, TREASURE).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    path
}

fn own() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Puts something at a path, given the treasure's; `false` if this machine does not allow it.
type Squat = fn(&Path, &Path) -> bool;

const SQUATS: [(&str, Squat); 6] = [
    ("a symbolic link", |at, treasure| symlink(treasure, at).is_ok()),
    ("a link to nowhere", |at, _| symlink("/nowhere/at/all", at).is_ok()),
    ("a fifo", |at, _| mkfifo(at, Mode::S_IRUSR | Mode::S_IWUSR).is_ok()),
    ("a folder", |at, _| std::fs::create_dir(at).is_ok()),
    ("a file for all", |at, _| {
        std::fs::write(at, b"").unwrap();
        std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o666)).is_ok()
    }),
    ("a stranger's file", |at, _| {
        std::fs::write(at, b"").unwrap();
        std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(at, Some(Uid::from_raw(stranger())), None).is_ok()
    }),
];

/// Row 56: in the place of the instance lock.
#[test]
fn whatever_is_in_the_locks_place_is_a_refusal_that_names_it() {
    for (what, squat) in SQUATS {
        let (instance, dir) = Daemon::place();
        let treasure = treasure(&dir);
        let lock = Put(path_in_shm(&format!("ringfence.{}.{instance}.lock", own())));
        if !squat(&lock.0, &treasure) {
            skip(&format!("{what} cannot be made here"));
            let _ = std::fs::remove_dir_all(&dir);
            continue;
        }
        let owner = lock.0.symlink_metadata().unwrap().uid();
        let before = lock.0.symlink_metadata().unwrap();
        let mut daemon = Daemon::spawn_at(instance, dir, &[], &[]);
        assert_eq!(daemon.wait(), Some(1), "{what}: {}", daemon.log());
        let log = daemon.log();
        assert!(log.contains("is squatted"), "{what}: {log}");
        assert!(log.contains(lock.0.to_str().unwrap()), "{what}: {log}");
        assert!(log.contains(&format!("owner: uid {owner}")), "{what}: {log}");
        let after = lock.0.symlink_metadata().unwrap();
        assert_eq!((after.ino(), after.mode()), (before.ino(), before.mode()), "{what}");
        assert_eq!(std::fs::read(&treasure).unwrap(), TREASURE, "{what}");
    }
}

/// The same under names like those of segments: they stay, a warning names them, and clients are served.
#[test]
fn whatever_looks_like_a_segment_and_is_none_of_ours_stays() {
    let (instance, dir) = Daemon::place();
    let treasure = treasure(&dir);
    let mut put = Vec::new();
    for (number, (what, squat)) in SQUATS.iter().enumerate() {
        let name = format!("ringfence.{}.{instance}.{number:032x}.up", own());
        let at = Put(path_in_shm(&name));
        if squat(&at.0, &treasure) {
            put.push((what, name, at));
        }
    }
    // A hard link of a file of the daemon's own user: it has another name that is not ours.
    let linked = dir.join("linked");
    std::fs::write(&linked, TREASURE).unwrap();
    std::fs::set_permissions(&linked, std::fs::Permissions::from_mode(0o600)).unwrap();
    let name = format!("ringfence.{}.{instance}.{:032x}.down", own(), 99);
    let (at, also) = (Put(path_in_shm(&name)), Put(path_in_shm(&format!("linked-{instance}"))));
    std::fs::write(&at.0, TREASURE).unwrap();
    std::fs::set_permissions(&at.0, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::hard_link(&at.0, &also.0).unwrap();
    put.push((&"a hard link", name, at));
    // And one that a killed daemon left, so that it is clear that there was a sweep.
    let left = Put(path_in_shm(&format!("ringfence.{}.{instance}.{:032x}.up", own(), 77)));
    std::fs::write(&left.0, b"").unwrap();
    std::fs::set_permissions(&left.0, std::fs::Permissions::from_mode(0o600)).unwrap();

    let daemon = Daemon::spawn_at(instance, dir, &[], &[]);
    super::daemon::until("it serves or says why not", || daemon.is_serving());
    Raw::connect(&daemon).echo(b"in spite of them");
    assert!(!left.0.exists(), "it swept");
    let log = daemon.log();
    for (what, name, at) in &put {
        assert!(at.0.symlink_metadata().is_ok(), "{what} is gone");
        assert!(log.contains(name), "{what}: {name} is not in {log}");
    }
    assert_eq!(std::fs::read(&treasure).unwrap(), TREASURE);
    assert_eq!(std::fs::read(&also.0).unwrap(), TREASURE);
    if put.iter().any(|(what, _, _)| **what == "a stranger's file") {
        assert!(log.contains(&format!("belongs to uid {}", stranger())), "the owner: {log}");
    }
}

/// A folder of somebody else's, or that all may write, is no place for the socket.
#[test]
fn a_folder_that_is_not_ours_alone_is_a_refusal_that_names_its_owner() {
    for (what, inner) in [("the folder", false), ("the instance's folder", true)] {
        for stranger_owns in [true, false] {
            let (instance, dir) = Daemon::place();
            let folder = if inner { dir.join(&instance) } else { dir.clone() };
            let _there_already = std::fs::create_dir(&folder);
            let owner = if stranger_owns { stranger() } else { own() };
            if stranger_owns && chown(&folder, Some(Uid::from_raw(owner)), None).is_err() {
                skip(&format!("only root can give {what} away"));
                let _ = std::fs::remove_dir_all(&dir);
                continue;
            }
            if !stranger_owns {
                let all = std::fs::Permissions::from_mode(0o777);
                std::fs::set_permissions(&folder, all).unwrap();
            }
            let mut daemon = Daemon::spawn_at(instance, dir, &[], &[]);
            assert_eq!(daemon.wait(), Some(1), "{what}: {}", daemon.log());
            let log = daemon.log();
            let says = format!("{} belongs to uid {owner}", folder.display());
            assert!(log.contains(&says), "{what}: {log}");
            assert!(!daemon.socket().exists());
        }
    }
}

/// Row 56, of a daemon that serves: what has its name by now is handed to nobody.
#[test]
fn what_took_the_place_of_a_segment_is_not_handed_over() {
    let mut daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    let board = daemon.names().into_iter().find(|name| name.ends_with(".board")).unwrap();
    let path = path_in_shm(&board);
    let len = std::fs::metadata(&path).unwrap().len();
    std::fs::remove_file(&path).unwrap();
    // As a segment of the daemon's is, in all that can be seen from outside.
    let mut options = std::fs::OpenOptions::new();
    let forged = options.write(true).create_new(true).mode(0o600).open(&path).unwrap();
    forged.set_len(len).unwrap();
    tell(&client.conn, &ClientMessage::OpenBoard);
    let (message, fds) = hear(&client.conn).unwrap();
    assert!(
        matches!(&message, DaemonMessage::Refused(refusal)
        if refusal.reason.contains("leads to another file")),
        "{message:?}"
    );
    assert!(fds.is_empty());
    client.echo(b"goes on");
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(daemon.wait(), Some(0));
    assert!(path.exists(), "nor is it removed");
}

/// Row 57: somebody who may (logind with RemoveIPC, an eager cleaner) removes all names of a daemon that
/// serves. Mappings and descriptors do not need them.
#[test]
fn names_that_are_removed_under_its_feet_end_nothing() {
    let mut daemon = Daemon::start(&[]);
    let mut client = Raw::connect(&daemon);
    client.echo(b"before");
    let names = daemon.names();
    assert!(names.len() >= 4, "{names:?}");
    for name in &names {
        std::fs::remove_file(path_in_shm(name)).unwrap();
    }
    client.echo(b"after");
    assert_eq!(client.trial(3, &Number { value: 20_000 }).map(|_| ()).err(), None);
    let mut newcomer = Raw::connect(&daemon);
    newcomer.echo(b"a session with names of its own");
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(daemon.wait(), Some(0));
    assert_eq!(daemon.names(), [""; 0]);
}
