//! Waiting for whichever of several calls is answered first.

use std::borrow::Borrow;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use ringfence_protocol::layout::down;
use ringfence_protocol::sys::futex::{self, Word};
use ringfence_protocol::wait::{Patience, Step};

use crate::pending::{ASLEEP, Call, Pending};
use crate::wait::CLOCK_EVERY;

/// How long a sleep lasts before the control sockets are looked at.
const SLICE: Duration = Duration::from_millis(50);

/// The longest sleep where not every answer would end it: the calls are in several lanes, or too many.
const NAP: Duration = Duration::from_millis(1);

/// Words that one sleep can watch (futex_waitv(2): 128), but for the lane's own.
const WATCHED: usize = 127;

/// Waits until one of `calls` is answered, or its own time is over: its index. `None`: none is within
/// `at_most`, or there are none. Takes time for each call at every look: for tens of calls, not for
/// thousands.
///
/// ```
/// use ringfence::{CallOptions, wait_any};
/// use std::time::Duration;
///
/// let client = ringfence::doctest_client();
/// let echo = client.method("system", "echo")?;
/// let mut calls = Vec::new();
/// for text in ["one", "two"] {
///     calls.push(client.submit(&echo, text.as_bytes(), &CallOptions::default())?);
/// }
/// while let Some(first) = wait_any(&calls, Duration::from_secs(1)) {
///     let reply = client.wait(calls.swap_remove(first))?;
///     assert_eq!(reply.len(), 3);
/// }
/// # Ok::<(), ringfence::Error>(())
/// ```
#[must_use]
pub fn wait_any<P: Borrow<Pending>>(calls: &[P], at_most: Duration) -> Option<usize> {
    let until = Instant::now().checked_add(at_most);
    let mut open = Vec::with_capacity(calls.len());
    for (index, call) in calls.iter().enumerate() {
        match call.borrow().open() {
            Some(call) => open.push(call),
            None => return Some(index),
        }
    }
    let first = open.first()?;
    let mut patience = Patience::new(first.remote.settings.spin);
    let (mut checked, mut looks) = (Instant::now(), 0_u32);
    loop {
        look(&open);
        if let Some(index) = open.iter().position(|call| call.entry.is_done()) {
            return Some(index);
        }
        let step = patience.step();
        looks = looks.wrapping_add(1);
        if step == Step::Look && !looks.is_multiple_of(CLOCK_EVERY) {
            continue;
        }
        let now = Instant::now();
        let late = |call: &&Call| call.deadline().is_some_and(|deadline| deadline <= now);
        if let Some(index) = open.iter().position(late) {
            return Some(index);
        }
        if until.is_some_and(|until| until <= now) {
            return None;
        }
        if step == Step::Park {
            let left = until.map_or(SLICE, |until| until - now);
            sleep(&open, left.min(SLICE));
        }
        if checked.elapsed() >= SLICE {
            open.iter().for_each(|call| call.remote.check_session(call.serial));
            checked = Instant::now();
        }
    }
}

/// Looks once at each lane that has one of the calls.
fn look(calls: &[&Call]) {
    let mut seen: Option<(*const (), usize)> = None;
    for call in calls {
        let lane = (std::sync::Arc::as_ptr(&call.remote).cast(), call.lane);
        // Neighbours nearly always share theirs.
        if seen != Some(lane) {
            call.remote.look_at(&call.remote.lanes[call.lane]);
            seen = Some(lane);
        }
    }
}

/// Sleeps until one is answered, in the lane of the first; for a moment if there are others.
fn sleep(calls: &[&Call], at_most: Duration) {
    let [first, ..] = calls else { return };
    let same = |call: &&Call| {
        std::sync::Arc::ptr_eq(&call.remote, &first.remote)
            && call.lane == first.lane
            && call.serial == first.serial
    };
    let all = calls.len() <= WATCHED && calls.iter().all(same);
    let at_most = if all { at_most } else { at_most.min(NAP) };
    let (remote, cell) = (&first.remote, &first.remote.lanes[first.lane]);
    let mut holder = cell.hold();
    let Some(lane) = holder.as_mut().filter(|lane| lane.serial == first.serial) else { return };
    let watched: Vec<&&Call> = calls.iter().filter(|call| same(call)).take(WATCHED).collect();
    let words: Option<Vec<Word<'_>>> =
        watched.iter().map(|call| call.entry.fall_asleep()).collect();
    cell.sleepers.fetch_add(1, SeqCst);
    // Others that look at the lane wake us through our entries.
    let alone = cell.awake.load(SeqCst) == 0;
    let by = cell.wake_by();
    let wake = if alone { lane.park_or_drain(remote, by) } else { Some(lane.wake_word()) };
    let down = lane.ring.down().clone();
    drop(holder);
    if let (Some(words), Some(wake)) = (words, wake) {
        let mut all = vec![(down.futex(down::WAKE), wake)];
        all.extend(words.into_iter().map(|word| (word, ASLEEP)));
        let _looked_at_again_whatever_woke_us = futex::wait(&all, at_most);
    }
    cell.sleepers.fetch_sub(1, SeqCst);
    watched.iter().for_each(|call| call.entry.wake_up());
}
