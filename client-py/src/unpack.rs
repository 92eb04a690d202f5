//! From the bytes of a reply to Python values, by the layout in the catalogue.
//!
//! Scalars become `int`, `float`, `bool`; text `str`; `[u8]` becomes `bytes`; every other array is
//! a read-only numpy array over the reply's own memory, or a memoryview where numpy is not
//! installed. Every offset is checked: a daemon of another build must not make Python read outside
//! the reply.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyMemoryView, PySlice, PyString, PyTuple};
use ringfence::ErrorCode;
use ringfence::message::{FieldType, Scalar};
use ringfence::remote_error::Error;

use crate::buffer::View;
use crate::error::raise;
use crate::pack::{Layout, dtype};

/// `numpy.frombuffer` and `numpy.dtype`, or `None` where numpy is not installed. numpy is imported
/// at the first array, never before.
static NUMPY: PyOnceLock<Option<(Py<PyAny>, Py<PyAny>)>> = PyOnceLock::new();

/// The values of the reply, in the order of the fields.
pub(crate) fn unpack<'py>(
    py: Python<'py>,
    layout: &Layout,
    view: View,
) -> PyResult<Bound<'py, PyTuple>> {
    let view = Bound::new(py, view)?;
    let mut cursor = Cursor { layout, view: &view, tail: layout.schema.fixed as usize };
    let count = layout.schema.fields.len();
    let values: PyResult<Vec<_>> = (0..count).map(|index| cursor.field(index)).collect();
    PyTuple::new(py, values?)
}

struct Cursor<'a, 'py> {
    layout: &'a Layout,
    view: &'a Bound<'py, View>,
    /// Where the elements of the next variable field start, but for alignment.
    tail: usize,
}

impl<'py> Cursor<'_, 'py> {
    fn field(&mut self, index: usize) -> PyResult<Bound<'py, PyAny>> {
        let py = self.view.py();
        let field = &self.layout.schema.fields[index];
        let last = index + 1 == self.layout.schema.fields.len();
        if let FieldType::One(scalar) = field.ty {
            return one(py, scalar, self.word(index, field.offset as usize, scalar.size())?);
        }
        let size = field.ty.element();
        let start = self.tail.next_multiple_of(size);
        let count = if last {
            self.view.get().len().saturating_sub(start) / size
        } else {
            self.word(index, field.offset as usize, 4)? as usize
        };
        self.tail = start + count * size;
        if self.tail > self.view.get().len() {
            return Err(self.malformed(index, start, count * size));
        }
        if let FieldType::Many(scalar) = field.ty
            && scalar != Scalar::U8
        {
            return array(self.view, scalar, start, count);
        }
        let bytes = PyBytes::new_with(py, count, |out| {
            self.view.get().read(start, out);
            Ok(())
        })?;
        if field.ty != FieldType::Text {
            return Ok(bytes.into_any());
        }
        match std::str::from_utf8(bytes.as_bytes()) {
            Ok(text) => Ok(PyString::new(py, text).into_any()),
            Err(_) => Err(self.malformed(index, start, count)),
        }
    }

    /// The `size` bytes at `at` as a little-endian number.
    fn word(&self, index: usize, at: usize, size: usize) -> PyResult<u64> {
        let mut word = [0; 8];
        if !self.view.get().read(at, &mut word[..size]) {
            return Err(self.malformed(index, at, size));
        }
        Ok(u64::from_le_bytes(word))
    }

    #[cold]
    fn malformed(&self, index: usize, at: usize, need: usize) -> PyErr {
        let Layout { owner, schema } = self.layout;
        let text = format!(
            "the reply of {owner} has {} bytes, field `{}` should be {need} at {at}: daemon and \
             client disagree about its layout; update the older of the two",
            self.view.get().len(),
            schema.fields[index].name,
        );
        raise(self.view.py(), &Error::new(ErrorCode::Malformed, text).into())
    }
}

fn one(py: Python<'_>, scalar: Scalar, word: u64) -> PyResult<Bound<'_, PyAny>> {
    // Sign extension: the value stands in the low bytes of the word.
    let unused = 64 - 8 * scalar.size() as u32;
    let signed = ((word << unused) as i64) >> unused;
    Ok(match scalar {
        Scalar::Bool => PyBool::new(py, word != 0).to_owned().into_any(),
        Scalar::F32 => PyFloat::new(py, f64::from(f32::from_bits(word as u32))).into_any(),
        Scalar::F64 => PyFloat::new(py, f64::from_bits(word)).into_any(),
        Scalar::I8 | Scalar::I16 | Scalar::I32 | Scalar::I64 => PyInt::new(py, signed).into_any(),
        _ => PyInt::new(py, word).into_any(),
    })
}

fn array<'py>(
    view: &Bound<'py, View>,
    scalar: Scalar,
    start: usize,
    count: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let py = view.py();
    let numpy = NUMPY.get_or_init(py, || {
        let numpy = py.import("numpy").ok()?;
        let function = |name| Some(numpy.getattr(name).ok()?.unbind());
        Some((function("frombuffer")?, function("dtype")?))
    });
    match numpy {
        Some((frombuffer, dtype_of)) => {
            let ty = dtype_of.bind(py).call1((dtype(scalar),))?;
            frombuffer.bind(py).call1((view, ty, count, start))
        }
        None => {
            let end = start + count * scalar.size();
            let bytes = PyMemoryView::from(view.as_any())?.get_item(PySlice::new(
                py,
                start as isize,
                end as isize,
                1,
            ))?;
            bytes.call_method1("cast", (struct_format(scalar),))
        }
    }
}

/// The name of an element type in the module `struct`.
const fn struct_format(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Bool => "?",
        Scalar::U8 => "B",
        Scalar::U16 => "H",
        Scalar::U32 => "I",
        Scalar::U64 => "Q",
        Scalar::I8 => "b",
        Scalar::I16 => "h",
        Scalar::I32 => "i",
        Scalar::I64 => "q",
        Scalar::F32 => "f",
        Scalar::F64 => "d",
    }
}
