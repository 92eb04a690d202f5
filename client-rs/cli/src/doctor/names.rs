//! Names in shared memory that a killed daemon has left.
//!
//! Invariants: a name is stale only if its instance's lock could be taken; it is removed only while
//! that is held, by the same code as at a daemon's start. Other users' names are not looked at.
//! A lock that is taken to ask is held for a moment: a daemon that starts in it may leave with 75.

use std::collections::BTreeMap;
use std::path::Path;

use ringfence_protocol::names::{Instance, SegmentName, lock_name};
use ringfence_protocol::sys::lock::{InstanceLock, LockError, SweepReport, sweep};

use super::Check;
use super::world::World;

const NAME: &str = "stale_names";

/// What became of the names.
#[derive(Default)]
struct Found {
    in_use: usize,
    stale: BTreeMap<Instance, usize>,
    removed: usize,
    /// What cannot be removed, and why.
    refused: Vec<String>,
    /// Locks that are not as they should be.
    locks: Vec<String>,
}

pub(super) fn check(world: &World, fix: bool) -> Check {
    let instances = match instances(&world.shm, world.uid) {
        Ok(instances) => instances,
        Err(error) => {
            let found = format!("{} cannot be listed: {error}", world.shm.display());
            return Check::fail(NAME, found, format!("sudo chmod 1777 {}", world.shm.display()));
        }
    };
    let mut found = Found::default();
    for (instance, names) in instances {
        if fix {
            found.sweep(world, &instance, names);
        } else {
            found.ask(world, instance, names);
        }
    }
    found.judged(world)
}

/// How many names each instance of this user has.
fn instances(shm: &Path, uid: u32) -> std::io::Result<BTreeMap<Instance, usize>> {
    let mut instances = BTreeMap::new();
    for entry in std::fs::read_dir(shm)? {
        let name = entry?.file_name();
        let name = name.to_str().and_then(|text| text.parse::<SegmentName>().ok());
        if let Some(name) = name.filter(|name| name.uid == uid) {
            *instances.entry(name.instance).or_default() += 1;
        }
    }
    Ok(instances)
}

impl Found {
    fn ask(&mut self, world: &World, instance: Instance, names: usize) {
        // Without its file nobody holds it; taking it would make one.
        if world.shm.join(lock_name(world.uid, &instance)).symlink_metadata().is_err() {
            self.stale.insert(instance, names);
            return;
        }
        match InstanceLock::acquire_in(&world.shm, world.uid, &instance) {
            Ok(_released_at_once) => _ = self.stale.insert(instance, names),
            Err(LockError::Held { .. }) => self.in_use += names,
            Err(error) => self.locks.push(error.to_string()),
        }
    }

    fn sweep(&mut self, world: &World, instance: &Instance, names: usize) {
        let lock = match InstanceLock::acquire_in(&world.shm, world.uid, instance) {
            Ok(lock) => lock,
            Err(LockError::Held { .. }) => return self.in_use += names,
            Err(error) => return self.locks.push(error.to_string()),
        };
        match sweep(&lock) {
            Ok(SweepReport { removed, refused }) => {
                self.removed += removed.len();
                let path = |name: &SegmentName| world.shm.join(name.to_string());
                self.refused.extend(
                    refused
                        .iter()
                        .map(|one| format!("{}: {}", path(&one.name).display(), one.reason)),
                );
            }
            Err(error) => self.refused.push(format!("instance {instance}: {error}")),
        }
    }

    fn judged(&self, world: &World) -> Check {
        let mut found = format!("in use: {}", self.in_use);
        if self.removed > 0 {
            found.push_str(&format!(", stale and removed: {}", self.removed));
        }
        let wrong: Vec<&str> = self.locks.iter().chain(&self.refused).map(String::as_str).collect();
        if !wrong.is_empty() {
            let fix = format!(
                "ls -l {0}/ringfence.*   # then: sudo rm what is not yours",
                world.shm.display()
            );
            return Check::fail(NAME, format!("{found}; {}", wrong.join("; ")), fix);
        }
        if self.stale.is_empty() {
            return Check::ok(NAME, found);
        }
        let of = |(instance, names): (&Instance, &usize)| format!("{names} of instance {instance}");
        let stale: Vec<String> = self.stale.iter().map(of).collect();
        let found = format!("{found}, left by daemons that were killed: {}", stale.join(", "));
        Check::warn(
            NAME,
            found,
            "ringfence doctor --fix   # so does the next start of the instance",
        )
    }
}
