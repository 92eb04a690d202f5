//! [`Loan`]: request memory that its user fills in place, so that a large payload is not copied on this
//! side.
//!
//! It is a bulk segment with a head: what stands in the message before the loaned bytes is written just
//! before them when a call is made. Invariant: one call at a time names a loan; a second one, and one
//! after the session of the loan is over, copies. The memory stays valid as long as the loan lives.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ringfence_protocol::error::{Error as RemoteError, ErrorCode};
use ringfence_protocol::limits::{BLOCK_BYTES, PAYLOAD_BYTES};
use ringfence_protocol::memory::Memory;
use ringfence_protocol::region::Region;

use crate::bulk::{self, Bulk, Placed};
use crate::call::Request;
use crate::client::Client;
use crate::copies::count_copied;
use crate::error::Error;
use crate::method::Method;
use crate::options::{CallOptions, Timeout};
use crate::pending::Pending;
use crate::remote::Remote;
use crate::reply::Reply;
use crate::way::Way;

/// Room for what stands before so many loaned bytes, in whole pages: an eighth of them (an id of 8 bytes
/// before each row of 16 floats), and 64 KiB. An index has 24 bits (SPEC A3).
fn head_of(len: usize) -> usize {
    const LEAST: usize = 64 * 1024;
    const MOST: usize = 15 << 20;
    (len / 8 + LEAST).min(MOST).next_multiple_of(BLOCK_BYTES)
}

/// Memory to fill for one or more calls, from [`Client::loan`].
///
/// ```
/// use ringfence::CallOptions;
/// let client = ringfence::doctest_client();
/// let echo = client.method("system", "echo")?;
/// let loan = client.loan(1_000_000)?;
/// loan.write(0, b"filled in place");
/// let reply = client.call_loaned(&echo, b"", &loan, 15, &CallOptions::default())?;
/// assert_eq!(reply, b"filled in place");
/// # Ok::<(), ringfence::Error>(())
/// ```
pub struct Loan {
    region: Region,
    /// Where its bytes begin.
    at: usize,
    len: usize,
    /// The segment and the serial of its session; none in process.
    segment: Option<(u32, Arc<Bulk>)>,
}

impl Loan {
    /// Bytes of a segment that holds so many loaned ones.
    pub(crate) fn bytes_of_segment(len: usize) -> usize {
        head_of(len) + len
    }

    /// Bytes that may be filled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes bytes.
    ///
    /// # Panics
    /// If they end beyond the loan.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at <= self.len && bytes.len() <= self.len - at, "{} at {at}", bytes.len());
        self.region.write_block(self.at + at, bytes);
    }

    /// Where its bytes lie, at the start of a page: for foreign views, which must keep the loan alive.
    /// Nobody else writes them; the daemon reads them while a call is open.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.region.address(self.at, self.len).cast_mut()
    }

    /// The loan as [`Client::submit_loaned`] takes it; none in process.
    #[must_use]
    pub fn segment(&self) -> Option<LoanRef> {
        let (serial, segment) = self.segment.clone()?;
        Some(LoanRef { serial, segment })
    }

    /// Message bytes: what stands before, and the first `len` loaned ones.
    fn gather(&self, head: &[u8], len: usize) -> Vec<u8> {
        gather(head, &self.region, self.at, len)
    }

    fn check(&self, head: &[u8], len: usize) -> Result<(), Error> {
        if head.len() > self.at {
            let text = format!("{} bytes before the loaned ones, {} fit", head.len(), self.at);
            return Err(Error::invalid(text));
        }
        if len > self.len {
            return Err(Error::invalid(format!("{len} bytes of a loan of {}", self.len)));
        }
        Ok(())
    }
}

fn gather(head: &[u8], region: &Region, at: usize, len: usize) -> Vec<u8> {
    let mut payload = vec![0; head.len() + len];
    let (before, bytes) = payload.split_at_mut(head.len());
    before.copy_from_slice(head);
    region.read_block(at, bytes);
    count_copied(len);
    payload
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some((_, segment)) = &self.segment {
            segment.give_back();
        }
    }
}

