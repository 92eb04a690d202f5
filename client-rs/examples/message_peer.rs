//! The Rust end of a test: Python's messages are decoded and encoded again here, and the other way
//! round (`client-py/tests/test_messages_peer.py`). Not a model for anything.
//!
//! `message_peer echo` reads lines of `TYPE_ID HEX` and answers each with the hex of the message that
//! it decoded, or with `error: ` and why not. `message_peer random SEED COUNT` writes such lines.

// Test code: it may stop where the test is wrong.
#![allow(clippy::unwrap_used)]

use std::io::BufRead as _;

use ringfence::contract::{Datetime, Decimal, Invalid, Json, TypedMessage, U256, Uuid};

#[path = "../tests/messages/generated.rs"]
mod generated;
use generated::*;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["echo"] => echo(),
        ["random", seed, count] => random(seed.parse().unwrap(), count.parse().unwrap()),
        _ => eprintln!("message_peer echo | random SEED COUNT"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn again<M: TypedMessage>(bytes: &[u8]) -> Result<Vec<u8>, Invalid> {
    M::from_bytes(bytes)?.to_bytes()
}

fn echo() {
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let (type_id, text) = line.split_once(' ').unwrap();
        let pairs = (0..text.len()).step_by(2);
        let bytes: Vec<u8> =
            pairs.map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
        match decode(type_id.parse().unwrap(), &bytes) {
            Ok(bytes) => println!("{}", hex(&bytes)),
            Err(error) => println!("error: {error}"),
        }
    }
}

/// xorshift64*, with a taste for limits.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    fn bits(&mut self) -> u64 {
        match self.below(4) {
            0 => 0,
            1 => u64::MAX,
            _ => self.next(),
        }
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.bits() as u8).collect()
    }

    fn text(&mut self, least: usize, most: usize) -> String {
        let mut text = "x".repeat(least);
        let len = least + self.below(most - least + 1);
        while let Some(c) = ["a", "\0", "é", "日", "🦀"].get(self.below(6)) {
            if text.len() + c.len() > len {
                break;
            }
            text.push_str(c);
        }
        text
    }

    fn float(&mut self) -> f64 {
        let value = f64::from_bits(self.bits());
        // Python and Rust may write a NaN in different ways.
        if value.is_nan() { f64::NEG_INFINITY } else { value }
    }

    fn single(&mut self) -> f32 {
        let value = f32::from_bits(self.bits() as u32);
        if value.is_nan() { f32::INFINITY } else { value }
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.bits() as u8)
    }

    fn list<T>(&mut self, most: usize, one: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| one(self)).collect()
    }

    fn maybe<T>(&mut self, one: impl Fn(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 1).then(|| one(self))
    }

    fn decimal(&mut self) -> Decimal {
        let digits = (u128::from(self.bits()) << 64 | u128::from(self.bits())) as i128;
        Decimal { digits, scale: self.below(39) as u8 }
    }
}

fn random(seed: u64, count: usize) {
    let mut rng = Rng(seed | 1);
    for _ in 0..count {
        let r = &mut rng;
        show(&TextMessage { sender: r.text(0, 32), content: r.text(1, 256), timestamp: r.bits() });
        show(&CounterUpdate {
            counter_id: r.bits(),
            value: r.bits() as i32,
            delta: r.bits() as i32,
        });
        let first = r.array();
        let items = [vec![first], r.list(9, Rng::array)].concat();
        show(&BatchOperation { operation: r.bits() as u8, items });
        show(&GameState {
            tick: r.bits() as u32,
            running: r.below(2) == 1,
            teams: [[r.bits() as i16; 2]; 3],
            names: r.list(3, |r| r.text(0, 7)),
            winner: r.maybe(|r| r.text(0, 16)),
        });
        show(&ArbitrageSignal {
            id: Uuid(r.array()),
            profit: r.float().abs().max(0.5),
            route: r.list(4, |r| r.maybe(|r| r.bits() as u16)),
            deadline: r.maybe(|r| Datetime(r.bits() as i64)),
        });
        show(&everything(r));
    }
}

fn everything(r: &mut Rng) -> Everything {
    Everything {
        flag: r.below(2) == 1,
        a: r.bits() as u8,
        b: r.bits() as u16,
        c: r.bits() as u32,
        d: r.bits(),
        e: r.bits() as i8,
        f: r.bits() as i16,
        g: r.bits() as i32,
        h: r.bits() as i64,
        i: r.single(),
        j: r.float(),
        k: U256(r.array()),
        l: Uuid(r.array()),
        m: Datetime(r.bits() as i64),
        n: r.decimal(),
        o: r.text(0, 5),
        p: r.bytes(5),
        q: Json(r.text(0, 9)),
        r: r.array(),
        s: [r.bits() as u32, r.bits() as u32],
        t: r.bytes(3),
        u: r.list(3, Rng::single),
        v: r.list(3, |r| r.below(2) == 1),
        w: r.list(2, |r| Uuid(r.array())),
        x: r.list(2, Rng::decimal),
        y: r.maybe(|r| r.bits() as u8),
        z: r.maybe(|r| r.text(0, 3)),
    }
}

fn show<M: TypedMessage>(message: &M) {
    println!("{} {}", M::TYPE_ID, hex(&message.to_bytes().unwrap()));
}

macro_rules! decode {
    ($($name:ident)*) => {
        fn decode(type_id: u16, bytes: &[u8]) -> Result<Vec<u8>, Invalid> {
            match type_id {
                $($name::TYPE_ID => again::<$name>(bytes),)*
                other => panic!("no message has type number {other}"),
            }
        }
    };
}

decode!(TextMessage CounterUpdate BatchOperation PlayerLogin PlayerPosition GameState InstrumentMeta
    PoolStateUpdate ArbitrageSignal Everything Awkward Empty);
