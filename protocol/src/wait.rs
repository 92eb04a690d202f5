//! How long to look before sleeping: spin briefly, then yield for long, and only then park.
//!
//! Measured (two cores, more busy clients than cores): yielding keeps 7.4 M calls/s where spinning
//! alone falls to 1.6 M and parking early to 1.8 M with a p99 of 129 us. A wake-up costs 38 us where
//! the machine halts idle cores, so parking too early is the worst mistake.
//!
//! It does not sleep itself.

use std::time::{Duration, Instant};

/// How a side waits. A client's setting governs the client only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spin {
    /// Spin, then yield, then park.
    #[default]
    Adaptive,
    /// Never park: for a core of one's own.
    Always,
    /// Park at once: for battery and crowds.
    Never,
}

/// Looks without giving up the core before yielding: 2 to 5 us, as long as the processor's pause is.
const SPIN_TURNS: u32 = 150;

/// Looks between two readings of the clock once the first spin is over.
const CLOCK_EVERY: u32 = 16;

/// Looks between two yields as long as nobody else wants the core: about ten microseconds. A yield is a
/// system call, and an answer that comes meanwhile waits for its end.
const YIELD_EVERY: u32 = 64;

/// Pauses between two looks once the first spin is over: what is waited for takes a while, and perhaps
/// runs on the other half of this very core.
const PAUSES: u32 = 4;

/// A yield that took longer gave the core to somebody.
const CROWDED: Duration = Duration::from_micros(10);

/// How long to yield before parking.
pub const YIELD_FOR: Duration = Duration::from_millis(1);

/// What to do after another look in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look again at once.
    Look,
    /// The core was given up once, and nobody wanted it: look again.
    Yielded,
    /// The core was given up once, and somebody else used it: look again. Who waits for work that
    /// needs this core had better sleep.
    Crowded,
    /// Sleep until woken.
    Park,
}

/// One wait: counts looks in vain.
#[derive(Debug)]
pub struct Patience {
    spin: Spin,
    turns: u32,
    spin_for: Duration,
    yield_for: Duration,
    since: Option<Instant>,
    /// Is the time of spinning over?
    yielding: bool,
    /// Did somebody else want the core when it was last given up?
    crowded: bool,
    /// Of the processor, at the end of a turn once the first spin is over.
    pauses: u32,
    /// Turns of the first spin.
    spin_turns: u32,
}

impl Patience {
    /// A fresh wait.
    #[inline]
    #[must_use]
    pub fn new(spin: Spin) -> Self {
        Self {
            spin,
            turns: 0,
            spin_for: Duration::ZERO,
            yield_for: YIELD_FOR,
            since: None,
            yielding: false,
            crowded: false,
            pauses: PAUSES,
            spin_turns: SPIN_TURNS,
        }
    }

    /// The same wait for who looks several times a turn, with a pause between two looks: [`looks`](Self::looks).
    #[must_use]
    pub fn looking_often(self) -> Self {
        Self { pauses: 1, ..self }
    }

    /// The same wait for who has spun already.
    #[must_use]
    pub fn after_its_spin(self) -> Self {
        Self { turns: self.spin_turns, ..self }
    }

    /// How often who looks several times a turn is to look now. The turn takes as long as another's.
    #[inline]
    #[must_use]
    pub fn looks(&self) -> u32 {
        if self.turns < self.spin_turns { 1 } else { PAUSES }
    }

    /// A fresh wait that yields for this long before it parks.
    #[must_use]
    pub fn yielding_for(spin: Spin, yield_for: Duration) -> Self {
        Self { yield_for, ..Self::new(spin) }
    }

    /// The same wait, spinning at least this long before it yields, by the clock: for a side with a core to
    /// itself, each of whose turns may be many looks.
    #[must_use]
    pub fn spinning_for(self, spin_for: Duration) -> Self {
        Self { spin_for, spin_turns: CLOCK_EVERY, ..self }
    }

    /// Gives up the core once, before anything else: whoever is waited for has just been woken, or has just woken
    /// this side, and may need this very core.
    pub fn yield_once(&mut self) {
        self.turns = self.turns.max(self.spin_turns);
        let before = Instant::now();
        std::thread::yield_now();
        self.crowded = before.elapsed() >= CROWDED;
        self.yielding |= self.crowded;
    }

    /// After a look in vain.
    #[inline]
    pub fn step(&mut self) -> Step {
        if self.spin == Spin::Never {
            return Step::Park;
        }
        self.turns += 1;
        if self.turns < self.spin_turns {
            // Measured: looking less often leaves the line to the side that writes it, 13 % at p50.
            std::hint::spin_loop();
            return Step::Look;
        }
        self.give_up_the_core()
    }

    #[cold]
    fn give_up_the_core(&mut self) -> Step {
        if self.spin == Spin::Always {
            self.turns = 0;
            return Step::Look;
        }
        let mut waited = Duration::ZERO;
        if self.turns.is_multiple_of(CLOCK_EVERY) {
            waited = self.since.get_or_insert_with(Instant::now).elapsed();
            if waited >= self.spin_for + self.yield_for {
                return Step::Park;
            }
        }
        if !self.spin_for.is_zero() && !self.yielding(waited) {
            std::hint::spin_loop();
            return Step::Look;
        }
        if !self.crowded && !self.turns.is_multiple_of(YIELD_EVERY) {
            (0..self.pauses).for_each(|_| std::hint::spin_loop());
            return Step::Look;
        }
        self.yield_once();
        if self.crowded { Step::Crowded } else { Step::Yielded }
    }

    /// Gives up the core from the next step on: who was waited for is known to need one.
    pub fn stop_spinning(&mut self) {
        self.turns = self.turns.max(self.spin_turns);
        self.yielding = true;
        self.crowded = true;
    }

