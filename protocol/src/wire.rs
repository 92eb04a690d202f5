//! The control messages: what is said once a session, over the control socket.
//!
//! A message is a fixed prefix (magic, layout version), so that a stranger gets a clear refusal, and a
//! bincode 2 body with a byte limit. This is the only module that knows bincode's configuration
//! (deny.toml says why it is pinned). Encoding and decoding only: no socket here.
//!
//! Identity never travels: it is what the kernel says of the peer.

use bincode::{Decode, Encode};

use crate::disarm::is_armed;
use crate::geometry::Geometry;
use crate::limits;
use crate::schema::{Digest, EngineSchema};

/// First bytes of every control message.
pub const MAGIC: [u8; 8] = *b"RINGFNCE";

/// Version of everything that SPEC.md fixes about segments and control messages. A foreign major is
/// refused; a minor only ever adds.
pub const LAYOUT_MAJOR: u16 = 1;
/// See [`LAYOUT_MAJOR`].
pub const LAYOUT_MINOR: u16 = 0;

const PREFIX: usize = 12;

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ClientMessage {
    /// First of all.
    Hello {
        /// What it calls itself, for people; escaped before it is logged.
        name: String,
        /// Engines that it was compiled with.
        engines: Vec<(String, Digest)>,
    },
    /// A further lane, please.
    OpenLane,
    /// A bulk segment for requests of up to this many bytes, please.
    OpenBulk {
        /// Bytes.
        len: u64,
    },
    /// The board, please.
    OpenBoard,
    /// The client leaves.
    Goodbye,
    /// A waker, please: sleeps that end by a byte (SPEC P7) need one. Once a session.
    OpenWaker,
}

/// An engine of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EngineId {
    /// Its name.
    pub name: String,
    /// Its number, the upper half of its methods' numbers.
    pub number: u16,
    /// Its digest there.
    pub digest: Digest,
    /// Its schema there, if the client was compiled with another.
    pub differs: Option<EngineSchema>,
}

/// A lane that was opened. Its descriptors: `up` (read-write), `down` (read-only).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LaneOpened {
    /// Its number within the session.
    pub lane: u32,
    /// Its sizes.
    pub geometry: Geometry,
    /// Where both its rings start.
    pub start: u64,
}

/// Why a control request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Refusal {
    /// A number of the error table.
    pub code: u16,
    /// What was wrong, with the numbers.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

/// What the daemon says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum DaemonMessage {
    /// To a hello. Descriptors: the session's bell, then those of the lane.
    Welcome {
        /// Number of the session.
        session: u64,
        /// Of this run of the daemon.
        epoch: u64,
        /// The daemon's version, for people.
        version: String,
        /// Its process id, for people.
        pid: u32,
        /// Was it started by a client, to leave with its last one?
        private: bool,
        /// Its engines.
        engines: Vec<EngineId>,
        /// The first lane.
        lane: LaneOpened,
    },
    /// To anything: no.
    Refused(Refusal),
    /// To `OpenLane`. Descriptors: those of the lane.
    Lane(LaneOpened),
    /// To `OpenBulk`. Descriptor: the segment, read-write.
    Bulk {
        /// Its number within the session's request segments, from 1.
        segment: u32,
        /// Its bytes.
        len: u64,
    },
    /// Unasked, before a completion names the segment. Descriptor: the segment, read-only.
    ReplyBulk {
        /// Its number within the session's reply segments, from 1.
        segment: u32,
        /// Its bytes.
        len: u64,
    },
    /// To `OpenBoard`. Descriptor: the board, read-only.
    Board {
        /// Its bytes.
        len: u64,
    },
    /// Unasked, last of all: a rule was broken, and the session is over.
    Killed {
        /// [`crate::fault::Fault::code`].
        fault: String,
        /// The fault with its numbers.
        text: String,
    },
    /// Unasked, last of all: the daemon is shutting down.
    ShuttingDown,
    /// To `OpenWaker`. Descriptor: the client's end of a pair of sockets, into which the daemon puts bytes.
    Waker,
    /// Unasked, before a completion says that the session subscribes. Descriptor: the topic's log,
    /// read-only.
    Topic {
        /// The topic's number.
        topic: u32,
        /// The log's bytes.
        len: u64,
    },
    /// Unasked: a publish waited for this subscription for as long as its topic allows (SPEC B12).
    CutOff {
        /// Its number within the session.
        subscription: u32,
        /// Sequence of the message that waited.
        sequence: u64,
    },
}

/// Why bytes are no control message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Not one of ours.
    #[error("this is no Ringfence control message: is the path another program's socket?")]
    Stranger,
    /// Another layout.
    #[error(
        "layout {major}.{minor} there, {LAYOUT_MAJOR}.{LAYOUT_MINOR} here: install matching versions of client and daemon"
    )]
    Layout {
        /// The other side's major.
        major: u16,
        /// The other side's minor.
        minor: u16,
    },
    /// A body that cannot be decoded, is followed by more bytes, or is over the limit.
    #[error("malformed control message: {reason}")]
    Malformed {
        /// What bincode says.
        reason: String,
    },
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<{ limits::CONTROL_BYTES }>()
}

