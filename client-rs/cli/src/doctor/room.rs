//! Is there room in shared memory for sessions?
//!
//! Segments are allocated in full before they are used, so too little room refuses a session or a
//! call; it never kills anybody.

use ringfence_protocol::geometry::Geometry;

use super::Check;
use super::world::{Room, World};
use crate::output::bytes;

const NAME: &str = "shared_memory";
/// What containers get that do not ask for more.
const DOCKER_BYTES: u64 = 64 << 20;

pub(super) fn check(world: &World) -> Check {
    let shm = world.shm.display();
    let room = match &world.room {
        Ok(Some(room)) => room,
        Ok(None) => return Check::ok(NAME, format!("{shm} has no limit of its own")),
        Err(reason) => {
            let fix = format!("sudo mount -t tmpfs -o mode=1777,size=1g tmpfs {shm}");
            return Check::fail(NAME, format!("{shm} cannot be looked at: {reason}"), fix);
        }
    };
    let session = session_bytes();
    let sessions = room.free_bytes / session;
    let found = format!(
        "{} of {} free in {shm}: room for {sessions} sessions of {}, without large payloads",
        bytes(room.free_bytes),
        bytes(room.total_bytes),
        bytes(session),
    );
    judged(room, session, found, &format!("sudo mount -o remount,size=1g {shm}"))
}

fn judged(room: &Room, session: u64, found: String, remount: &str) -> Check {
    let fix = format!("{remount}   # docker run --shm-size=1g, or shm_size: 1g in compose.yaml");
    if room.free_bytes < session {
        return Check::fail(NAME, found, fix);
    }
    if room.total_bytes <= DOCKER_BYTES {
        let found = format!("{found}. 64 MB are what Docker gives unless it is asked for more");
        return Check::warn(NAME, found, fix);
    }
    if room.free_bytes < DOCKER_BYTES {
        return Check::warn(NAME, found, fix);
    }
    Check::ok(NAME, found)
}

/// What a session with one lane of the default geometry takes.
fn session_bytes() -> u64 {
    let geometry = Geometry::default();
    (geometry.up().len + geometry.down().len) as u64
}
