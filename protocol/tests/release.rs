//! SPEC R4 with an optimiser and a hostile neighbour: while the daemon reads, another thread flips
//! the words of a request between valid and invalid values. What was checked must be what is used.
//!
//! Worth most in a release build (`cargo test --release --test release`): only there may a compiler
//! read shared memory a second time. The last test shows that the neighbour is quick enough to be
//! noticed.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ringfence_protocol::fault::Fault;
use ringfence_protocol::geometry::Geometry;
use ringfence_protocol::layout::{Header, slot, up};
use ringfence_protocol::limits::{INLINE_BYTES, INLINE_WORDS};
use ringfence_protocol::memory::{Heap, Memory};
use ringfence_protocol::region::{Backing, Region};
use ringfence_protocol::ring::{ClientLane, Peek, Place, ServerLane, initialise};
use skip::skip;

#[path = "common/skip.rs"]
mod skip;

const GEOMETRY: Geometry = Geometry { slots: 8, up_blocks: 3, down_blocks: 1 };
const START: u64 = (1 << 32) - 3;
const TURNS: u64 = if cfg!(debug_assertions) { 1_000_000 } else { 20_000_000 };
const FORGED: u64 = 0x00ff_ffff_ffff_ff00;

/// Memory that is neither moved nor freed while a region looks at it.
struct Words(Box<[AtomicU64]>);

// SAFETY: the boxed slice has a fixed, 8-aligned address, lives as long as `self`, and is writable.
unsafe impl Backing for Words {
    fn base(&self) -> NonNull<u8> {
        NonNull::from(&self.0[0]).cast()
    }
    fn len(&self) -> usize {
        self.0.len() * 8
    }
}

fn region(len: usize) -> Region {
    Region::new(Arc::new(Words((0..len / 8).map(|_| AtomicU64::new(0)).collect())))
}

/// A lane with `answered` answers unread and one request waiting, over real memory.
fn lane(answered: u64) -> (Region, ServerLane<Region, Heap>) {
    let (up, down) = (region(GEOMETRY.up().len), Heap::new(GEOMETRY.down().len));
    initialise(&up, &down, GEOMETRY, START);
    let mut server = ServerLane::new(up.clone(), down.clone(), GEOMETRY, START, 1);
    let mut client = ClientLane::new(up.clone(), down, GEOMETRY, START).unwrap();
    for _ in 0..answered {
        client.submit(Header::default(), &[]).unwrap();
        server.claim();
        server.answer(Header::default(), &[]);
        server.release();
    }
    client.submit(Header { len: 8, ..Header::default() }, &[7; 8]).unwrap();
    (up, server)
}

/// The words of the waiting request, flipped from valid to invalid and back until told to stop.
fn flip(up: &Region, words: &[(usize, [u64; 2])], stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        for turn in 0..64 {
            for (number, (at, values)) in words.iter().enumerate() {
                up.store(*at, values[(turn >> number) & 1]);
            }
        }
    }
}

/// Looks `turns` times while the neighbour flips, and on until `look` has seen all it wants to see:
/// the two may share one core. At most a thousand times as long.
fn against(words: &[(usize, [u64; 2])], up: &Region, turns: u64, mut look: impl FnMut() -> bool) {
    let stop = AtomicBool::new(false);
    let mut enough = || {
        for turn in 0..1000 * turns {
            if look() && turn >= turns {
                return true;
            }
            if turn > turns && turn.is_multiple_of(1024) {
                std::thread::yield_now();
            }
        }
        false
    };
    std::thread::scope(|scope| {
        scope.spawn(|| flip(up, words, &stop));
        // A panic of `look` must not leave the neighbour running.
        let looked = catch_unwind(AssertUnwindSafe(&mut enough));
        stop.store(true, Ordering::Relaxed);
        match looked {
            Ok(seen) => assert!(seen, "the neighbour did not flip"),
            Err(panic) => resume_unwind(panic),
        }
    });
}

