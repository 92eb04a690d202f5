//! [`Reply`]: the payload of an answer.
//!
//! Invariants: bytes that start at a multiple of 8, in private memory. A reply larger than 64 KiB
//! stays in the daemon's segment under a lease: it is copied when it is first looked at as a slice
//! (nobody may have a Rust slice of memory that another process writes), or viewed in place by
//! foreign code through [`Reply::as_ptr`]; dropping the reply gives the lease back.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use ringfence_protocol::limits::{INLINE_BYTES, INLINE_WORDS, LINE_BYTES, LINE_WORDS};
use ringfence_protocol::memory::Memory;
use ringfence_protocol::region::Region;
use zerocopy::IntoBytes;

use crate::copies::count_copied;
use crate::remote::Remote;
use crate::topics::Hold;

/// What becomes of an answer: a [`Reply`], or what a caller makes of its bytes without one being built
/// and moved.
pub(crate) trait Sink {
    type Out;
    /// From bytes that lie elsewhere.
    fn bytes(self, bytes: &[u8]) -> Self::Out;
    /// From so many bytes, at most those of a slot, that `fill` writes where they are wanted.
    #[inline(always)]
    fn filled(self, len: usize, fill: impl FnOnce(&mut [u8])) -> Self::Out
    where
        Self: Sized,
    {
        let mut words = [0_u64; INLINE_WORDS];
        let bytes = &mut words.as_mut_bytes()[..len];
        fill(bytes);
        self.bytes(bytes)
    }
    /// From the first `len` bytes, at most 24, of words that lie in registers.
    #[inline(always)]
    fn line(self, len: usize, words: [u64; LINE_WORDS]) -> Self::Out
    where
        Self: Sized,
    {
        self.bytes(&words.as_bytes()[..len])
    }
    /// From what is a reply already.
    fn reply(self, reply: Reply) -> Self::Out;
}

/// Makes a [`Reply`].
pub(crate) struct AsReply;

impl Sink for AsReply {
    type Out = Reply;
    #[inline(always)]
    fn bytes(self, bytes: &[u8]) -> Reply {
        Reply::inline(bytes.len(), |out| out.copy_from_slice(bytes))
    }
    #[inline(always)]
    fn filled(self, len: usize, fill: impl FnOnce(&mut [u8])) -> Reply {
        Reply::inline(len, fill)
    }
    #[inline(always)]
    fn line(self, len: usize, words: [u64; LINE_WORDS]) -> Reply {
        Reply::line(len, words)
    }
    #[inline(always)]
    fn reply(self, reply: Reply) -> Reply {
        reply
    }
}

/// Makes what a function makes of the bytes.
pub(crate) struct Through<F>(pub(crate) F);

impl<T, F: FnOnce(&[u8]) -> T> Sink for Through<F> {
    type Out = T;
    #[inline(always)]
    fn bytes(self, bytes: &[u8]) -> T {
        (self.0)(bytes)
    }
    fn reply(self, reply: Reply) -> T {
        (self.0)(&reply)
    }
}

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
    // What fits the first line of a slot lies here, all else in `large`. A plain struct and no enum: the
    // fields travel in registers. An enum is moved through memory as a block, and a block that is loaded
    // wider than its words were just stored waits for the stores (measured: 25 ns a call).
    words: [u64; LINE_WORDS],
    len: usize,
    large: Option<Box<Large>>,
}

enum Large {
    /// What fits a slot: in one allocation.
    Slot {
        len: usize,
        words: [u64; INLINE_WORDS],
    },
    Words {
        len: usize,
        words: Vec<u64>,
    },
    #[cfg(feature = "inproc")]
    Bytes(Vec<u8>),
    Leased(Leased),
}

struct Leased {
    region: Region,
    at: usize,
    len: usize,
    copy: OnceLock<Vec<u64>>,
    /// Dropped with the reply, which gives the lease back.
    _lease: Keeper,
}