    /// Is the time of spinning over? Once it is, it stays so until the next reset.
    fn yielding(&mut self, waited: Duration) -> bool {
        if waited >= self.spin_for {
            self.yielding = true;
        }
        self.yielding
    }

    /// Something was found: the next wait starts afresh.
    #[inline]
    pub fn reset(&mut self) {
        self.turns = 0;
        self.since = None;
        self.yielding = false;
        self.crowded = false;
    }
}

/// How long not to look at all, learnt from answer to answer.
///
/// A look at a line that the other side is about to write takes the line away from it; the writer then
/// waits until it has it back. So the best first look comes just after the answer has. The lull before it
/// grows when the first look was in vain and shrinks, by half of that, when it was not: about one first
/// look in three comes too early, wherever the two cores sit (measured: with one in five, and more so with
/// one in seventeen, most calls wait longer than they need). (A quantile of the latency, followed
/// by steps of constant size: Robbins and Monro, "A Stochastic Approximation Method", 1951.)
#[derive(Debug, Default)]
pub struct Lull {
    /// Turns of [`Lull::sit_out`].
    turns: u32,
}

impl Lull {
    /// Longest lull: about a microsecond. What takes longer gains nothing.
    const MAX: u32 = 512;
    const GROWTH: u32 = 2;
    const SHRINKAGE: u32 = 1;

    /// Lets the lull pass, without touching memory that others use.
    #[inline(always)]
    pub fn sit_out(&self) {
        let mut left = self.turns;
        // Through memory and back: about 1.5 ns a turn. A pause is twenty times as coarse.
        while std::hint::black_box(left) > 0 {
            left -= 1;
        }
    }

    /// After `looks` in vain the answer was found.
    #[inline(always)]
    pub fn found_after(&mut self, looks: u32) {
        self.turns = match looks {
            0 => self.turns.saturating_sub(Self::SHRINKAGE),
            _ => (self.turns + Self::GROWTH).min(Self::MAX),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the lull settles, for latencies in turns.
    fn settled(latency: impl Fn(u32) -> u32) -> f64 {
        let mut lull = Lull::default();
        let mut sum = 0;
        for call in 0..20_000 {
            lull.found_after(u32::from(lull.turns < latency(call)));
            sum += if call < 10_000 { 0 } else { lull.turns };
        }
        f64::from(sum) / 10_000.0
    }

    #[test]
    fn a_lull_settles_where_most_answers_have_come() {
        let steady = settled(|_| 70);
        assert!((69.0..74.0).contains(&steady), "{steady}");
        // Scattered evenly over 50 to 149: a third comes after 116.
        let scattered = settled(|call| 50 + call.wrapping_mul(7919) % 100);
        assert!((108.0..126.0).contains(&scattered), "{scattered}");
    }

    #[test]
    fn a_lull_has_an_end() {
        let mut lull = Lull::default();
        (0..1000).for_each(|_| lull.found_after(3));
        assert_eq!(lull.turns, Lull::MAX);
        lull.sit_out();
        (0..1000).for_each(|_| lull.found_after(0));
        assert_eq!(lull.turns, 0);
    }

    #[test]
    fn it_spins_then_yields_then_parks() {
        // For long: others may have the core meanwhile.
        let mut patience = Patience::yielding_for(Spin::Adaptive, Duration::from_millis(50));
        let steps: Vec<Step> =
            std::iter::repeat_with(|| patience.step()).take_while(|s| *s != Step::Park).collect();
        let yielded = |step: &Step| matches!(step, Step::Yielded | Step::Crowded);
        let first_yield = steps.iter().position(yielded).unwrap() as u32;
        assert!((SPIN_TURNS - 1..SPIN_TURNS + YIELD_EVERY).contains(&first_yield), "{first_yield}");
        let rest = &steps[first_yield as usize..];
        assert!(
            rest.chunks(YIELD_EVERY as usize).all(|looks| looks.iter().any(yielded)),
            "{rest:?}"
        );
        patience.reset();
        assert_eq!(patience.step(), Step::Look);
    }

    #[test]
    fn always_never_parks_and_never_always_does() {
        let mut patience = Patience::yielding_for(Spin::Always, Duration::ZERO);
        assert!((0..10 * SPIN_TURNS).all(|_| patience.step() != Step::Park));
        assert_eq!(Patience::new(Spin::Never).step(), Step::Park);
    }

    #[test]
    fn who_stops_spinning_yields_at_the_next_step() {
        let mut patience = Patience::yielding_for(Spin::Adaptive, Duration::from_secs(60))
            .spinning_for(Duration::from_secs(60));
        assert_eq!(patience.step(), Step::Look);
        patience.stop_spinning();
        assert!(matches!(patience.step(), Step::Yielded | Step::Crowded));
    }

    #[test]
    fn who_spins_by_the_clock_yields_by_the_clock_however_long_a_turn_is() {
        let mut patience = Patience::yielding_for(Spin::Adaptive, Duration::from_secs(60))
            .spinning_for(Duration::from_millis(2));
        let turn = || {
            std::thread::sleep(Duration::from_micros(200));
            patience.step()
        };
        let spun = std::iter::repeat_with(turn).take_while(|step| *step == Step::Look).count();
        // The clock is looked at every so many turns, and a yield comes every so many.
        assert!(spun < (2 * CLOCK_EVERY + YIELD_EVERY) as usize, "{spun}");
    }

    #[test]
    fn who_yields_once_first_looks_on_as_after_its_spin() {
        let mut patience = Patience::new(Spin::Adaptive).looking_often();
        assert_eq!(patience.looks(), 1);
        patience.yield_once();
        assert_eq!(patience.looks(), PAUSES);
    }
}