/// The second and third word of a header, valid and not.
fn flipped(valid: Header, invalid: Header) -> Vec<(usize, [u64; 2])> {
    let at = GEOMETRY.up().ring.at(START);
    let pairs = valid.words().into_iter().zip(invalid.words()).skip(1);
    let offsets = [slot::METHOD, slot::FLAGS, slot::DEADLINE];
    offsets.into_iter().zip(pairs).map(|(word, (a, b))| (at + word, [a, b])).collect()
}

/// `len`, `block` and the reserved bits change under the daemon's eyes: it accepts only what is
/// within bounds, and reads no more than it accepted.
#[test]
fn r4_a_header_that_changes_is_never_accepted_out_of_bounds() {
    let (up, mut server) = lane(0);
    let valid = Header { len: INLINE_BYTES as u32, ..Header::default() };
    let invalid = Header { len: u32::MAX, block: 3, flags: 1, status: 9, ..Header::default() };
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    let (mut out, mut words) = (vec![0; 3 * 4096], [0; INLINE_WORDS]);
    against(&flipped(valid, invalid), &up, TURNS, || {
        match server.peek() {
            Ok(Peek::Request(request)) => {
                let Header { len, flags, status, ticket, .. } = request.header;
                let end = match request.place {
                    Place::Inline => (len as usize) <= INLINE_BYTES,
                    Place::Arena { at } => at + len as usize <= GEOMETRY.up().len,
                    Place::Bulk { .. } => false,
                };
                assert!(end && (flags, status, ticket) == (0, 0, 0), "{:?}", request.header);
                server.read(&request, &mut out[..len as usize]);
                if request.place == Place::Inline {
                    server.read_inline(&request, &mut words); // panics beyond the words
                }
                accepted += 1;
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => refused += 1,
        }
        accepted > 0 && refused > 0
    });
}

/// Block and length of a payload in the arena change: a block that is valid for one length is not
/// for the other.
#[test]
fn r6_a_block_that_changes_never_leads_out_of_the_arena() {
    let (up, mut server) = lane(0);
    let short = Header { len: 4096, block: 3, ..Header::default() };
    let long = Header { len: 3 * 4096, block: 1, ..Header::default() };
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    let mut out = vec![0; 3 * 4096];
    against(&flipped(short, long), &up, TURNS / 6, || {
        match server.peek() {
            Ok(Peek::Request(request)) => {
                let len = request.header.len as usize;
                server.read(&request, &mut out[..len]); // a region panics outside
                accepted += 1;
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => refused += 1,
        }
        accepted > 0 && refused > 0
    });
}

/// `consumed` changes between what it was and a forged value: the forged one is never the one that
/// credit is counted by.
#[test]
fn f3_a_consumed_that_changes_never_gives_credit() {
    let (up, mut server) = lane(8);
    let (mut skipped, mut refused) = (0_u64, 0_u64);
    against(&[(up::CONSUMED, [START, FORGED])], &up, TURNS, || {
        match server.peek() {
            Ok(Peek::NoCredit) => skipped += 1,
            Err(Fault::Consumed { consumed: FORGED, .. }) => refused += 1,
            other => panic!("{other:?}"),
        }
        skipped > 0 && refused > 0
    });
}

/// The neighbour is real: who checks one load and uses another is caught within moments. It is what
/// a plain copy may be compiled to.
#[test]
fn r4_whoever_loads_twice_is_caught() {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        skip("between two loads nothing else runs on one core");
        return;
    }
    let (up, _server) = lane(0);
    let valid = Header { len: INLINE_BYTES as u32, ..Header::default() };
    let invalid = Header { len: u32::MAX, ..Header::default() };
    let at = GEOMETRY.up().ring.at(START) + slot::METHOD;
    let mut caught = 0_u64;
    against(&flipped(valid, invalid), &up, TURNS, || {
        let checked = (up.load(at) >> 32) as usize <= INLINE_BYTES;
        caught += u64::from(checked && (up.load(at) >> 32) as usize > INLINE_BYTES);
        caught > 0
    });
}
