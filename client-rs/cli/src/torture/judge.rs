//! Makes an attack, and judges: did it land, did what must be come of it, and is the daemon as it was?
//!
//! The same for all attacks: the daemon lives, nothing of it panicked, it holds what it held before, and the honest
//! neighbour got right answers all along.

use std::time::{Duration, Instant};

use super::attack::{Attack, Outcome, Scene, Seen, Wrong, patience};
use super::home::{Holdings, Home};
use super::honest::{Honest, Times};

/// How an attack went.
pub(super) struct Verdict {
    /// How often it was made.
    pub(super) rounds: u64,
    pub(super) landed: Option<String>,
    pub(super) outcome: Option<Outcome>,
    /// What was seen that must not be; `None` if the defence held.
    pub(super) wrong: Option<String>,
    /// Why it was not made.
    pub(super) skipped: Option<String>,
    /// Of the honest neighbour.
    pub(super) calls: u64,
    pub(super) times: Option<Times>,
}

/// Makes an attack over and over until its time is over.
pub(super) fn judge(
    attack: &Attack,
    scene: &Scene<'_>,
    honest: &Honest,
    before: &Holdings,
) -> Verdict {
    honest.take();
    let mut rounds = 0;
    let (mut landed, mut outcome, mut wrong, mut skipped) = (None, None, None, None);
    loop {
        rounds += 1;
        match (attack.run)(scene) {
            Ok(Seen { landed: proof, outcome: came }) => {
                if !attack.expect.iter().any(|expected| expected.is(&came)) {
                    wrong = Some(format!("it ended as: {came}"));
                }
                (landed, outcome) = (Some(proof), Some(came));
            }
            Err(Wrong::Broken(seen)) => wrong = Some(seen),
            Err(Wrong::Ended(came)) => wrong = Some(format!("the session ended: {came}")),
            Err(Wrong::NotLanded(why)) => wrong = Some(format!("the attack did not land: {why}")),
            Err(Wrong::Skipped(why)) => skipped = Some(why),
        }
        if wrong.is_some() || skipped.is_some() || scene.over() {
            break;
        }
        // The next round must not meet what the last one had.
        wrong = health(scene.home, before);
        if wrong.is_some() {
            break;
        }
    }
    let panic = panic_in(scene.home);
    let ledger = if panic.is_some() { honest.take() } else { at_least_a_few(honest) };
    let aftermath = || {
        health(scene.home, before).or_else(|| {
            let (failures, first) = (ledger.failures, ledger.failure.as_ref()?);
            Some(format!("{failures} calls of the honest neighbour failed, the first: {first}"))
        })
    };
    // A daemon that died explains what the attack saw.
    let wrong = match (panic.or_else(|| panic_in(scene.home)), wrong) {
        (Some(panic), Some(seen)) => Some(format!("{panic}; {seen}")),
        (panic, seen) => panic.or(seen).or_else(aftermath),
    };
    Verdict { rounds, landed, outcome, wrong, skipped, calls: ledger.calls, times: ledger.times() }
}

/// What the neighbour saw; of an attack that is over at once it has seen nothing yet.
fn at_least_a_few(honest: &Honest) -> super::honest::Ledger {
    let mut all = honest.take();
    let end = Instant::now() + 2 * patience();
    while all.calls == 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
        all = honest.take();
    }
    if all.calls == 0 {
        all.failures = 1;
        all.failure = Some(format!("no answer within {:?}", 2 * patience()));
    }
    all
}

/// The first line of a panic in the daemon's log.
fn panic_in(home: &Home) -> Option<String> {
    let news = home.news();
    let line = news.lines().find(|line| line.contains(" panicked at "))?;
    Some(format!("the daemon says: {}", line.trim()))
}

/// What is wrong with the daemon, now that the attacker has left.
fn health(home: &Home, before: &Holdings) -> Option<String> {
    let end = Instant::now() + patience();
    let back = |now: &Holdings| now.names == before.names && now.descriptors <= before.descriptors;
    loop {
        let now = home.holdings();
        if back(&now) {
            return None;
        }
        if now.descriptors == 0 {
            return Some("the daemon has died".into());
        }
        if Instant::now() >= end {
            return Some(format!(
                "the attacker has left, and the daemon holds {} names and {} descriptors where it held {} and {}",
                now.names, now.descriptors, before.names, before.descriptors
            ));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
