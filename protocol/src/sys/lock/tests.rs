//! Tests of `lock.rs`. Every test has an instance of its own and removes what it put there.

use std::cell::Cell;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use super::*;
use crate::names::{SegmentKind, lock_path};
use crate::sys::segment::Segment;
use crate::sys::testing::{in_child, instance, uid};

/// Removes a path that a test put there, also when the test fails.
struct Cleanup(PathBuf);

impl Drop for Cleanup {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0).or_else(|_| std::fs::remove_dir(&self.0));
    }
}

fn taken(instance: &Instance) -> (InstanceLock, Cleanup) {
    let lock = InstanceLock::acquire(uid(), instance).expect("acquire");
    let cleanup = Cleanup(lock.path.clone());
    (lock, cleanup)
}

#[test]
fn one_holder_at_a_time_and_the_file_stays() {
    let name = instance();
    let (lock, cleanup) = taken(&name);
    let second = InstanceLock::acquire(uid(), &name);
    assert!(matches!(second, Err(LockError::Held { .. })), "{second:?}");
    drop(lock);
    assert!(cleanup.0.exists());
    InstanceLock::acquire(uid(), &name).expect("free again");
}

#[test]
fn a_holder_may_remove_the_file() {
    let name = instance();
    let (lock, cleanup) = taken(&name);
    lock.release_and_unlink().expect("unlink");
    assert!(!cleanup.0.exists());
    let (_lock, _cleanup) = taken(&name);
}

#[test]
fn a_forked_child_neither_unlocks_nor_unlinks() {
    let name = instance();
    let (lock, cleanup) = taken(&name);
    let copy = Cell::new(Some(lock));
    assert_eq!(in_child(|| i32::from(copy.take().map(drop).is_none())), 0);
    let held = InstanceLock::acquire(uid(), &name);
    assert!(matches!(held, Err(LockError::Held { .. })), "{held:?}");
    let unlinked = || copy.take().map(InstanceLock::release_and_unlink);
    assert_eq!(in_child(|| i32::from(!matches!(unlinked(), Some(Ok(()))))), 0);
    assert!(cleanup.0.exists());
}

#[test]
fn dropping_frees_the_lock_although_a_child_lives() {
    let name = instance();
    let (lock, _cleanup) = taken(&name);
    let (until, release) = nix::unistd::pipe().expect("pipe");
    let child = crate::sys::testing::spawn_child(|| {
        // Holds a copy of the lock's descriptor until the parent says so.
        nix::unistd::read(&until, &mut [0]).map_or(1, |_| 0)
    });
    drop(lock);
    let again = InstanceLock::acquire(uid(), &name);
    nix::unistd::write(&release, &[1]).expect("write");
    assert_eq!(crate::sys::testing::outcome(child), 0);
    again.expect("free again");
}

#[test]
fn a_squatted_lock_names_its_owner_and_is_left_alone() {
    let name = instance();
    let path = lock_path(uid(), &name);
    let _cleanup = Cleanup(path.clone());
    let wrong_of = || match InstanceLock::acquire(uid(), &name) {
        Err(LockError::Squatted { owner, wrong, .. }) => (owner, wrong),
        other => panic!("{other:?}"),
    };

    std::os::unix::fs::symlink("/dev/null", &path).expect("symlink");
    assert_eq!(wrong_of(), (uid(), Wrong::Type(libc::S_IFLNK)));
    std::fs::remove_file(&path).expect("a link");

    std::fs::create_dir(&path).expect("mkdir");
    assert_eq!(wrong_of(), (uid(), Wrong::Type(libc::S_IFDIR)));
    std::fs::remove_dir(&path).expect("a folder");

    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    assert_eq!(wrong_of(), (uid(), Wrong::Type(libc::S_IFIFO)));
    std::fs::remove_file(&path).expect("a fifo");

    std::fs::write(&path, "").expect("write");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).expect("chmod");
    assert_eq!(wrong_of(), (uid(), Wrong::Mode(0o666)));

    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("chmod");
    let second = Cleanup(path.with_extension("second"));
    std::fs::hard_link(&path, &second.0).expect("link");
    assert_eq!(wrong_of(), (uid(), Wrong::Links(2)));
    drop(second);

    if uid() == 0 {
        std::os::unix::fs::chown(&path, Some(12_345), None).expect("chown");
        let refused = InstanceLock::acquire(0, &name).expect_err("squatted");
        assert!(refused.to_string().contains("12345"), "{refused}");
    }
    assert!(path.exists());
}

