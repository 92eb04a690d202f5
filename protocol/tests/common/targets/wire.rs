//! Control messages: what a stranger sends first.

use std::fmt::Debug;

use bincode::{Decode, Encode};
use ringfence_protocol::limits::CONTROL_BYTES;
use ringfence_protocol::wire::{
    ClientMessage, DaemonMessage, decode, decode_catalogue, encode, encode_catalogue,
};

use super::allocation::peak;

/// Bytes that decoding may have at once: what bincode lets through, and as much again for the vectors of the
/// elements, which are larger in memory than as bytes.
const AT_ONCE: usize = 8 * CONTROL_BYTES;

/// Any bytes as a message of either side, as they are and behind a right prefix: an error, or a message that
/// encodes to no more bytes and decodes to itself; never more memory at once than a small multiple of the limit.
pub(crate) fn control(bytes: &[u8]) {
    let mut framed = encode(&ClientMessage::Goodbye).unwrap();
    framed.truncate(12);
    framed.extend_from_slice(bytes);
    for bytes in [bytes, &framed] {
        survives::<ClientMessage>(bytes);
        survives::<DaemonMessage>(bytes);
    }
}

fn survives<M: Decode<()> + Encode + Debug + PartialEq>(bytes: &[u8]) {
    let (decoded, held) = peak(|| decode::<M>(bytes));
    assert!(held <= AT_ONCE, "{held} bytes at once for a message of {}", bytes.len());
    let Ok(message) = decoded else { return };
    let again = encode(&message).expect("what was received can be sent");
    assert!(again.len() <= bytes.len(), "{} bytes became {}", bytes.len(), again.len());
    assert_eq!(decode::<M>(&again), Ok(message));
}

/// Any bytes as the engines of a daemon, likewise; and their canonical texts can be made.
pub(crate) fn catalogue(bytes: &[u8]) {
    let (decoded, held) = peak(|| decode_catalogue(bytes));
    assert!(held <= AT_ONCE, "{held} bytes at once for a catalogue of {}", bytes.len());
    let Ok(engines) = decoded else { return };
    let again = encode_catalogue(&engines).expect("what was received can be sent");
    assert!(again.len() <= bytes.len());
    for [here, there] in engines.array_windows() {
        let names = here.methods.iter().map(|method| &*method.name);
        let differs = names.filter(|name| here.first_difference(name, there).is_some()).count();
        assert!(differs <= here.methods.len());
    }
    assert_eq!(decode_catalogue(&again).as_ref(), Ok(&engines));
}
