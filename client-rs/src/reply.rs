//! [`Reply`]: the payload of an answer.
//!
//! Invariants: bytes that start at a multiple of 8, in private memory. A reply larger than 64 KiB
//! stays in the daemon's segment under a lease: it is copied when it is first looked at as a slice
//! (nobody may have a Rust slice of memory that another process writes), or viewed in place by
//! foreign code through [`Reply::as_ptr`]; dropping the reply gives the lease back.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use ringfence_protocol::memory::Memory;
use ringfence_protocol::region::Region;
use zerocopy::IntoBytes;

use crate::remote::Remote;

/// Replies of up to this many words travel in the [`Reply`] itself, which then is one cache line; a
/// slot's worth would be copied at every return.
const INLINE_WORDS: usize = 6;

/// The payload of an answer. Dereferences to its bytes.
///
/// ```
/// let client = ringfence::doctest_client();
/// let reply = client.echo(b"hello")?;
/// assert_eq!(reply, b"hello");
/// assert_eq!(reply.len(), 5);
/// # Ok::<(), ringfence::Error>(())
/// ```
pub struct Reply {
    repr: Repr,
}

enum Repr {
    Inline {
        len: u8,
        words: [u64; INLINE_WORDS],
    },
    Words {
        len: usize,
        words: Vec<u64>,
    },
    #[cfg(feature = "inproc")]
    Bytes(Vec<u8>),
    Leased(Box<Leased>),
}

struct Leased {
    region: Region,
    len: usize,
    copy: OnceLock<Vec<u64>>,
    /// Dropped with the reply, which gives the lease back.
    _lease: Lease,
}

/// What gives a lease back.
pub(crate) struct Lease {
    pub(crate) remote: Arc<Remote>,
    /// The lane whose words hold the lease.
    pub(crate) lane: usize,
    /// The session that granted it; in a later session it is gone already.
    pub(crate) serial: u32,
    /// Its number in that lane.
    pub(crate) number: usize,
}

impl Reply {
    /// `len` bytes that `fill` writes: in the reply itself if they are few.
    #[inline(always)]
    pub(crate) fn inline(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        if len > INLINE_WORDS * 8 {
            return Self::copied(len, fill);
        }
        let mut words = [0; INLINE_WORDS];
        fill(&mut words.as_mut_bytes()[..len]);
        Self { repr: Repr::Inline { len: len as u8, words } }
    }

    /// `len` bytes on the heap that `fill` writes.
    pub(crate) fn copied(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut words = vec![0; len.div_ceil(8)];
        fill(&mut words.as_mut_bytes()[..len]);
        Self { repr: Repr::Words { len, words } }
    }

    /// Bytes that an engine of this process wrote.
    #[cfg(feature = "inproc")]
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        if bytes.as_ptr().addr().is_multiple_of(8) {
            return Self { repr: Repr::Bytes(bytes) };
        }
        Self::copied(bytes.len(), |out| out.copy_from_slice(&bytes))
    }

    pub(crate) fn leased(region: Region, len: usize, lease: Lease) -> Self {
        let leased = Leased { region, len, copy: OnceLock::new(), _lease: lease };
        Self { repr: Repr::Leased(Box::new(leased)) }
    }

    /// Its bytes as a slice. The first look at a leased reply copies it.
    ///
    /// ```
    /// let client = ringfence::doctest_client();
    /// assert_eq!(client.echo(b"abc")?.as_slice(), b"abc");
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &self.repr {
            Repr::Inline { len, words } => &words.as_bytes()[..usize::from(*len)],
            Repr::Words { len, words } => &words.as_bytes()[..*len],
            #[cfg(feature = "inproc")]
            Repr::Bytes(bytes) => bytes,
            Repr::Leased(leased) => leased.copy(),
        }
    }

    /// Its length in bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.repr {
            Repr::Inline { len, .. } => usize::from(*len),
            Repr::Words { len, .. } => *len,
            #[cfg(feature = "inproc")]
            Repr::Bytes(bytes) => bytes.len(),
            Repr::Leased(leased) => leased.len,
        }
    }

    /// No bytes at all?
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where its bytes lie, without copying them: for foreign read-only views, which must keep the
    /// reply alive. An inline reply moves with the `Reply`: pin it (a box) first.
    ///
    /// ```
    /// let client = ringfence::doctest_client();
    /// let reply = Box::new(client.echo(b"abc")?);
    /// assert_eq!(reply.as_ptr().addr() % 8, 0);
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        match &self.repr {
            Repr::Inline { words, .. } => words.as_bytes().as_ptr(),
            Repr::Words { words, .. } => words.as_bytes().as_ptr(),
            #[cfg(feature = "inproc")]
            Repr::Bytes(bytes) => bytes.as_ptr(),
            Repr::Leased(leased) => leased.region.address(0, leased.len),
        }
    }

    /// Does it lie in the daemon's memory, under a lease that the reply holds?
    #[must_use]
    pub fn is_leased(&self) -> bool {
        matches!(self.repr, Repr::Leased(_))
    }

    /// Its bytes as a vector.
    ///
    /// ```
    /// let client = ringfence::doctest_client();
    /// assert_eq!(client.echo(b"abc")?.into_vec(), vec![97, 98, 99]);
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        #[cfg(feature = "inproc")]
        if let Repr::Bytes(bytes) = self.repr {
            return bytes;
        }
        self.as_slice().to_vec()
    }
}

impl Leased {
    fn copy(&self) -> &[u8] {
        let words = self.copy.get_or_init(|| {
            let mut words = vec![0_u64; self.len.div_ceil(8)];
            self.region.read_block(0, &mut words.as_mut_bytes()[..self.len]);
            words
        });
        &words.as_bytes()[..self.len]
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.remote.release_lease(self.lane, self.serial, self.number);
    }
}

impl Deref for Reply {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Reply {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 32;
        let head = self.as_slice().get(..SHOWN).unwrap_or(self.as_slice());
        write!(f, "Reply({} bytes: \"{}\"", self.len(), head.escape_ascii())?;
        f.write_str(if self.len() > SHOWN { "..)" } else { ")" })
    }
}

impl PartialEq<[u8]> for Reply {
    fn eq(&self, other: &[u8]) -> bool {
        self.as_slice() == other
    }
}

impl PartialEq<&[u8]> for Reply {
    fn eq(&self, other: &&[u8]) -> bool {
        self.as_slice() == *other
    }
}

impl<const N: usize> PartialEq<[u8; N]> for Reply {
    fn eq(&self, other: &[u8; N]) -> bool {
        self.as_slice() == other
    }
}

impl<const N: usize> PartialEq<&[u8; N]> for Reply {
    fn eq(&self, other: &&[u8; N]) -> bool {
        self.as_slice() == *other
    }
}

impl PartialEq<Vec<u8>> for Reply {
    fn eq(&self, other: &Vec<u8>) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl PartialEq for Reply {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Reply {}
