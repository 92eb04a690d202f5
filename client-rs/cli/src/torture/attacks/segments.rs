//! Memory that changes under the daemon: scribbled over, truncated, grown, with holes, and memory that is not the
//! client's to write.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;
use ringfence_protocol::layout::{Header, slot};
use ringfence_protocol::memory::Memory as _;
use ringfence_protocol::sys::mapping::{Mapping, Options};

use crate::torture::attack::{
    Attack, Busy, Expect, Outcome, Scene, Seen, Wrong, landed, must, patience,
};
use crate::torture::attacker::Attacker;

const PAGE: i64 = 4096;

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "random-bytes",
        what: "a thread scribbles over all of `up` while another commits and rings",
        rows: &[13],
        expect: &[
            Expect::Fault("inline-length"),
            Expect::Fault("reserved"),
            Expect::Fault("block"),
            Expect::Fault("bulk"),
            Expect::Fault("consumed"),
            Expect::Unharmed,
        ],
        busy: Busy::Calls(2),
        run: random_bytes,
    },
    Attack {
        name: "truncate-zero",
        what: "cuts `up` off at its beginning",
        rows: &[11, 40],
        expect: &[Expect::Fault("truncated")],
        busy: Busy::Visits,
        run: |scene| truncate(scene, |_| 0),
    },
    Attack {
        name: "truncate-half",
        what: "cuts `up` off in the middle of its ring",
        rows: &[11, 40],
        expect: &[Expect::Fault("truncated")],
        busy: Busy::Visits,
        run: |scene| {
            truncate(scene, |attacker| attacker.opened.geometry.up().ring.at(0) as i64 + PAGE)
        },
    },
    Attack {
        name: "truncate-payload",
        what: "cuts the arena off behind which a request has just said its payload lies",
        rows: &[11, 40],
        expect: &[Expect::Fault("truncated")],
        busy: Busy::Visits,
        run: truncate_payload,
    },
    Attack {
        name: "truncate-bulk",
        what: "cuts a bulk segment off whose payload a worker is about to copy",
        rows: &[11, 40],
        expect: &[Expect::Fault("truncated")],
        busy: Busy::Visits,
        run: truncate_bulk,
    },
    Attack {
        name: "grow",
        what: "makes `up` twice as long",
        rows: &[11],
        expect: &[Expect::Fault("altered")],
        busy: Busy::Visits,
        run: grow,
    },
    Attack {
        name: "punch-holes",
        what: "punches a hole into all of `up`, again and again, between calls",
        rows: &[12],
        expect: &[Expect::Fault("altered"), Expect::Fault("consumed")],
        busy: Busy::Visits,
        run: punch,
    },
    Attack {
        name: "write-down",
        what: "writes to, cuts off and maps for writing what only the daemon writes",
        rows: &[37],
        expect: &[Expect::Unharmed],
        busy: Busy::Visits,
        run: write_down,
    },
];

fn random_bytes(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let attacker = scene.connect()?;
    let (up, conn) = (attacker.up.clone(), &attacker.conn);
    let words = up.len() / 8;
    let mut written = 0_u64;
    let storm = |random: &mut super::Random| {
        let value = random.next();
        // Small numbers too, which more often mean something.
        let value = if value & 1 == 0 { value } else { value >> 40 };
        up.store(random.below(words) * 8, value);
    };
    let (storms, ()) = scene.beside(storm, || {
        // Real commits, so that the daemon looks at what was scribbled.
        while !scene.over() || written < 100 {
            let ticket = attacker.opened.start + attacker.claimed();
            let at = attacker.slot_at(ticket) + slot::SEQ;
            attacker.up.store_release(at, ticket + 1);
            attacker.bell.ring()?;
            written += 1;
            if conn.hung_up() {
                break;
            }
            std::thread::sleep(Duration::from_micros(20));
        }
        Ok(())
    })?;
    let proof = format!("{storms} random words under {written} commits");
    if conn.hung_up() {
        return Seen::new(proof, attacker.end()?);
    }
    // It goes on: with its word for what it has read it may be anywhere, and a session of its own is fine.
    scene.connect()?.echo(b"a fresh session")?;
    Seen::new(proof, Outcome::Unharmed)
}

