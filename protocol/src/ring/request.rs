//! What a request may say: its header, checked once on a private copy.
//!
//! The same check serves the submission ring, the copies in the in-flight table and the slot of a
//! light call that a killed daemon left: none of them is trusted twice.

use crate::disarm::is_armed;
use crate::fault::Fault;
use crate::geometry::Geometry;
use crate::layout::Header;
use crate::limits::{BLOCK_BYTES, BULK_SEGMENTS, INLINE_BYTES};

/// Where a request's payload lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the slot, or in the entry that holds its copy.
    Inline,
    /// In the arena of `up`, at this offset of the segment; within bounds.
    Arena {
        /// Offset in `up`.
        at: usize,
    },
    /// In this bulk segment of the session. The session must check that it has it and that the payload
    /// ends within.
    Bulk {
        /// Number, from 1 to [`BULK_SEGMENTS`].
        segment: u32,
        /// Offset in the segment, below 2^24 - 1.
        at: usize,
    },
}

/// A validated request that has not been claimed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its position.
    pub ticket: u64,
    /// A private copy of its header.
    pub header: Header,
    /// Where its payload lies.
    pub place: Place,
}

/// Checks the private copy of a request's header.
#[inline(always)]
pub(super) fn place_of(header: Header, geometry: Geometry) -> Result<Place, Fault> {
    let Header { ticket, flags, status, len, block, .. } = header;
    if (flags != 0 || status != 0 || ticket != 0) && is_armed("request.reserved") {
        return Err(Fault::Reserved { flags, status, ticket });
    }
    if block == 0 {
        if len as usize > INLINE_BYTES && is_armed("request.inline-length") {
            return Err(Fault::InlineLength { len, max: INLINE_BYTES as u32 });
        }
        return Ok(Place::Inline);
    }
    check_block(len, block, geometry)
}

fn check_block(len: u32, block: u32, geometry: Geometry) -> Result<Place, Fault> {
    let (segment, index) = (block >> 24, (block & 0x00ff_ffff).wrapping_sub(1));
    let blocks = geometry.up_blocks;
    if segment == 0 {
        let first = index as usize * BLOCK_BYTES;
        let overruns = first + len as usize > blocks as usize * BLOCK_BYTES;
        if (index >= blocks || overruns) && is_armed("request.block") {
            return Err(Fault::Block { block: index, len, blocks });
        }
        return Ok(Place::Arena { at: geometry.up().arena + first });
    }
    // The low bits were 0: no index at all.
    if index == u32::MAX && is_armed("request.block") {
        return Err(Fault::Block { block: index, len, blocks: 1 });
    }
    if segment as usize > BULK_SEGMENTS && is_armed("request.bulk") {
        return Err(Fault::Bulk { segment, len, has: 0 });
    }
    Ok(Place::Bulk { segment, at: index as usize })
}
