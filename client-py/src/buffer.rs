//! Python's buffer protocol, both ways: bytes of Python objects in, views of replies out.
//!
//! The only file of the extension with `unsafe` in it. Invariant: no Rust slice is ever made of
//! memory that a Python object exports, because another thread or process may write it; bytes are
//! copied out by pointer. It does *not* know messages: see [`crate::pack`] and [`crate::unpack`].
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use pyo3::buffer::{ElementType, PyUntypedBuffer};
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use ringfence::Reply;

/// The exported memory of a Python object, C-contiguous.
pub(crate) struct Input(PyUntypedBuffer);

impl Input {
    /// The buffer of `object`, or `None` if it has none.
    ///
    /// # Errors
    /// A `TypeError` that names the fix where the memory is not contiguous. `what` names the
    /// argument in it.
    pub(crate) fn of(object: &Bound<'_, PyAny>, what: &str) -> PyResult<Option<Self>> {
        let Ok(buffer) = PyUntypedBuffer::get(object) else {
            return Ok(None);
        };
        if buffer.is_c_contiguous() {
            return Ok(Some(Self(buffer)));
        }
        Err(PyTypeError::new_err(format!(
            "{what} is not contiguous in memory; pass numpy.ascontiguousarray({what}) or a copy"
        )))
    }

    /// What one element is.
    pub(crate) fn element(&self) -> (ElementType, usize) {
        let swapped = matches!(self.0.format().to_bytes().first(), Some(b'>' | b'!'));
        let ty =
            if swapped { ElementType::Unknown } else { ElementType::from_format(self.0.format()) };
        (ty, self.0.item_size())
    }

    /// How Python calls the element's type: `B`, `d`, ...
    pub(crate) fn format(&self) -> String {
        self.0.format().to_string_lossy().into_owned()
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len_bytes()
    }

    /// Where its bytes begin.
    pub(crate) fn address(&self) -> usize {
        self.0.buf_ptr().addr()
    }

    /// Copies all bytes to where a loan begins, which has room for them.
    pub(crate) fn copy_into(&self, loan: &ringfence::Loan) {
        assert!(self.len() <= loan.len(), "{} bytes into a loan of {}", self.len(), loan.len());
        // SAFETY: The source is `len` readable bytes in one run for as long as the buffer is held (see
        // `append_to`), the target `len` writable ones for as long as `loan` lives (its `as_ptr`, length
        // checked above). They do not overlap, since what lies in a loan is never copied into another:
        // `pack` sends it where it lies, and a loan that was just made has never been seen by Python.
        // Threads and the daemon may read or write either meanwhile: no reference is made to them.
        unsafe {
            std::ptr::copy_nonoverlapping(self.0.buf_ptr().cast::<u8>(), loan.as_ptr(), self.len());
        }
        ringfence::count_copied(self.len());
    }

    /// Copies all bytes behind what `out` holds.
    pub(crate) fn append_to(&self, _attached: Python<'_>, out: &mut Vec<u8>) {
        let len = self.len();
        out.reserve(len);
        let end = out.len();
        // SAFETY: The source is `len` readable bytes for as long as the buffer is held, which
        // outlives this call, and C-contiguous (checked in `of`), so they lie in one run from
        // `buf_ptr`. The target is `len` bytes of spare capacity, reserved above, of a private
        // allocation, so the two cannot overlap. The bytes are initialised by the copy before
        // `set_len` makes them part of `out`. A thread that writes the source meanwhile can change
        // what is copied, never where: no reference to the source is made.
        unsafe {
            let target = out.as_mut_ptr().add(end);
            std::ptr::copy_nonoverlapping(self.0.buf_ptr().cast::<u8>(), target, len);
            out.set_len(end + len);
        }
    }
}

