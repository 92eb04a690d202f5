//! Generated messages against `vectors.json`, which Python passes too (client-py/tests/test_messages.py).

// Helpers are test code too.
#![allow(clippy::unwrap_used)]

#[path = "messages/generated.rs"]
mod generated;
#[path = "messages/json.rs"]
mod json;

use std::fmt::Debug;

use generated::*;
use json::{FromJson, hex, unhex};
use ringfence::contract::{Invalid, TypedMessage};
use serde_json::Value;

fn rows(part: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("messages/vectors.json")).unwrap();
    all[part].as_array().unwrap().clone()
}

fn kind(error: &Invalid) -> &'static str {
    match error {
        Invalid::Length { .. } => "length",
        Invalid::Padding { .. } => "padding",
        Invalid::Utf8 { .. } => "utf8",
        Invalid::Value { .. } => "value",
        Invalid::Broken { .. } => "broken",
        _ => "another",
    }
}

fn good<M: TypedMessage + FromJson + Debug>(row: &Value) {
    let (message, bytes) = (M::from_json(&row["values"]), unhex(&row["bytes"]));
    assert_eq!(hex(&message.to_bytes().unwrap()), row["bytes"]);
    let read = M::from_bytes(&bytes).unwrap();
    // NaN is no equal of itself; its text is.
    assert_eq!(format!("{read:?}"), format!("{message:?}"));
    let mut dirty = vec![0xaa; M::SIZE];
    read.write_to(&mut dirty).unwrap();
    assert_eq!(dirty, bytes);
    // Each byte is a value's or is refused.
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        if let Ok(other) = M::from_bytes(&changed) {
            assert_eq!(other.to_bytes().unwrap(), changed);
        }
    }
}

fn bad_bytes<M: TypedMessage + FromJson + Debug>(row: &Value) {
    let error = M::from_bytes(&unhex(&row["bytes"])).unwrap_err();
    assert_eq!((error.to_string(), kind(&error)), (told(row, "says"), &*told(row, "error")));
}

fn bad_values<M: TypedMessage + FromJson + Debug>(row: &Value) {
    // Rust's types do not have what some of the table is about.
    if row["rust"] == true {
        let error = M::from_json(&row["values"]).to_bytes().unwrap_err();
        // Rust names the field, Python the element, too.
        assert_eq!((error.to_string(), kind(&error)), (told(row, "says"), &*told(row, "error")));
    }
}

fn told(row: &Value, key: &str) -> String {
    row[key].as_str().unwrap().to_owned()
}

/// A check of each row of a part of the table, for the message that it names.
macro_rules! check_all {
    ($part:literal, $check:ident) => {
        check_all!($part, $check, TextMessage CounterUpdate BatchOperation PlayerLogin PlayerPosition
            GameState InstrumentMeta PoolStateUpdate ArbitrageSignal Everything Awkward Empty)
    };
    ($part:literal, $check:ident, $($name:ident)*) => {
        for row in &rows($part) {
            match row["message"].as_str().unwrap() {
                $(stringify!($name) => $check::<$name>(row),)*
                other => panic!("no message {other}"),
            }
        }
    };
}

#[test]
fn good_vectors() {
    check_all!("good", good);
}

#[test]
fn bytes_that_are_no_message() {
    check_all!("bad_bytes", bad_bytes);
}

#[test]
fn values_that_no_message_holds() {
    check_all!("bad_values", bad_values);
}

#[test]
fn the_digest_is_of_the_text() {
    assert_eq!(hex(&SCHEMA_DIGEST), SCHEMA_DIGEST_HEX);
    assert!(
        SCHEMA.starts_with("ringfence contract 1\nschema 4d594345 version 3 min_compatible 2\n")
    );
    assert_eq!((SCHEMA_ID, SCHEMA_VERSION, SCHEMA_MIN_COMPATIBLE), (0x4d59_4345, 3, 2));
}

#[test]
fn a_message_is_written_into_exactly_its_bytes() {
    let counter = CounterUpdate { counter_id: 1, value: 100, delta: 5 };
    let error = counter.write_to(&mut [0; 15]).unwrap_err();
    assert_eq!(error.to_string(), "CounterUpdate: 15 bytes, a CounterUpdate has 16");
    assert_eq!((CounterUpdate::TYPE_ID, CounterUpdate::SIZE), (1002, 16));
}
