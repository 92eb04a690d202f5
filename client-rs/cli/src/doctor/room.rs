//! Is there room in shared memory for sessions?
//!
//! The daemon makes all segments, so the room is that of its own `/dev/shm`. They are allocated in
//! full before they are used, so too little room refuses a session or a call; it never kills anybody.

use ringfence_protocol::geometry::Geometry;

use super::Check;
use super::world::{Room, World};
use crate::output::bytes;

const NAME: &str = "shared_memory";
/// What containers get that do not ask for more.
const DOCKER_BYTES: u64 = 64 << 20;

pub(super) fn check(world: &World) -> Check {
    let shm = world.shm.display();
    if world.daemon.as_ref().is_ok_and(|daemon| daemon.elsewhere) {
        let found = format!(
            "the daemon is in another container and has a {shm} of its own, which is the one that counts: \
             `ringfence doctor` there"
        );
        return Check::ok(NAME, found);
    }
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
    // A container's own root may not mount.
    let docker = room.total_bytes <= DOCKER_BYTES;
    let (found, fix) = match docker {
        true => (
            format!("{found}. 64 MB are what Docker gives unless it is asked for more"),
            format!(
                "docker run --shm-size=1g ...   # compose: shm_size: 1g; no container: {remount}"
            ),
        ),
        false => (found, remount.to_owned()),
    };
    match room.free_bytes {
        free if free < session => Check::fail(NAME, found, fix),
        free if docker || free < DOCKER_BYTES => Check::warn(NAME, found, fix),
        _ => Check::ok(NAME, found),
    }
}

/// What a session with one lane of the default geometry takes.
fn session_bytes() -> u64 {
    let geometry = Geometry::default();
    (geometry.up().len + geometry.down().len) as u64
}