#[test]
fn racing_takers_and_removers_never_hold_it_twice() {
    const ROUNDS: u32 = 200;
    let name = instance();
    let holders = AtomicU32::new(0);
    let turns = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while turns.load(SeqCst) < ROUNDS {
                    let Ok(lock) = InstanceLock::acquire(uid(), &name) else { continue };
                    assert_eq!(holders.fetch_add(1, SeqCst), 0);
                    turns.fetch_add(1, SeqCst);
                    holders.fetch_sub(1, SeqCst);
                    lock.release_and_unlink().expect("unlink");
                }
            });
        }
    });
    assert!(!lock_path(uid(), &name).exists());
}

#[test]
fn a_file_that_lost_its_name_is_no_lock() {
    let name = instance();
    let (lock, cleanup) = taken(&name);
    // Opened by a taker that loses the processor before it locks.
    let early = open(&cleanup.0, uid()).expect("open");
    lock.release_and_unlink().expect("unlink");
    assert!(!lock_named(&early, &cleanup.0, uid(), &name).expect("nobody holds it"));
    let (_holder, _cleanup) = taken(&name);
    assert!(!lock_named(&early, &cleanup.0, uid(), &name).expect("nobody holds this one"));
}

#[test]
fn a_sweep_takes_its_own_names_and_nothing_else() {
    let name = instance();
    let (lock, _cleanup) = taken(&name);
    let fresh = |of: &Instance, kind| SegmentName::random(uid(), of, kind).expect("random");
    let left_behind = fresh(&name, SegmentKind::Up);
    // As after a kill: the guard never runs.
    std::mem::forget(Segment::create(&left_behind, 4096).expect("create"));

    let foreign = Segment::create(&fresh(&instance(), SegmentKind::Up), 4096).expect("create");
    let link = fresh(&name, SegmentKind::Down);
    let _link_cleanup = Cleanup(link.path());
    std::os::unix::fs::symlink("/dev/null", link.path()).expect("symlink");
    let stranger = Cleanup(lock.path.with_extension("not-a-segment"));
    std::fs::write(&stranger.0, "").expect("write");

    let report = sweep(&lock).expect("sweep");
    assert_eq!(report.removed, std::slice::from_ref(&left_behind));
    assert_eq!(report.refused.len(), 1, "{report:?}");
    assert_eq!(report.refused[0].name, link);
    assert!(!left_behind.path().exists());
    assert!(foreign.name().path().exists() && stranger.0.exists());
    assert!(link.path().is_symlink());
}

#[test]
fn another_folder_has_its_own_locks_and_names() {
    let dir = std::env::temp_dir().join(format!("ringfence-lock-{}", std::process::id()));
    std::fs::create_dir(&dir).expect("a folder");
    let _folder = Cleanup(dir.clone());
    let name = instance();
    let segment = SegmentName::random(uid(), &name, SegmentKind::Up).expect("random");
    let path = dir.join(segment.to_string());
    let _name = Cleanup(path.clone());
    File::create(&path).expect("a name");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(MODE)).expect("chmod");

    let here = InstanceLock::acquire_in(&dir, uid(), &name).expect("nobody holds it");
    let held = InstanceLock::acquire_in(&dir, uid(), &name);
    assert!(matches!(held, Err(LockError::Held { .. })), "{held:?}");
    let there = InstanceLock::acquire(uid(), &name).expect("another lock");
    assert_eq!(sweep(&there).expect("listed").removed, []);
    assert!(path.exists());
    there.release_and_unlink().expect("unlink");
    assert_eq!(sweep(&here).expect("listed").removed, [segment]);
    assert!(!path.exists());
    here.release_and_unlink().expect("unlink");
}
