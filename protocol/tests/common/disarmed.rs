//! Switches defences off, one at a time, and sees that the tests which attack them fail.
//! Other crates' tests include this file by its path: it is no part of any library.
//!
//! The tests run in processes of their own. One that says that it is skipped here proves nothing, and is
//! passed over.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::resource::{Resource, setrlimit};

/// A defence, and the tests of this program that fail without it.
pub(crate) type Disarmed = (&'static str, &'static [&'static str]);

/// Calls `skip` with what could not be tried.
pub(crate) fn fail_without<'t>(
    table: impl IntoIterator<Item = &'t Disarmed>,
    skip: impl Fn(&str) + Sync,
) {
    // Some of what is attacked ends in a crash.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).unwrap();
    let tests = |(switch, tests): &'t Disarmed| tests.iter().map(move |test| (*switch, *test));
    let pairs: Vec<_> = table.into_iter().flat_map(tests).collect();
    let next = AtomicUsize::new(0);
    // Most of the time is waited for what does not come.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((switch, test)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    fails_without(switch, test, &skip);
                }
            });
        }
    });
}

fn fails_without(switch: &str, test: &str, skip: impl Fn(&str)) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--show-output"])
        .env("RINGFENCE_DISARM", switch)
        // A skip must not pass for the failure that is looked for.
        .env_remove("RINGFENCE_REQUIRE")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let aside = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("running 1 test"), "no test is called {test}");
    if aside.contains("SKIPPED ") {
        skip(&format!("without {switch}, {test} is"));
        return;
    }
    assert!(said.contains(&format!("test {test} ... FAILED")), "without {switch}: {said}");
}