impl fmt::Debug for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loan").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Client {
    /// Memory for `len` bytes that the daemon reads where they are filled: spares a large request its
    /// copy on this side. In process it is memory like any other.
    ///
    /// # Errors
    /// Code `TooLarge` over the limit of a payload; [`Error::WouldBlock`] if all request segments are in
    /// use; as for every call.
    pub fn loan(&self, len: usize) -> Result<Loan, Error> {
        self.loan_within(len, Duration::MAX)
    }

    /// As [`loan`](Self::loan), waiting at most so long for the daemon to lend it, and never longer than a
    /// connect may take. Zero: only what is free already.
    ///
    /// # Errors
    /// As [`loan`](Self::loan); [`Error::WouldBlock`] if none is free and `at_most` is zero;
    /// [`Error::Timeout`] or [`Error::Stalled`] if the daemon has not answered in time.
    ///
    /// ```
    /// use std::time::Duration;
    /// let client = ringfence::doctest_client();
    /// let loan = client.loan_within(1_000_000, Duration::from_secs(5))?;
    /// assert_eq!(loan.len(), 1_000_000);
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn loan_within(&self, len: usize, at_most: Duration) -> Result<Loan, Error> {
        let at = head_of(len);
        if len > PAYLOAD_BYTES - at {
            let most = PAYLOAD_BYTES - head_of(PAYLOAD_BYTES);
            let text = format!("a loan of {len} bytes: at most {most} are lent");
            return Err(Error::Remote(RemoteError::new(ErrorCode::TooLarge, text)));
        }
        match self.way() {
            Way::Remote(remote) => {
                let (remote, at_once) = (remote.here(), at_most.is_zero());
                if at_once && !remote.is_alive() {
                    return Err(Error::WouldBlock);
                }
                let until = Instant::now().checked_add(at_most);
                let session = loop {
                    match remote.alive() {
                        Some(session) => break session,
                        None => remote.ensure(0, until)?,
                    }
                };
                let Some(segment) = bulk::take(&session, at + len, at_once, until)? else {
                    return Err(Error::WouldBlock);
                };
                segment.lend_at(at);
                let region = segment.region.clone();
                Ok(Loan { region, at, len, segment: Some((session.serial, segment)) })
            }
            #[cfg(feature = "inproc")]
            Way::Inproc(_) => {
                Ok(Loan { region: Region::private(at + len), at, len, segment: None })
            }
        }
    }

    /// The way to a daemon, if that is where calls go.
    pub(crate) fn remote(&self) -> Option<&Arc<Remote>> {
        match self.way() {
            Way::Remote(remote) => Some(remote),
            #[cfg(feature = "inproc")]
            Way::Inproc(_) => None,
        }
    }

    /// The loan of this client whose bytes begin at an address, for bindings that see only the array. It
    /// shares the segment.
    ///
    /// ```
    /// let client = ringfence::doctest_client();
    /// assert!(client.loan_at(0x1000).is_none(), "nothing that a client lends lies there");
    /// ```
    #[must_use]
    pub fn loan_at(&self, address: usize) -> Option<LoanRef> {
        let session = self.remote()?.here().alive()?;
        let segment = session.bulk.find(address)?;
        Some(LoanRef { serial: session.serial, segment })
    }

    /// Calls a method whose request is `head` and the first `len` bytes of a loan.
    ///
    /// # Errors
    /// As [`call`](Self::call); code `InvalidArgument` if `head` is longer than 64 KiB and an eighth of the
    /// loan, or `len` than the loan.
    pub fn call_loaned(
        &self,
        method: &Method,
        head: &[u8],
        loan: &Loan,
        len: usize,
        options: &CallOptions,
    ) -> Result<Reply, Error> {
        loan.check(head, len)?;
        let since = Instant::now();
        let pending = match loan.segment() {
            Some(segment) => self.submit_loaned(method, head, &segment, len, options)?,
            None => None,
        };
        let answer = match pending {
            Some(pending) => pending.wait(),
            None => return self.call(method, &loan.gather(head, len), options),
        };
        match answer {
            Err(error) if error.may_retry(method.is_idempotent()) => {
                let timeout = method.timeout(options.timeout).map_or(Timeout::Never, |allowed| {
                    Timeout::After(allowed.saturating_sub(since.elapsed()))
                });
                let options = CallOptions { timeout, ..*options };
                self.recover(error, method, &loan.gather(head, len), &options)
            }
            answer => answer,
        }
    }

    /// Submits such a call for a loan that [`loan_at`](Self::loan_at) found. `None`: its segment cannot
    /// be named now (the daemon is another one, or a call names it still), so the bytes have to be
    /// copied.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn submit_loaned(
        &self,
        method: &Method,
        head: &[u8],
        loan: &LoanRef,
        len: usize,
        options: &CallOptions,
    ) -> Result<Option<Pending>, Error> {
        let (Some(remote), segment) = (self.remote(), &loan.segment) else { return Ok(None) };
        let begin = segment.lent_at();
        let fits = head.len() <= begin && len <= segment.region.len() - begin;
        // The head of a call that is open stands where this one's would.
        if !fits || remote.stamp.is_child() || !segment.hold_again() {
            return Ok(None);
        }
        let at = begin - head.len();
        segment.region.write_block(at, head);
        let placed =
            Placed { serial: loan.serial, segment: segment.clone(), at, len: head.len() + len };
        let request = Request { method, payload: head, options, turns: 0, stays: false };
        remote.submit_placed(request, &placed)
    }
}

/// A loan as [`Client::loan_at`] finds it. It does not keep the loan: whoever holds the array does.
#[derive(Clone, Debug)]
pub struct LoanRef {
    serial: u32,
    segment: Arc<Bulk>,
}

/// The request of a [call](Client::call_loaned_async) whose bytes lie in a loan. It holds the segment as the
/// call itself does, since it may have to be sent again: to another daemon, copied.
pub struct Loaned {
    head: Vec<u8>,
    segment: Arc<Bulk>,
    len: usize,
    whole: OnceLock<Vec<u8>>,
}

impl Loaned {
    /// Of a loan that is there, for a call that names it.
    pub(crate) fn new(head: &[u8], loan: &LoanRef, len: usize) -> Self {
        loan.segment.hold();
        Self { head: head.to_vec(), segment: loan.segment.clone(), len, whole: OnceLock::new() }
    }
}

impl AsRef<[u8]> for Loaned {
    fn as_ref(&self) -> &[u8] {
        let Self { head, segment, len, whole } = self;
        whole.get_or_init(|| gather(head, &segment.region, segment.lent_at(), *len))
    }
}

impl Drop for Loaned {
    fn drop(&mut self) {
        self.segment.give_back();
    }
}

impl fmt::Debug for Loaned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaned").field("len", &self.len).finish_non_exhaustive()
    }
}
