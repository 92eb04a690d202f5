//! One encoding for each message, and an error for everything else.

use super::*;
use proptest::prelude::*;

message! {
    /// One of everything.
    struct Mixed<'a> {
        /// Flag.
        flag: bool,
        wide: u64,
        name: &'a str,
        small: u16,
        ids: &'a [u64],
        rows: &'a [f32],
    }
}

message! {
    /// Nothing at all.
    struct Empty {}
}

/// Bytes at a multiple of 8, as private copies are.
fn aligned(bytes: &[u8]) -> Vec<u64> {
    let mut words = vec![0u64; bytes.len().div_ceil(8)];
    zerocopy::IntoBytes::as_mut_bytes(&mut words[..])[..bytes.len()].copy_from_slice(bytes);
    words
}

fn decode(bytes: &[u8], check: impl FnOnce(Result<Mixed<'_>, Malformed>)) {
    let words = aligned(bytes);
    check(Mixed::decode(&zerocopy::IntoBytes::as_bytes(&words[..])[..bytes.len()]));
}

fn sample() -> Vec<u8> {
    let mut out = Vec::new();
    Mixed { flag: true, wide: 7, name: "abc", small: 2, ids: &[5, 6], rows: &[1.0, 2.0, 3.0] }
        .encode(&mut out);
    out
}

#[test]
fn fields_stand_where_the_rules_put_them() {
    let bytes = sample();
    // flag 0, wide 8, count of name 16, small 20, count of ids 24; fixed part 28 bytes
    assert_eq!(fixed_len(Mixed::FIELDS), 28);
    assert_eq!(&bytes[28..31], b"abc");
    assert_eq!(&bytes[32..40], &5u64.to_le_bytes());
    assert_eq!(&bytes[48..52], &1.0f32.to_le_bytes());
    assert_eq!(bytes.len(), 60);
}

#[test]
fn every_byte_that_is_padding_must_be_zero() {
    for at in [1, 7, 22, 31] {
        let mut bytes = sample();
        bytes[at] = 1;
        decode(&bytes, |r| assert!(matches!(r, Err(Malformed::Padding { at: a, .. }) if a == at)));
    }
}

#[test]
fn wrong_values_name_their_field() {
    let mut bytes = sample();
    bytes[0] = 2;
    decode(&bytes, |r| assert!(matches!(r, Err(Malformed::Value { field: "flag", at: 0, .. }))));
    let mut bytes = sample();
    bytes[28] = 0xff;
    decode(&bytes, |r| assert!(matches!(r, Err(Malformed::Value { field: "name", .. }))));
    let mut bytes = sample();
    bytes[24] = 0xff; // 255 ids
    decode(&bytes, |r| assert!(matches!(r, Err(Malformed::Short { field: "ids", .. }))));
    let mut bytes = sample();
    bytes.push(0); // 13 bytes of f32
    decode(&bytes, |r| assert!(matches!(r, Err(Malformed::Value { field: "rows", .. }))));
    assert_eq!(Empty::decode(&[0]), Err(Malformed::Trailing { at: 0, extra: 1 }));
    assert_eq!(Empty::decode(&[]), Ok(Empty {}));
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(flag: bool, wide: u64, name in ".{0,20}", small: u16,
        ids in prop::collection::vec(any::<u64>(), 0..9), rows in prop::collection::vec(-1e9f32..1e9, 0..9)) {
        let message = Mixed { flag, wide, name: &name, small, ids: &ids, rows: &rows };
        let mut out = Vec::new();
        message.encode(&mut out);
        let mut result = None;
        decode(&out, |r| result = Some(r.map(|m| { let mut again = Vec::new(); m.encode(&mut again); again })));
        prop_assert_eq!(result, Some(Ok(out)));
    }

    #[test]
    fn accepted_bytes_are_the_one_encoding(bytes in prop::collection::vec(any::<u8>(), 0..96), zeros in 0usize..96) {
        let mut bytes = bytes;
        for byte in bytes.iter_mut().take(zeros) { *byte &= 1; }
        decode(&bytes, |r| if let Ok(message) = r {
            let mut again = Vec::new();
            message.encode(&mut again);
            assert_eq!(again, bytes);
        });
    }
}