/// A message as bytes.
///
/// # Errors
/// [`WireError::Malformed`] if it is over [`limits::CONTROL_BYTES`].
pub fn encode<M: Encode>(message: &M) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&LAYOUT_MAJOR.to_le_bytes());
    bytes.extend_from_slice(&LAYOUT_MINOR.to_le_bytes());
    let body = bincode::encode_to_vec(message, config())
        .map_err(|error| WireError::Malformed { reason: error.to_string() })?;
    bytes.extend_from_slice(&body);
    if bytes.len() > limits::CONTROL_BYTES {
        return Err(WireError::Malformed {
            reason: format!(
                "{} bytes are over the limit of {}",
                bytes.len(),
                limits::CONTROL_BYTES
            ),
        });
    }
    Ok(bytes)
}

/// The message that bytes hold.
///
/// # Errors
/// [`WireError`].
pub fn decode<M: Decode<()>>(bytes: &[u8]) -> Result<M, WireError> {
    let Some((prefix, body)) = bytes.split_first_chunk::<PREFIX>() else {
        return Err(WireError::Stranger);
    };
    if prefix[..8] != MAGIC {
        return Err(WireError::Stranger);
    }
    let half = |at: usize| u16::from_le_bytes([prefix[at], prefix[at + 1]]);
    if half(8) != LAYOUT_MAJOR && is_armed("guest.layout") {
        return Err(WireError::Layout { major: half(8), minor: half(10) });
    }
    decode_body(body)
}

/// All engines of a daemon, as `system.catalogue` answers them.
///
/// # Errors
/// [`WireError::Malformed`] if they are over the limit.
pub fn encode_catalogue(engines: &[EngineSchema]) -> Result<Vec<u8>, WireError> {
    bincode::encode_to_vec(engines, config())
        .map_err(|error| WireError::Malformed { reason: error.to_string() })
}

/// The engines in an answer of `system.catalogue`.
///
/// # Errors
/// [`WireError::Malformed`].
pub fn decode_catalogue(bytes: &[u8]) -> Result<Vec<EngineSchema>, WireError> {
    decode_body(bytes)
}

fn decode_body<M: Decode<()>>(body: &[u8]) -> Result<M, WireError> {
    let decoded = if is_armed("guest.bomb") {
        bincode::decode_from_slice(body, config())
    } else {
        bincode::decode_from_slice(body, bincode::config::standard())
    };
    let (message, read) =
        decoded.map_err(|error| WireError::Malformed { reason: error.to_string() })?;
    if read != body.len() {
        return Err(WireError::Malformed {
            reason: format!("{} bytes follow the message", body.len() - read),
        });
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_survive_the_wire() {
        let hello = ClientMessage::Hello {
            name: "worker".into(),
            engines: vec![("vectors".into(), [7; 32])],
        };
        assert_eq!(decode::<ClientMessage>(&encode(&hello).unwrap()), Ok(hello));
        let welcome = DaemonMessage::Welcome {
            session: 1,
            epoch: 2,
            version: "0.1.0".into(),
            pid: 3,
            private: true,
            engines: vec![EngineId {
                name: "vectors".into(),
                number: 1,
                digest: [1; 32],
                differs: Some(crate::api::vectors::schema()),
            }],
            lane: LaneOpened { lane: 0, geometry: Geometry::default(), start: u64::MAX - 3 },
        };
        assert_eq!(decode::<DaemonMessage>(&encode(&welcome).unwrap()), Ok(welcome));
        let all = [crate::api::system::schema(), crate::api::vectors::schema()];
        assert_eq!(decode_catalogue(&encode_catalogue(&all).unwrap()).unwrap(), all);
    }

    #[test]
    fn strangers_and_other_layouts_are_told_apart() {
        assert_eq!(decode::<ClientMessage>(b"GET / HTTP/1.1\r\n\r\n"), Err(WireError::Stranger));
        assert_eq!(decode::<ClientMessage>(b""), Err(WireError::Stranger));
        let mut bytes = encode(&ClientMessage::Goodbye).unwrap();
        bytes[8] = 9;
        assert_eq!(decode::<ClientMessage>(&bytes), Err(WireError::Layout { major: 9, minor: 0 }));
    }

    #[test]
    fn a_length_bomb_is_refused_before_memory_is_taken() {
        let mut bytes = encode(&ClientMessage::Goodbye).unwrap();
        bytes.truncate(PREFIX);
        bytes.extend_from_slice(&[0, 253, 255, 255, 255, 255, 255, 255, 255, 0x7f]); // Hello, name of 2^63
        assert!(matches!(decode::<ClientMessage>(&bytes), Err(WireError::Malformed { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = encode(&ClientMessage::Goodbye).unwrap();
            bytes.truncate(PREFIX);
            bytes.extend_from_slice(&body);
            let _ = decode::<ClientMessage>(&bytes);
            let _ = decode::<DaemonMessage>(&bytes);
            let _ = decode::<ClientMessage>(&body);
        }
    }
}
