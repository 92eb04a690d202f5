//! Recovery over what a kill left and somebody changed afterwards.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ringfence_protocol::layout::down;
use ringfence_protocol::memory::{Heap, Memory};

use crate::chance::Chance;
use crate::recovery::{decisive, recover};
use crate::tape::{GEOMETRY, Order, ReadOnly};
use crate::{World, by_chance};

/// What a kill left, and then somebody's mistakes.
fn segments(chance: &mut Chance) -> (ReadOnly, Heap, u64) {
    let start = chance.start();
    let mut world = World::new(start, Order::Program);
    let script = by_chance(chance.word());
    world.live(&script, Some(start), chance.below(150));
    let position = world.down.load(down::CLAIMED);
    for _ in 0..chance.below(6) {
        world.down.store(decisive(chance, GEOMETRY), chance.near(position));
    }
    if chance.below(4) == 0 {
        let words = chance.pick(&[10, 1000, 100_000]);
        chance.scribble(&world.down, words, position);
    }
    if chance.below(2) == 0 {
        chance.scribble(&world.up, 1000, position);
    }
    (ReadOnly(world.up), world.down, position)
}

#[test]
fn k1_recovery_of_any_down_is_an_error_or_a_bounded_lane() {
    let (mut recovered, mut refused) = (0, 0);
    for seed in 0..8_000 {
        let case = || {
            let chance = &mut Chance::new(seed);
            let left = segments(chance);
            recover(chance, GEOMETRY, left)
        };
        match catch_unwind(AssertUnwindSafe(case)) {
            Ok(true) => recovered += 1,
            Ok(false) => refused += 1,
            Err(_) => panic!("seed {seed}"),
        }
    }
    assert!(recovered > 500 && refused > 500, "{recovered} recovered, {refused} refused");
}
