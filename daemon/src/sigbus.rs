//! The SIGBUS handler: a client that truncates its own segment kills its session, not the daemon.
//!
//! Invariants: only si_code BUS_ADRERR at an address inside a registered window is handled (the
//! window is marked dead, then zeros take its place, see `ringfence_protocol::sys::window`);
//! everything else goes to the handler that was there before, or to the default, which kills:
//! a real fault is never hidden. The handler allocates nothing, locks nothing and keeps errno.
//! What it does not do: end the session. Whoever copies out of a window asks whether it is dead.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::OnceLock;

use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use parking_lot::Mutex;
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::sys::window::absorb;

/// What was there before us. Written once, before our handler can run.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Held while installing, so that who finds it installed finds it working.
static INSTALLING: Mutex<()> = Mutex::new(());

type PlainHandler = extern "C" fn(libc::c_int);
type InfoHandler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// Installs the handler, once; further calls change nothing. To be called by `main` before it
/// starts a thread: it also unblocks SIGBUS, which threads inherit, because a blocked SIGBUS
/// kills.
///
/// # Errors
/// None that is known; the kernel's answer if there is one.
pub fn install() -> io::Result<()> {
    SigSet::from(Signal::SIGBUS).thread_unblock()?;
    if !is_armed("segment.sigbus") {
        return Ok(());
    }
    let _one_at_a_time = INSTALLING.lock();
    if PREVIOUS.get().is_some() {
        return Ok(());
    }
    let mut previous = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: asks only; `previous` is a live sigaction to be written.
    check(unsafe { libc::sigaction(libc::SIGBUS, std::ptr::null(), previous.as_mut_ptr()) })?;
    // SAFETY: sigaction succeeded, so it has written the whole structure.
    let _was_empty = PREVIOUS.set(unsafe { previous.assume_init() });
    // SAFETY: a sigaction is integers and an optional function pointer; zeros are valid.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    let handler: InfoHandler = on_sigbus;
    action.sa_sigaction = handler as libc::sighandler_t;
    // ONSTACK: a reader may be deep in its stack. The mask stays empty, so that a fault of
    // another kind inside the handler is not turned into a silent kill.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: `action` is complete, and its handler is async-signal-safe (see `on_sigbus`).
    check(unsafe { libc::sigaction(libc::SIGBUS, &raw const action, null_mut()) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs on whatever thread read a truncated page, between two of its instructions. It may use
/// atomics and plain system calls only.
extern "C" fn on_sigbus(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the address of this thread's errno, which is valid as long as the thread.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above; nobody else accesses this thread's errno.
    let saved = unsafe { errno.read() };
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo, and si_addr is the member of its
    // union that a SIGBUS of the kernel carries; for another code it is not used.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr()) };
    let absorbed = code == libc::BUS_ADRERR && absorb(address.addr());
    // SAFETY: as for the read.
    unsafe { errno.write(saved) };
    if !absorbed {
        chain(PREVIOUS.get(), signal, info, context);
    }
}

/// Does what would have happened without us (but for the former handler's signal mask).
fn chain(
    previous: Option<&libc::sigaction>,
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let default = (libc::SIG_DFL, 0);
    let (handler, flags) = previous.map_or(default, |old| (old.sa_sigaction, old.sa_flags));
    // SAFETY: the kernel's siginfo, handed on by `on_sigbus`.
    let code = unsafe { (*info).si_code };
    // The kernel lets nobody ignore a fault that would only happen again.
    let by_kernel = code > 0;
    match handler {
        libc::SIG_IGN if !by_kernel => {}
        libc::SIG_DFL | libc::SIG_IGN => die(signal, by_kernel),
        _ if flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the former handler was installed with SA_SIGINFO, so this is its type.
            let former = unsafe { std::mem::transmute::<usize, InfoHandler>(handler) };
            former(signal, info, context);
        }
        _ => {
            // SAFETY: it was installed without SA_SIGINFO, so this is its type.
            let former = unsafe { std::mem::transmute::<usize, PlainHandler>(handler) };
            former(signal);
        }
    }
}

/// The default action. A fault repeats itself on return; a signal that was sent must be sent
/// again, and arrives when the handler returns.
fn die(signal: libc::c_int, by_kernel: bool) {
    // SAFETY: both calls are async-signal-safe and take no pointers.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        if !by_kernel {
            libc::raise(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ptr::NonNull;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
    use std::time::{Duration, Instant};

    use nix::sys::resource::{Resource, setrlimit};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork, ftruncate, geteuid};
    use ringfence_protocol::names::{Instance, SegmentKind, SegmentName};
    use ringfence_protocol::sys::mapping::{Mapping, Options};
    use ringfence_protocol::sys::segment::Segment;
    use ringfence_protocol::sys::window::{Access, Reserve, Window};

    use super::*;

    const PAGE: usize = 4096;
    const LEN: usize = 4 * PAGE;
    const RESERVED: usize = 64 * PAGE;

    fn segment() -> Segment {
        let instance = Instance::default();
        let name = SegmentName::random(geteuid().as_raw(), &instance, SegmentKind::Up);
        Segment::create(&name.expect("getrandom"), LEN).expect("create")
    }

    fn word(base: NonNull<u8>, page: usize) -> &'static AtomicU64 {
        // SAFETY: aligned and only accessed atomically; the tests keep the mapping longer.
        unsafe { AtomicU64::from_ptr(base.as_ptr().add(page * PAGE).cast()) }
    }

    fn shrink(segment: &Segment, len: usize) {
        ftruncate(segment.fd(), len as i64).expect("ftruncate");
    }

    /// The signal that kills a child that runs `body`, or minus its exit code.
    fn death_of(body: impl FnOnce()) -> i32 {
        // SAFETY: the child runs `body` alone, takes no lock of another thread, and ends by
        // `_exit` or a signal.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Child => {
                let _no_core_file = setrlimit(Resource::RLIMIT_CORE, 0, 0);
                nix::unistd::alarm::set(20);
                body();
                // SAFETY: ends the child without the harness's exit handlers.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => match waitpid(child, None).expect("waitpid") {
                WaitStatus::Signaled(_, signal, _) => signal as i32,
                WaitStatus::Exited(_, code) => -code,
                other => panic!("{other:?}"),
            },
        }
    }

    #[test]
    fn a_reader_goes_on_when_its_segment_is_truncated() {
        install().expect("install");
        let reserve = Reserve::new(RESERVED).expect("reserve");
        let (victim, neighbour) = (segment(), segment());
        let map = |of: &Segment| reserve.map(of.fd(), LEN, Access::ReadOnly).expect("map");
        let windows = [map(&victim), map(&neighbour)];
        let client = Mapping::read_write(neighbour.fd(), LEN, Options::default()).expect("map");
        word(client.base(), 3).store(7, Relaxed);
        let writer = Mapping::read_write(victim.fd(), LEN, Options::default()).expect("map");
        word(writer.base(), 3).store(5, Relaxed);

        let rounds = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| read_until_dead(&windows[0], &rounds));
            // The reader is in the middle of its reads when the ground goes.
            let start = Instant::now();
            while rounds.load(SeqCst) < 1000 && start.elapsed() < Duration::from_secs(15) {
                std::thread::yield_now();
            }
            shrink(&victim, PAGE);
            assert!(reader.join().expect("the reader lives"), "a zero was taken for data");
        });
        assert_eq!(windows.each_ref().map(Window::dead), [true, false]);
        // The whole segment is zeros now, and stays so whatever its writer does.
        shrink(&victim, LEN);
        assert_eq!([0, 3].map(|page| word(windows[0].base(), page).load(Relaxed)), [0, 0]);
        assert_eq!(word(windows[1].base(), 3).load(Relaxed), 7);
    }

    /// Copies a word until the window is dead; whether no copy of a living window was a zero.
    fn read_until_dead(window: &Window, rounds: &AtomicUsize) -> bool {
        let start = Instant::now();
        loop {
            let copy = word(window.base(), 3).load(Relaxed);
            if window.dead() {
                return true;
            }
            if copy != 5 || start.elapsed() > Duration::from_secs(20) {
                return false;
            }
            rounds.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn errno_survives() {
        install().expect("install");
        let reserve = Reserve::new(RESERVED).expect("reserve");
        let segment = segment();
        let window = reserve.map(segment.fd(), LEN, Access::ReadWrite).expect("map");
        shrink(&segment, 0);
        nix::errno::Errno::EXDEV.set();
        word(window.base(), 0).store(1, Relaxed);
        assert_eq!(nix::errno::Errno::last(), nix::errno::Errno::EXDEV);
        assert!(window.dead());
    }

    #[test]
    fn a_fault_outside_the_table_still_kills() {
        install().expect("install");
        let segment = segment();
        let stray = Mapping::read_only(segment.fd(), LEN, Options::default()).expect("map");
        let death = death_of(|| {
            shrink(&segment, 0);
            word(stray.base(), 0).load(Relaxed);
        });
        assert_eq!(death, libc::SIGBUS);
    }

    static CALLED: AtomicUsize = AtomicUsize::new(0);

    extern "C" fn plain(_signal: libc::c_int) {
        CALLED.fetch_add(1, SeqCst);
    }

    extern "C" fn with_info(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: what `chain` was given below.
        CALLED.fetch_add(unsafe { (*info).si_code } as usize, SeqCst);
    }

    /// Chains a SIGBUS with `code` to a former `handler`.
    fn chained(handler: libc::sighandler_t, flags: libc::c_int, code: libc::c_int) {
        // SAFETY: both are integers and pointers for which zeros are valid.
        let (mut old, mut info): (libc::sigaction, libc::siginfo_t) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        (old.sa_sigaction, old.sa_flags) = (handler, flags);
        info.si_code = code;
        chain(Some(&old), libc::SIGBUS, &raw mut info, null_mut());
    }

    #[test]
    fn what_is_not_ours_goes_to_whoever_was_there_before() {
        let (sent, fault) = (libc::SI_USER, libc::BUS_ADRERR);
        let kill = || death_of(|| chained(libc::SIG_DFL, 0, sent));
        assert_eq!(kill(), libc::SIGBUS);
        assert_eq!(death_of(|| chained(libc::SIG_IGN, 0, sent)), 0);
        // A fault repeats itself on return, and meets the default then, also if ignored.
        for handler in [libc::SIG_DFL, libc::SIG_IGN] {
            let repeated = death_of(|| {
                chained(handler, 0, fault);
                // SAFETY: no pointers.
                unsafe { libc::raise(libc::SIGBUS) };
            });
            assert_eq!(repeated, libc::SIGBUS);
        }
        let (plain, with_info) = (plain as PlainHandler, with_info as InfoHandler);
        chained(plain as libc::sighandler_t, 0, fault);
        assert_eq!(CALLED.swap(0, SeqCst), 1);
        chained(with_info as libc::sighandler_t, libc::SA_SIGINFO, fault);
        assert_eq!(CALLED.swap(0, SeqCst), fault as usize);
    }
}