/// All bytes of an object with the buffer protocol, copied.
///
/// # Errors
/// `TypeError` where `object` has no buffer, or one that is not contiguous.
pub(crate) fn to_vec(object: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<u8>> {
    let Some(input) = Input::of(object, what)? else {
        return Err(PyTypeError::new_err(format!(
            "{what} must be bytes or another object with the buffer protocol, not {}",
            object.get_type().name()?
        )));
    };
    let mut out = Vec::new();
    input.append_to(object.py(), &mut out);
    Ok(out)
}

/// Where the bytes of a [`View`] lie.
enum Source {
    Reply(Reply),
    /// A block of a topic's log that is held.
    Block(Arc<Reply>),
    /// A private copy; words, so that elements are aligned.
    Copy(Vec<u64>, usize),
}

/// The bytes of one reply, read-only; what arrays of results are views of. Whoever looks at it
/// through the buffer protocol keeps it, and thereby the daemon's memory that it may be.
#[pyclass(frozen, module = "ringfence._core")]
pub(crate) struct View(Source);

impl View {
    /// Keeps `reply` for Python.
    pub(crate) fn new(reply: Reply) -> Self {
        Self(Source::Reply(reply))
    }

    /// Keeps a block of a topic's log for Python.
    pub(crate) fn of_block(block: Arc<Reply>) -> Self {
        Self(Source::Block(block))
    }

    /// Keeps a copy of `bytes` for Python.
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        let word = |chunk: &[u8]| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        };
        Self(Source::Copy(bytes.chunks(8).map(word).collect(), bytes.len()))
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Source::Reply(reply) => reply.len(),
            Source::Block(block) => block.len(),
            Source::Copy(_, len) => *len,
        }
    }

    fn start(&self) -> *const u8 {
        match &self.0 {
            Source::Reply(reply) => reply.as_ptr(),
            Source::Block(block) => block.as_ptr(),
            Source::Copy(words, _) => words.as_ptr().cast(),
        }
    }

    /// Copies `out.len()` bytes from `at` on; false if there are not so many.
    pub(crate) fn read(&self, at: usize, out: &mut [u8]) -> bool {
        if at.checked_add(out.len()).is_none_or(|end| end > self.len()) {
            return false;
        }
        // SAFETY: `start` is `len` readable bytes for as long as `self` lives, and the range lies
        // within them (checked above). `out` is private, so the two cannot overlap. No reference
        // is made to the source, which may be the daemon's memory.
        unsafe { std::ptr::copy_nonoverlapping(self.start().add(at), out.as_mut_ptr(), out.len()) }
        true
    }
}

#[pymethods]
impl View {
    fn __len__(&self) -> usize {
        self.len()
    }

    // Python calls it with a `Py_buffer` to fill, or null, which is refused.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no place to describe the buffer"));
        }
        let this = slf.get();
        let (start, len) = (this.start() as *mut c_void, this.len() as ffi::Py_ssize_t);
        // SAFETY: `view` is not null and points to a `Py_buffer` that the caller lets us fill.
        // `start` is `len` readable bytes for as long as the `View` lives: the class is frozen, so
        // its source is neither moved nor replaced, and `PyBuffer_FillInfo` takes a reference to
        // `slf` that the consumer drops only when it is done. The cast to `*mut` is the field's
        // type; `readonly = 1` makes every consumer that wants to write fail.
        let status = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, len, 1, flags) };
        if status == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}

/// Request memory that Python fills in place; what a loaned array is a view of.
#[pyclass(frozen, module = "ringfence._core")]
pub(crate) struct Loan(pub(crate) ringfence::Loan);

#[pymethods]
impl Loan {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    // Python calls it with a `Py_buffer` to fill, or null, which is refused.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no place to describe the buffer"));
        }
        let loan = &slf.get().0;
        let (start, len) = (loan.as_ptr().cast::<c_void>(), loan.len() as ffi::Py_ssize_t);
        // SAFETY: `view` is not null and points to a `Py_buffer` that the caller lets us fill. `start` is
        // `len` readable and writable bytes for as long as the loan lives (`Loan::as_ptr`): the class is
        // frozen, so it is neither moved nor replaced, and `PyBuffer_FillInfo` takes a reference to `slf`
        // that the consumer drops only when it is done.
        let status = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, len, 0, flags) };
        if status == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}
