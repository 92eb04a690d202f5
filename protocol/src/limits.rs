//! Every bound of the protocol, in one place. Configuration may lower most of them, never raise one.

/// How long a client waits for an answer if neither the caller nor the method says otherwise.
pub const DEFAULT_TIMEOUT_MS: u32 = 30_000;

/// Bytes of one slot: a header of 40 and a payload of 216 (SPEC, "Slots").
pub const STRIDE: usize = 256;

/// Payload bytes that travel in the slot itself.
pub const INLINE_BYTES: usize = STRIDE - 40;

/// Payload words in the first line of a slot, behind its header: what a short payload costs no second
/// line for.
pub const LINE_WORDS: usize = 3;

/// Payload bytes in the first line of a slot.
pub const LINE_BYTES: usize = LINE_WORDS * 8;

/// Payload words of a slot.
pub const INLINE_WORDS: usize = INLINE_BYTES / 8;

/// Slots of one ring: a power of two in this range.
pub const SLOTS: std::ops::RangeInclusive<u32> = 8..=4096;

/// Slots of one ring by default. Measured, round trip over both rings: 32 slots 75 ns, 128 slots 153 ns:
/// 128 slots of 256 bytes use only a quarter of the sets of a 32 KiB cache, and fall out of it.
pub const DEFAULT_SLOTS: u32 = 32;

/// Bytes of one arena block.
pub const BLOCK_BYTES: usize = 4096;

/// Blocks of one arena: at most 64, so that a set of blocks is one word.
pub const BLOCKS: std::ops::RangeInclusive<u32> = 1..=64;

/// Blocks of one arena by default: 64 KiB.
pub const DEFAULT_BLOCKS: u32 = 16;

/// Replies up to this many bytes are copied out and released at once.
pub const COPY_REPLY_BYTES: usize = 64 * 1024;

/// Bytes of one payload, wherever it lies.
pub const PAYLOAD_BYTES: usize = 1 << 30;

/// Bulk segments of one session and direction, numbered from 1: number 0 is the lane's own arena.
pub const BULK_SEGMENTS: usize = 64;

/// Lanes of one session.
pub const LANES_PER_SESSION: usize = 64;

/// Subscriptions of one session.
pub const SUBSCRIPTIONS: usize = 64;

/// Blocks of logs that one session holds at a time.
pub const HOLDS: usize = 64;

/// Bytes of one control message.
pub const CONTROL_BYTES: usize = 128 * 1024;

/// Control messages that one session may send at once...
pub const CONTROL_MESSAGES: u32 = 1000;

/// ... and how many a second it regains.
pub const CONTROL_MESSAGES_PER_SECOND: u32 = 100;

/// Connections that come in at once, over all users...
pub const CONNECTS: u32 = 256;

/// ... and how many a second after that; more are made to wait: each takes far longer than a call, and whoever connects
/// again and again would keep a core from others' calls (docs/torture.md, `connects`).
pub const CONNECTS_PER_SECOND: u32 = 2000;

/// Connections that wait in the kernel until it is their turn; more are made to wait in connect.
pub const CONNECTS_WAITING: u32 = 128;

/// Descriptors of one control message: the most that a welcome or a lane carries.
pub const CONTROL_FDS: usize = 8;

/// Bytes of the name that a client gives itself.
pub const CLIENT_NAME_BYTES: usize = 64;

/// Engines of one daemon; an engine's number is the upper half of a method number.
pub const ENGINES: usize = 64;

/// Methods of one engine.
pub const METHODS_PER_ENGINE: usize = 256;

/// How often open lanes are swept: a lost bell costs at most this (SPEC, "Waiting").
pub const SWEEP_MS: u64 = 100;

/// Slots of one broadcast log: a power of two in this range. With one slot a message that is being
/// written could not be told from the one before (SPEC B2).
pub const LOG_SLOTS: std::ops::RangeInclusive<u32> = 2..=1_048_576;

/// Slots of one broadcast log by default.
pub const DEFAULT_LOG_SLOTS: u32 = 1024;

/// Bytes of one slot of a broadcast log: a multiple of [`LOG_STRIDE_STEP`] in this range.
pub const LOG_STRIDES: std::ops::RangeInclusive<u32> = 128..=65_536;

/// What a slot of a broadcast log is a multiple of: a cache line.
pub const LOG_STRIDE_STEP: u32 = 64;

/// Bytes of one slot of a broadcast log by default.
pub const DEFAULT_LOG_STRIDE: u32 = 256;

/// Blocks of the arena of one broadcast log. Without any, a message is at most as long as its slot.
pub const LOG_BLOCKS: std::ops::RangeInclusive<u32> = 0..=65_536;

/// Bytes of one such block: a multiple of [`BLOCK_BYTES`] in this range.
pub const LOG_BLOCK_BYTES: std::ops::RangeInclusive<u32> = 4096..=268_435_456;

/// Messages of a subscription's own buffer.
pub const BUFFERED: std::ops::RangeInclusive<usize> = 1..=65_536;

/// Bytes of one broadcast log.
pub const LOG_BYTES: usize = 1 << 30;

/// Bytes of one typed message: what the original's clients take, too.
pub const MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Messages of one contract.
pub const MESSAGES: usize = 4096;

/// Fields of one typed message.
pub const MESSAGE_FIELDS: usize = 256;

/// Bytes of the name of a typed message or of a field.
pub const MESSAGE_NAME_BYTES: usize = 64;

/// How deep the type of a field may be nested: `Vec<[u8; 20]>(10)` is 3 deep.
pub const TYPE_DEPTH: usize = 8;

/// Bytes of a contract, as a file and as canonical text.
pub const CONTRACT_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of a topology, as a file.
pub const TOPOLOGY_BYTES: usize = 1024 * 1024;

/// Nodes of one topology.
pub const TOPOLOGY_NODES: usize = 1024;

/// Services of one topology.
pub const TOPOLOGY_SERVICES: usize = 4096;

/// Bytes of the name of a node or of a service.
pub const TOPOLOGY_NAME_BYTES: usize = 64;

/// Bytes of a host's name: what the DNS takes.
pub const TOPOLOGY_HOST_BYTES: usize = 253;

/// Bytes of a name that a process serves.
pub const SERVING_NAME_BYTES: usize = 64;

/// Names that are served or waited for in one daemon.
pub const SERVING_NAMES: usize = 4096;

/// Names that one session serves.
pub const SERVING_HANDLES: usize = 64;

/// Takes of one session that wait for a request: half the slots of a lane by default, so that its other
/// calls find room.
pub const SERVING_TAKES: usize = 16;

/// Requests that one session has taken and not answered.
pub const SERVING_RUNNING: usize = 1024;

/// Requests that wait for a server of one name.
pub const SERVING_QUEUE: usize = 1024;

/// Bytes of all requests that wait for a server.
pub const SERVING_QUEUED_BYTES: usize = 256 << 20;
