//! Values of `vectors.json` as the generated structs have them.

use ringfence::contract::{Datetime, Decimal, Json, U256, Uuid};
use serde_json::Value;

use crate::generated::*;

/// What a value of the table is in Rust.
pub(crate) trait FromJson {
    fn from_json(value: &Value) -> Self;
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    let pairs = (0..text.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

macro_rules! from_json {
    ($($ty:ty: |$value:ident| $made:expr;)*) => {$(
        impl FromJson for $ty {
            fn from_json($value: &Value) -> Self {
                $made
            }
        }
    )*};
}

fn int<T: TryFrom<i128, Error: std::fmt::Debug>>(value: &Value) -> T {
    value.to_string().parse::<i128>().unwrap().try_into().unwrap()
}

fn float(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

fn list<T: FromJson>(value: &Value) -> Vec<T> {
    value.as_array().unwrap().iter().map(T::from_json).collect()
}

fn array<T: FromJson, const N: usize>(value: &Value) -> [T; N] {
    list(value).try_into().ok().unwrap()
}

from_json! {
    bool: |value| value.as_bool().unwrap();
    u8: |value| int(value);
    u16: |value| int(value);
    u32: |value| int(value);
    u64: |value| int(value);
    i8: |value| int(value);
    i16: |value| int(value);
    i32: |value| int(value);
    i64: |value| int(value);
    f32: |value| float(value) as f32;
    f64: |value| float(value);
    String: |value| value.as_str().unwrap().to_owned();
    Json: |value| value.as_str().unwrap().into();
    Datetime: |value| Datetime(int(value));
    Vec<u8>: |value| unhex(value);
    [u8; 3]: |value| unhex(value).try_into().unwrap();
    [u8; 20]: |value| unhex(value).try_into().unwrap();
    [u32; 2]: |value| array(value);
    [f32; 3]: |value| array(value);
    [i16; 2]: |value| array(value);
    [[i16; 2]; 3]: |value| array(value);
    Vec<u64>: |value| list(value);
    Vec<f32>: |value| list(value);
    Vec<bool>: |value| list(value);
    Vec<String>: |value| list(value);
    Vec<Uuid>: |value| list(value);
    Vec<Decimal>: |value| list(value);
    Vec<[u8; 20]>: |value| list(value);
    Vec<Option<u16>>: |value| list(value);
}

impl<T: FromJson> FromJson for Option<T> {
    fn from_json(value: &Value) -> Self {
        (!value.is_null()).then(|| T::from_json(value))
    }
}

impl FromJson for U256 {
    fn from_json(value: &Value) -> Self {
        let digits = value.as_str().unwrap().trim_start_matches("0x");
        let mut bytes = unhex(&format!("{digits:0>64}").into());
        bytes.reverse();
        U256(bytes.try_into().unwrap())
    }
}

impl FromJson for Uuid {
    fn from_json(value: &Value) -> Self {
        let uuid =
            Uuid(unhex(&value.as_str().unwrap().replace('-', "").into()).try_into().unwrap());
        assert_eq!(uuid.to_string(), value.as_str().unwrap());
        uuid
    }
}

impl FromJson for Decimal {
    fn from_json(value: &Value) -> Self {
        let text = value.as_str().unwrap();
        let scale = text.split_once('.').map_or(0, |(_, behind)| behind.len() as u8);
        Decimal { digits: text.replace('.', "").parse().unwrap(), scale }
    }
}

macro_rules! messages {
    ($($name:ident { $($field:ident = $key:literal),* })*) => {$(
        impl FromJson for $name {
            fn from_json(_values: &Value) -> Self {
                Self { $($field: FromJson::from_json(&_values[$key])),* }
            }
        }
    )*};
}

messages! {
    TextMessage { sender = "sender", content = "content", timestamp = "timestamp" }
    CounterUpdate { counter_id = "counter_id", value = "value", delta = "delta" }
    BatchOperation { operation = "operation", items = "items" }
    PlayerLogin { player_id = "player_id", username = "username", session = "session", friends = "friends" }
    PlayerPosition { player_id = "player_id", place = "place", facing = "facing" }
    GameState { tick = "tick", running = "running", teams = "teams", names = "names", winner = "winner" }
    InstrumentMeta {
        symbol = "symbol", tick_size = "tick_size", address = "address", listed = "listed", extra = "extra"
    }
    PoolStateUpdate {
        pool = "pool", reserve0 = "reserve0", reserve1 = "reserve1", fee = "fee", block = "block"
    }
    ArbitrageSignal { id = "id", profit = "profit", route = "route", deadline = "deadline" }
    Everything {
        flag = "flag", a = "a", b = "b", c = "c", d = "d", e = "e", f = "f", g = "g", h = "h", i = "i",
        j = "j", k = "k", l = "l", m = "m", n = "n", o = "o", p = "p", q = "q", r = "r", s = "s",
        t = "t", u = "u", v = "v", w = "w", x = "x", y = "y", z = "z"
    }
    Awkward {
        class = "class", r#type = "type", writer = "writer", out = "out", reader = "reader", int = "int",
        str = "str", bytes = "bytes"
    }
    Empty {}
}
