//! Tests of `segment.rs`; a full tmpfs is a real, small one in a mount namespace of a child.

use std::os::fd::AsRawFd;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::setrlimit;

use super::*;
use crate::names::SegmentKind;
use crate::sys::testing::{in_child, segment_name};
use skip::skip;

#[path = "../../../tests/common/skip.rs"]
mod skip;

const LEN: usize = 10_000;

fn access(fd: BorrowedFd<'_>) -> OFlag {
    OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL).expect("fcntl")) & OFlag::O_ACCMODE
}

fn closes_on_exec(fd: BorrowedFd<'_>) -> bool {
    fcntl(fd, FcntlArg::F_GETFD).expect("fcntl") & libc::FD_CLOEXEC != 0
}

#[test]
fn a_segment_is_allocated_private_and_gone_after_drop() {
    let name = segment_name(SegmentKind::Up);
    let segment = Segment::create(&name, LEN).expect("create");
    assert_eq!((segment.len(), segment.name()), (LEN, &name));
    let stat = fstat(segment.fd()).expect("fstat");
    assert_eq!(check_stat(&stat, nix::unistd::geteuid().as_raw(), Some(LEN as u64)), Ok(()));
    // 512-byte blocks: every page has its home although nobody wrote a byte.
    assert!(stat.st_blocks as usize * 512 >= LEN, "{} blocks", stat.st_blocks);
    assert_eq!(access(segment.fd()), OFlag::O_RDWR);
    assert!(closes_on_exec(segment.fd()));
    // The guard's own mapping, the only one so far, can be neither read nor written.
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let text = name.to_string();
    let mapped: Vec<&str> = maps.lines().filter(|line| line.ends_with(&text)).collect();
    assert!(matches!(mapped[..], [line] if line.contains(" ---s ")), "{mapped:?}");
    drop(segment);
    assert!(!name.path().exists());
}

#[test]
fn a_read_only_descriptor_cannot_write() {
    let name = segment_name(SegmentKind::Down);
    let segment = Segment::create(&name, LEN).expect("create");
    let reader = segment.reopen_read_only().expect("reopen");
    assert_eq!(access(reader.as_fd()), OFlag::O_RDONLY);
    assert!(closes_on_exec(reader.as_fd()));
    assert!(nix::unistd::ftruncate(&reader, 0).is_err());
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let at = std::ptr::null_mut();
    // SAFETY: maps at an address of the kernel's choice, and is expected to fail.
    let mapped =
        unsafe { libc::mmap(at, LEN, protection, libc::MAP_SHARED, reader.as_raw_fd(), 0) };
    assert_eq!(mapped, libc::MAP_FAILED);
}

#[test]
fn a_taken_name_is_refused_and_left_alone() {
    let name = segment_name(SegmentKind::Bulk);
    let _first = Segment::create(&name, LEN).expect("create");
    let second = Segment::create(&name, LEN);
    assert!(matches!(second, Err(SegmentError::Exists { .. })), "{second:?}");
    assert!(name.path().exists());
}

#[test]
fn another_file_under_the_name_is_noticed() {
    let name = segment_name(SegmentKind::Down);
    let segment = Segment::create(&name, LEN).expect("create");
    std::fs::remove_file(name.path()).expect("remove");
    let other = Segment::create(&name, LEN).expect("create");
    let wrong = segment.reopen_read_only();
    assert!(matches!(wrong, Err(SegmentError::NotOurs { wrong: Wrong::Inode, .. })), "{wrong:?}");
    drop(segment);
    other.reopen_read_only().expect("the first one's drop leaves the other's name alone");
}

#[test]
fn lengths_that_cannot_be_are_refused_without_a_name() {
    let name = segment_name(SegmentKind::Up);
    for len in [0, usize::MAX] {
        let refused = Segment::create(&name, len);
        assert!(matches!(refused, Err(SegmentError::Length { .. })), "{refused:?}");
    }
    let refused = Segment::create(&name, i64::MAX as usize);
    assert!(matches!(refused, Err(SegmentError::NoSpace { .. })), "{refused:?}");
    assert!(!name.path().exists());
}

