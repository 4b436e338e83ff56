//! Bytes of the engine as Python buffers, without a copy.

use std::ffi::c_int;

use bytes::{Bytes, BytesMut};
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

/// From this size on a piece is handed out as a [`Buffer`] instead of a copied `bytes`.
const SHARED_FROM: usize = 16 << 10;

/// Small neighbours are joined up to this size, so that a page of many small appends is few writes.
const JOINED_UP_TO: usize = 64 << 10;

/// Read-only bytes shared with the engine; supports the buffer protocol.
#[pyclass(frozen, module = "durastream._native")]
pub(crate) struct Buffer(pub(crate) Bytes);

#[pymethods]
impl Buffer {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0)
    }

    fn __repr__(&self) -> String {
        format!("<durastream._native.Buffer of {} bytes>", self.0.len())
    }

    /// PEP 688 before Python 3.12, where the slot below answers it.
    fn __buffer__<'py>(
        slf: &Bound<'py, Self>,
        _flags: c_int,
    ) -> PyResult<Bound<'py, PyMemoryView>> {
        PyMemoryView::from(slf.as_any())
    }

    #[expect(unsafe_code, reason = "the buffer protocol hands out raw pointers")]
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let bytes = &slf.get().0;
        // SAFETY: CPython calls this with a valid `view`; `bytes` lives in the frozen object that
        // `view` keeps alive.
        unsafe { fill(view, slf.as_any(), bytes, flags) }
    }
}

/// Fills `view` with read-only `bytes`.
///
/// # Safety
/// `view` is valid for writing, and `owner` keeps `bytes` alive and unchanged.
#[expect(unsafe_code, reason = "the buffer protocol hands out raw pointers")]
pub(crate) unsafe fn fill(
    view: *mut ffi::Py_buffer,
    owner: &Bound<'_, PyAny>,
    bytes: &Bytes,
    flags: c_int,
) -> PyResult<()> {
    let len = ffi::Py_ssize_t::try_from(bytes.len())
        .map_err(|_| PyBufferError::new_err("larger than a Python buffer can be"))?;
    // SAFETY: the caller's promise; PyBuffer_FillInfo takes its own reference to `owner` and refuses
    // a writable view itself.
    let failed = unsafe {
        ffi::PyBuffer_FillInfo(
            view,
            owner.as_ptr(),
            bytes.as_ptr().cast_mut().cast(),
            len,
            1,
            flags,
        )
    };
    if failed == 0 {
        Ok(())
    } else {
        Err(PyErr::fetch(owner.py()))
    }
}

/// One piece: `bytes` when small, else shared.
pub(crate) fn piece(py: Python<'_>, bytes: Bytes) -> PyResult<Bound<'_, PyAny>> {
    if bytes.len() < SHARED_FROM {
        Ok(PyBytes::new(py, &bytes).into_any())
    } else {
        Ok(Bound::new(py, Buffer(bytes))?.into_any())
    }
}

/// Pieces of a body, small neighbours joined.
pub(crate) fn pieces(py: Python<'_>, body: Vec<Bytes>) -> PyResult<Vec<Bound<'_, PyAny>>> {
    let mut out = Vec::new();
    let mut run: Vec<Bytes> = Vec::new();
    let mut run_len = 0;
    for bytes in body {
        if bytes.len() >= SHARED_FROM || run_len + bytes.len() > JOINED_UP_TO {
            flush(py, &mut run, &mut out)?;
            run_len = 0;
        }
        if bytes.len() >= SHARED_FROM {
            out.push(piece(py, bytes)?);
        } else if !bytes.is_empty() {
            run_len += bytes.len();
            run.push(bytes);
        }
    }
    flush(py, &mut run, &mut out)?;
    Ok(out)
}

fn flush<'py>(
    py: Python<'py>,
    run: &mut Vec<Bytes>,
    out: &mut Vec<Bound<'py, PyAny>>,
) -> PyResult<()> {
    match run.as_slice() {
        [] => {}
        [one] => out.push(PyBytes::new(py, one).into_any()),
        many => {
            let len = many.iter().map(Bytes::len).sum();
            let joined = PyBytes::new_with(py, len, |mut target| {
                for bytes in many {
                    let (here, rest) = target.split_at_mut(bytes.len());
                    here.copy_from_slice(bytes);
                    target = rest;
                }
                Ok(())
            })?;
            out.push(joined.into_any());
        }
    }
    run.clear();
    Ok(())
}

/// All of `chunks` as one; no copy when there is one.
pub(crate) fn join(chunks: &[Bytes]) -> Bytes {
    match chunks {
        [] => Bytes::new(),
        [one] => one.clone(),
        many => {
            let mut joined = BytesMut::with_capacity(many.iter().map(Bytes::len).sum());
            for bytes in many {
                joined.extend_from_slice(bytes);
            }
            joined.freeze()
        }
    }
}
