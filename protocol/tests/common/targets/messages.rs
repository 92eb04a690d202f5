//! Requests and replies of all engines, and messages of layouts that are only known at run time.

use ringfence_protocol::api::{bus, serving, system, vectors};
use ringfence_protocol::dynamic::{decode, encode};
use ringfence_protocol::message::{FieldType, Message, Scalar};
use ringfence_protocol::schema::{FieldSchema, Layout};
use zerocopy::IntoBytes as _;

use super::allocation::peak;
use super::chance::Chance;

/// The bytes at a multiple of 8, as a private copy is.
fn aligned<T>(bytes: &[u8], look: impl FnOnce(&[u8]) -> T) -> T {
    let mut words = vec![0_u64; bytes.len().div_ceil(8)];
    words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
    look(&words.as_bytes()[..bytes.len()])
}

/// Tries the bytes as each of the types.
macro_rules! each {
    ($bytes:ident as $($module:ident: $($message:ident),*;)*) => {
        $($(if let Ok(message) = $module::$message::decode($bytes) {
            let mut again = Vec::new();
            message.encode(&mut again);
            assert_eq!(again, $bytes, stringify!($message));
        })*)*
    };
}

/// Any bytes as each message of each engine: an error without an allocation, or a message whose one encoding
/// they are (SPEC R7).
pub(crate) fn requests(bytes: &[u8]) {
    aligned(bytes, |bytes| {
        each! { bytes as
            system: Nothing, Bytes, Stats;
            bus: Open, Opened, Publish, PublishTraced, PublishMany, Published, Subscribe, Subscribed,
                Unsubscribe, Topic, Stats, Names;
            serving: Request, Serve, Handle, Take, Taken, Answer, Which, Wanted, Services;
            vectors: Create, Collection, Names, Add, Added, Ids, Rows, Count, Search, Hits, SearchBatch,
                BatchHits, CollectionStats, Saved, Load, Loaded;
        }
    });
}

/// A layout that says anything about its fields' places.
fn layout(chance: &mut Chance) -> Layout {
    let fields = (0..chance.below(7)).map(|number| {
        let scalar = chance.pick(&Scalar::ALL);
        let ty = chance.pick(&[FieldType::One(scalar), FieldType::Many(scalar), FieldType::Text]);
        let offset = chance.near(0) as u32;
        FieldSchema { name: format!("f{number}"), ty, offset, doc: String::new() }
    });
    Layout { fields: fields.collect(), fixed: chance.near(0) as u32 }
}

/// Any bytes by any layout, its offsets lies: an error, or values whose encoding they are, in no more memory than
/// the values themselves need.
pub(crate) fn dynamic(bytes: &[u8]) {
    let chance = &mut Chance::of(bytes);
    let layout = layout(chance);
    let mut body = chance.rest();
    if chance.below(2) == 0 {
        // A message of zeros is one, whatever its layout; a change or two may leave it one.
        body = vec![0; chance.below(96) as usize];
        for _ in 0..chance.below(3).min(body.len() as u64) {
            let at = chance.below(body.len() as u64) as usize;
            body[at] = chance.below(9) as u8;
        }
    }
    aligned(&body, |body| {
        let (decoded, held) = peak(|| decode(&layout, body));
        assert!(held <= 4096 + 16 * body.len(), "{held} bytes at once for {}", body.len());
        if let Ok(values) = decoded {
            assert_eq!(values.len(), layout.fields.len());
            assert_eq!(encode(&layout, &values).as_deref(), Ok(body));
        }
    });
}