#[test]
fn a_forked_child_unlinks_nothing() {
    let name = segment_name(SegmentKind::Up);
    let segment = Segment::create(&name, LEN).expect("create");
    let copy = std::cell::Cell::new(Some(segment));
    let verdict = in_child(|| {
        drop(copy.take());
        i32::from(!name.path().exists())
    });
    assert_eq!(verdict, 0);
    drop(copy.take());
    assert!(!name.path().exists());
}

#[test]
fn the_file_size_limit_is_a_refusal_not_a_signal() {
    let name = segment_name(SegmentKind::Up);
    let verdict = in_child(|| {
        setrlimit(Resource::RLIMIT_FSIZE, 4096, 4096).expect("setrlimit");
        match Segment::create(&name, LEN) {
            Err(SegmentError::NoSpace { len: LEN, limit: Limit::FileSize { max_bytes: 4096 } }) => {
                0
            }
            _ => 1,
        }
    });
    assert_eq!(verdict, 0);
    assert!(!name.path().exists());
}

/// Exit code of a child that may not mount; the test then says so instead of passing silently.
const NO_PRIVILEGE: i32 = 77;

/// Leaves the machine's mounts: as root directly, else as ourselves in a user namespace.
fn leave_mounts() -> bool {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    // SAFETY: plain system calls, in a child with one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0 {
        return true;
    }
    // SAFETY: as above.
    let alone = unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) } == 0;
    // Without a mapping our own uid could own no file there.
    let told = |file, text: String| std::fs::write(format!("/proc/self/{file}"), text).is_ok();
    alone
        && told("uid_map", format!("{uid} {uid} 1"))
        && told("setgroups", "deny".to_owned())
        && told("gid_map", format!("{gid} {gid} 1"))
}

/// Gives the calling process a /dev/shm of its own with `bytes` bytes.
fn mount_small_tmpfs(bytes: usize) -> bool {
    let options = format!("size={bytes}\0");
    let (none, tmpfs) = (c"none".as_ptr(), c"tmpfs".as_ptr());
    let (root, shm) = (c"/".as_ptr(), c"/dev/shm".as_ptr());
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: plain system calls on strings that outlive them, in a child with one thread; the
    // mount is visible in its own namespace only.
    leave_mounts()
        && unsafe {
            libc::mount(none, root, std::ptr::null(), private, std::ptr::null()) == 0
                && libc::mount(none, shm, tmpfs, 0, options.as_ptr().cast()) == 0
        }
}

#[test]
fn a_full_tmpfs_is_a_refusal_that_names_the_limit() {
    const TOTAL: usize = 1 << 20;
    let verdict = in_child(|| {
        if !mount_small_tmpfs(TOTAL) {
            return NO_PRIVILEGE;
        }
        let first = Segment::create(&segment_name(SegmentKind::Up), TOTAL * 3 / 4);
        let name = segment_name(SegmentKind::Up);
        let refused = Segment::create(&name, TOTAL / 2);
        let named = matches!(
            refused,
            Err(SegmentError::NoSpace {
                limit: Limit::Tmpfs { free_bytes, total_bytes },
                ..
            }) if total_bytes == TOTAL as u64 && free_bytes <= (TOTAL / 4) as u64
        );
        // What another process takes between the question and the allocation.
        let file = tempfile_in_shm();
        nix::unistd::ftruncate(&file, TOTAL as i64).expect("ftruncate");
        let late = allocate(file.as_fd(), TOTAL as u64);
        let clean = !name.path().exists();
        i32::from(first.is_err() || !named || late != Err(Errno::ENOSPC) || !clean)
    });
    if verdict == NO_PRIVILEGE {
        skip("this process may not mount a tmpfs, not even in a user namespace");
        return;
    }
    assert_eq!(verdict, 0);
}

fn tempfile_in_shm() -> OwnedFd {
    let name = segment_name(SegmentKind::Bulk);
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
    shm_open(os_id(&name).as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR).expect("shm_open")
}
