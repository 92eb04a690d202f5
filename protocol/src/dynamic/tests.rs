//! Values, the typed messages and bytes say the same.

use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::*;
use crate::message::Message;

crate::message! {
    /// One of everything.
    struct Mixed<'a> {
        flag: bool, wide: u64, deep: i16, name: &'a str, small: u16, ids: &'a [u64], low: i64,
        single: f32, double: f64, tag: u8, rows: &'a [f32],
    }
}

fn layout() -> Layout {
    Layout::of::<Mixed<'_>>()
}

fn many<T: IntoBytes + zerocopy::Immutable>(scalar: Scalar, elements: &[T]) -> Value<'_> {
    Value::Many(Elements::from_bytes(scalar, elements.as_bytes()).unwrap())
}

fn values<'a>(mixed: &Mixed<'a>) -> Vec<Value<'a>> {
    vec![
        Value::Bool(mixed.flag),
        Value::Int(mixed.wide.into()),
        Value::Int(mixed.deep.into()),
        Value::Text(mixed.name.into()),
        Value::Int(mixed.small.into()),
        many(Scalar::U64, mixed.ids),
        Value::Int(mixed.low.into()),
        Value::Single(mixed.single),
        Value::Double(mixed.double),
        Value::Int(mixed.tag.into()),
        many(Scalar::F32, mixed.rows),
    ]
}

const SAMPLE: Mixed<'static> = Mixed {
    flag: true,
    wide: u64::MAX,
    deep: i16::MIN,
    name: "Ada",
    small: 7,
    ids: &[1, u64::MAX],
    low: i64::MIN,
    single: 0.1,
    double: -0.1,
    tag: 255,
    rows: &[1.0, -2.5],
};

fn typed(mixed: &Mixed<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    mixed.encode(&mut out);
    out
}

#[test]
fn values_and_types_have_the_same_bytes() {
    let bytes = typed(&SAMPLE);
    assert_eq!(encode(&layout(), &values(&SAMPLE)).unwrap(), bytes);
    assert_eq!(decode(&layout(), &bytes).unwrap(), values(&SAMPLE));
    assert_eq!(encode(&Layout::default(), &[]).unwrap(), []);
    assert_eq!(decode(&Layout::default(), &[]).unwrap(), []);
}

#[test]
fn a_value_of_another_type_names_its_field() {
    let wrong = |index: usize, value: Value<'static>| {
        let mut all = values(&SAMPLE);
        all[index] = value;
        encode(&layout(), &all).unwrap_err().to_string()
    };
    assert_eq!(wrong(0, Value::Int(1)), "field `flag` takes bool");
    assert_eq!(wrong(4, Value::Int(65_536)), "field `small` is 65536; u16 takes 0 to 65535");
    assert_eq!(wrong(2, Value::Int(-32_769)), "field `deep` is -32769; i16 takes -32768 to 32767");
    assert_eq!(wrong(7, Value::Double(0.1)), "field `single` takes f32");
    assert_eq!(wrong(5, many(Scalar::F32, &[1.0_f32])), "field `ids` takes [u64]");
    assert_eq!(wrong(3, Value::Bool(true)), "field `name` takes str");
    let few = encode(&layout(), &[]).unwrap_err();
    assert_eq!(few, EncodeError::Count { given: 0, takes: 11 });
}

#[test]
fn bytes_of_another_layout_name_the_field() {
    let bytes = typed(&SAMPLE);
    let mut cut = bytes.clone();
    cut.truncate(58);
    assert!(
        matches!(decode(&layout(), &cut), Err(DecodeError::Short { field, .. }) if field == "name")
    );
    let mut flag = bytes.clone();
    flag[0] = 2;
    assert!(
        matches!(decode(&layout(), &flag), Err(DecodeError::Value { field, at: 0, .. }) if field == "flag")
    );
    let mut gap = bytes.clone();
    gap[3] = 1;
    assert!(
        matches!(decode(&layout(), &gap), Err(DecodeError::Value { field, at: 3, .. }) if field == "wide")
    );
    assert_eq!(decode(&Layout::default(), &[0]), Err(DecodeError::Trailing { at: 0, extra: 1 }));
}

/// Bytes at a multiple of 8, as private copies are.
fn with_aligned<T>(bytes: &[u8], act: impl FnOnce(&[u8]) -> T) -> T {
    let mut words = vec![0_u64; bytes.len().div_ceil(8)];
    words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
    act(&words.as_bytes()[..bytes.len()])
}

proptest! {
    #[test]
    fn what_the_typed_decoder_refuses_is_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..160), zeros in 0_usize..160, good: bool,
        flips in prop::collection::vec((0_usize..160, any::<u8>()), 0..3),
    ) {
        let mut bytes = if good { typed(&SAMPLE) } else { bytes };
        let zeros = if good { 0 } else { zeros.min(bytes.len()) };
        bytes[..zeros].fill(0);
        for (at, value) in flips {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        let layout = layout();
        let ours = decode(&layout, &bytes);
        with_aligned(&bytes, |aligned| {
            assert_eq!(ours.is_ok(), Mixed::decode(aligned).is_ok());
        });
        if let Ok(values) = ours {
            prop_assert_eq!(encode(&layout, &values).unwrap(), bytes);
        }
    }
}