fn size_of(fd: &OwnedFd) -> Result<i64, Wrong> {
    Ok(fstat(fd.as_fd())?.st_size)
}

fn truncate(scene: &Scene<'_>, to: impl FnOnce(&Attacker) -> i64) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    attacker.echo(b"still honest")?;
    let (len, whole) = (to(&attacker) / PAGE * PAGE, size_of(&attacker.up_fd)?);
    ftruncate(attacker.up_fd.as_fd(), len)?;
    landed(size_of(&attacker.up_fd)? == len && len < whole, "the segment has its size still")?;
    Seen::new(format!("`up` has {len} of {whole} bytes"), attacker.end()?)
}

/// Whether the daemon has copied the payload before the cut is a race; that zeros were taken for it is not.
fn truncate_payload(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let payload = vec![7; 5000];
    let block = attacker.lane.place(&payload).ok_or(Wrong::NotLanded("no block is free".into()))?;
    let header = Header { len: 5000, block, method: attacker.echo_method(), ..Header::default() };
    let arena = attacker.opened.geometry.up().arena as i64;
    ftruncate(attacker.up_fd.as_fd(), arena)?;
    landed(size_of(&attacker.up_fd)? == arena, "the segment has its size still")?;
    attacker.publish(header, &[])?;
    let outcome = attacker.end();
    if let Some((_, Ok(answer))) = attacker.try_take()? {
        must(answer == payload, || {
            "zeros in place of a truncated payload were taken for it".into()
        })?;
    }
    Seen::new(format!("`up` ends at byte {arena}, where the payload begins"), outcome?)
}

fn truncate_bulk(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let len = 1 << 20;
    let (segment, memory, fd) = attacker.open_bulk(len)?;
    memory.write_block(0, &vec![7; len]);
    let method = attacker.echo_method();
    ftruncate(fd.as_fd(), 0)?;
    landed(size_of(&fd)? == 0, "the segment has its size still")?;
    let header = Header { method, len: len as u32, block: segment << 24 | 1, ..Header::default() };
    attacker.publish(header, &[])?;
    Seen::new(format!("bulk segment {segment} of {len} bytes has none"), attacker.end()?)
}

fn grow(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let attacker = scene.connect()?;
    let len = size_of(&attacker.up_fd)?;
    ftruncate(attacker.up_fd.as_fd(), 2 * len)?;
    landed(size_of(&attacker.up_fd)? == 2 * len, "the segment has its size still")?;
    Seen::new(format!("`up` has {} bytes in place of {len}", 2 * len), attacker.end()?)
}

fn punch(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let len = size_of(&attacker.up_fd)?;
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    // The sweep looks ten times a second.
    let (since, mut round) = (Instant::now(), 0_u32);
    while since.elapsed() < patience() {
        round += 1;
        let at = attacker.slot_at(attacker.opened.start);
        attacker.up.store(at + slot::SEQ, u64::MAX);
        fallocate(&attacker.up_fd, flags, 0, len)?;
        landed(attacker.up.load(at + slot::SEQ) == 0, "the hole does not read as zeros")?;
        match attacker.echo(&round.to_le_bytes()) {
            Ok(()) => {}
            Err(Wrong::Ended(outcome)) => {
                return Seen::new(format!("{round} holes of {len} bytes"), outcome);
            }
            Err(wrong) => return Err(wrong),
        }
    }
    Seen::new(format!("{round} holes of {len} bytes between calls"), Outcome::Unharmed)
}

fn write_down(scene: &Scene<'_>) -> Result<Seen, Wrong> {
    let mut attacker = scene.connect()?;
    let (fd, len) = (attacker.down_fd.as_fd(), attacker.down.len());
    let wrote = nix::sys::uio::pwrite(fd, b"forged", 0);
    must(wrote.is_err(), || "the daemon's segment was written".into())?;
    must(ftruncate(fd, 0).is_err(), || "the daemon's segment was cut off".into())?;
    let mapped = Mapping::read_write(fd, len, Options::default());
    must(mapped.is_err(), || "the daemon's segment was mapped for writing".into())?;
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    must(fallocate(fd, flags, 0, PAGE).is_err(), || "a hole was punched".into())?;
    attacker.echo(b"still honest")?;
    Seen::new("write, truncation, hole and map were refused by the kernel", Outcome::Unharmed)
}