/// What is given back when a reply is dropped.
enum Keeper {
    Lease(#[allow(dead_code)] Lease),
    Hold(#[allow(dead_code)] Hold),
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
    /// The first `len` bytes, at most 24, of these words.
    #[inline(always)]
    pub(crate) fn line(len: usize, words: [u64; LINE_WORDS]) -> Self {
        Self { words, len, large: None }
    }

    fn large(large: Box<Large>) -> Self {
        Self { words: [0; LINE_WORDS], len: large.len(), large: Some(large) }
    }

    /// `len` bytes that `fill` writes: in the reply itself if they are few.
    #[inline(always)]
    pub(crate) fn inline(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        if len > LINE_BYTES {
            return Self::copied(len, fill);
        }
        let mut words = [0; LINE_WORDS];
        fill(&mut words.as_mut_bytes()[..len]);
        Self::line(len, words)
    }

    /// `len` bytes on the heap that `fill` writes.
    pub(crate) fn copied(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        if len <= INLINE_BYTES {
            return Self::slot(len, fill);
        }
        let mut words = vec![0; len.div_ceil(8)];
        fill(&mut words.as_mut_bytes()[..len]);
        Self::large(Box::new(Large::Words { len, words }))
    }

    fn slot(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut large = Box::new(Large::Slot { len, words: [0; INLINE_WORDS] });
        if let Large::Slot { words, .. } = &mut *large {
            fill(&mut words.as_mut_bytes()[..len]);
        }
        Self::large(large)
    }

    /// Bytes that an engine of this process wrote.
    #[cfg(feature = "inproc")]
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        if bytes.as_ptr().addr().is_multiple_of(8) {
            return Self::large(Box::new(Large::Bytes(bytes)));
        }
        Self::copied(bytes.len(), |out| out.copy_from_slice(&bytes))
    }

    pub(crate) fn leased(region: Region, len: usize, lease: Lease) -> Self {
        Self::kept(region, 0, len, Keeper::Lease(lease))
    }

    /// A message in a block of a topic's log, as long as it is held.
    pub(crate) fn held(region: Region, at: usize, len: usize, hold: Hold) -> Self {
        Self::kept(region, at, len, Keeper::Hold(hold))
    }

    fn kept(region: Region, at: usize, len: usize, keeper: Keeper) -> Self {
        let leased = Leased { region, at, len, copy: OnceLock::new(), _lease: keeper };
        Self::large(Box::new(Large::Leased(leased)))
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
        match &self.large {
            None => &self.words.as_bytes()[..self.len],
            Some(large) => large.as_slice(),
        }
    }

    /// Its length in bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
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
        match &self.large {
            None => self.words.as_bytes().as_ptr(),
            Some(large) => large.as_ptr(),
        }
    }

    /// Does it lie in the daemon's memory, under a lease that the reply holds?
    #[must_use]
    pub fn is_leased(&self) -> bool {
        matches!(self.large.as_deref(), Some(Large::Leased(_)))
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
        if let Some(large) = self.large {
            return match *large {
                Large::Bytes(bytes) => bytes,
                other => other.as_slice().to_vec(),
            };
        }
        self.as_slice().to_vec()
    }
}

impl Large {
    fn as_slice(&self) -> &[u8] {
        match self {
            Large::Slot { len, words } => &words.as_bytes()[..*len],
            Large::Words { len, words } => &words.as_bytes()[..*len],
            #[cfg(feature = "inproc")]
            Large::Bytes(bytes) => bytes,
            Large::Leased(leased) => leased.copy(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Large::Slot { len, .. } | Large::Words { len, .. } => *len,
            #[cfg(feature = "inproc")]
            Large::Bytes(bytes) => bytes.len(),
            Large::Leased(leased) => leased.len,
        }
    }

    fn as_ptr(&self) -> *const u8 {
        match self {
            Large::Slot { words, .. } => words.as_bytes().as_ptr(),
            Large::Words { words, .. } => words.as_bytes().as_ptr(),
            #[cfg(feature = "inproc")]
            Large::Bytes(bytes) => bytes.as_ptr(),
            Large::Leased(leased) => leased.region.address(leased.at, leased.len),
        }
    }
}

impl Leased {
    fn copy(&self) -> &[u8] {
        let words = self.copy.get_or_init(|| {
            let mut words = vec![0_u64; self.len.div_ceil(8)];
            self.region.read_block(self.at, &mut words.as_mut_bytes()[..self.len]);
            count_copied(self.len);
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
