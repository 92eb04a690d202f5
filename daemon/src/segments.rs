//! Making segments: the one place where the daemon creates names and maps them.
//!
//! Whoever holds the [`Segment`] owns the name; whoever holds a [`Region`] keeps the mapping. The two
//! are apart so that names go with the session while a job may still read its last payload.

use std::sync::Arc;

use ringfence_protocol::names::{Instance, SegmentKind, SegmentName};
use ringfence_protocol::region::Region;
use ringfence_protocol::sys::segment::{Segment, SegmentError};
use ringfence_protocol::sys::window::{Access, Reserve, WindowError};

/// Addresses for all windows of a daemon: 1 TiB of address space, no memory.
const RESERVE_BYTES: usize = 1 << 40;

/// Why a segment could not be made. The text names the limit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum MakeError {
    /// No random name.
    #[error("no random number could be had: {0}")]
    Random(#[from] std::io::Error),
    /// No segment.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// No window.
    #[error(transparent)]
    Window(#[from] WindowError),
}

/// Makes the segments of one daemon. Clones share the addresses.
#[derive(Clone, Debug)]
pub(crate) struct Segments {
    reserve: Reserve,
    uid: u32,
    instance: Instance,
}

impl Segments {
    pub(crate) fn new(uid: u32, instance: Instance) -> Result<Self, WindowError> {
        Ok(Self { reserve: Reserve::new(RESERVE_BYTES)?, uid, instance })
    }

    /// A fresh segment of `len` zero bytes under a random name, fully allocated, and its window.
    pub(crate) fn make(
        &self,
        kind: SegmentKind,
        len: usize,
        access: Access,
    ) -> Result<(Segment, Region), MakeError> {
        let name = SegmentName::random(self.uid, &self.instance, kind)?;
        let segment = Segment::create(&name, len)?;
        let window = self.reserve.map(segment.fd(), len, access)?;
        window.populate();
        Ok((segment, Region::new(Arc::new(window))))
    }
}
