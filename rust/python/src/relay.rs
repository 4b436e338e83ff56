//! Lists of items handed out one by one to `async for`, without a coroutine for each item.
//!
//! A coroutine that has nothing to wait for costs more than the item that it gives: it is made, started, ended by an
//! exception and freed. [`Ready`] is made once for a list, and gives the next item each time it is awaited.

use std::ffi::{c_int, c_uint};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyTuple, PyType};

/// An asynchronous iterator over what lists hold; a coroutine brings the next list when one is used up.
#[pyclass(module = "durastream._native")]
pub(crate) struct Relay {
    /// Called with this relay: gives a coroutine that fills it and gives the first item. Gone only when the garbage
    /// collector took it.
    refill: Option<Py<PyAny>>,
    /// What is left of the list, while anything is.
    ready: Option<Py<Ready>>,
}

#[pymethods]
impl Relay {
    #[new]
    #[pyo3(signature = (refill, /))]
    fn new(refill: Py<PyAny>) -> Self {
        Self {
            refill: Some(refill),
            ready: None,
        }
    }

    /// Hands out what is in `items` next.
    #[pyo3(signature = (items, /))]
    fn fill(&mut self, items: Bound<'_, PyList>) -> PyResult<()> {
        self.ready = Some(Ready::over(&items)?);
        Ok(())
    }

    fn __aiter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let mut this = slf.try_borrow_mut()?;
        if let Some(ready) = &this.ready
            && ready.get().has_more(py)
        {
            return Ok(ready.bind(py).clone().into_any());
        }
        // The memory of the list is free for the next one.
        let used_up = this.ready.take();
        let refill = this.refill.as_ref().map(|refill| refill.clone_ref(py));
        drop(this);
        drop(used_up);
        match refill {
            Some(refill) => refill.into_bound(py).call1((slf,)),
            None => Err(PyRuntimeError::new_err("this iterator was collected")),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.refill)?;
        visit.call(&self.ready)
    }

    fn __clear__(&mut self) {
        self.refill = None;
        self.ready = None;
    }
}

/// Awaited, gives the next item of a list at once. It looks like a coroutine, so that it can be made a task.
#[pyclass(frozen, subclass, module = "durastream._native")]
pub(crate) struct Ready {
    items: Py<PyList>,
    next: AtomicUsize,
}

impl Ready {
    fn over(items: &Bound<'_, PyList>) -> PyResult<Py<Self>> {
        let made = sendable(items.py())?.call1((items,))?;
        Ok(made.cast_into::<Self>()?.unbind())
    }

    fn has_more(&self, py: Python<'_>) -> bool {
        self.next.load(Ordering::Relaxed) < self.items.bind(py).len()
    }

    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let at = self.next.load(Ordering::Relaxed);
        let items = self.items.bind(py);
        if at >= items.len() {
            return Err(PyRuntimeError::new_err(
                "what this wait was for went to another one: wait for one message at a time",
            ));
        }
        // The GIL is held: this extension is of the limited API, which no build without one can load.
        self.next.store(at + 1, Ordering::Relaxed);
        items.get_item(at)
    }
}

#[pymethods]
impl Ready {
    #[new]
    #[pyo3(signature = (items, /))]
    fn new(items: Py<PyList>) -> Self {
        Self {
            items,
            next: AtomicUsize::new(0),
        }
    }

    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Err(PyStopIteration::new_err((self.take(py)?.unbind(),)))
    }

    #[pyo3(signature = (_value, /))]
    fn send(&self, py: Python<'_>, _value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.__next__(py)
    }

    /// Raises what is thrown in, and takes no item.
    #[pyo3(signature = (kind, value=None, _trace=None, /))]
    fn throw(
        &self,
        kind: Bound<'_, PyAny>,
        value: Option<Bound<'_, PyAny>>,
        _trace: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        Err(PyErr::from_value(value.unwrap_or(kind)))
    }

    fn close(&self) {}

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.items)
    }
}

/// [`Ready`] with the slot through which an `await` asks without an exception for each answer.
///
/// PyO3 has no name for it, so it is added by a type of its own, which has nothing else.
fn sendable(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static TYPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let made = TYPE.get_or_try_init(py, || make_sendable(py))?;
    Ok(made.bind(py))
}

#[expect(unsafe_code, reason = "a type with a slot that PyO3 has no name for")]
fn make_sendable(py: Python<'_>) -> PyResult<Py<PyType>> {
    let answer: SendFunction = answer;
    let itself: ffi::unaryfunc = ffi::PyObject_SelfIter;
    let mut slots = [
        slot(ffi::Py_am_send, answer as *mut _),
        slot(ffi::Py_am_await, itself as *mut _),
        slot(0, null_mut()),
    ];
    let mut spec = ffi::PyType_Spec {
        name: c"durastream._native.ReadyItems".as_ptr(),
        basicsize: 0,
        itemsize: 0,
        flags: ffi::Py_TPFLAGS_DEFAULT as c_uint,
        slots: slots.as_mut_ptr(),
    };
    let bases = PyTuple::new(py, [py.get_type::<Ready>()])?;
    // SAFETY: `spec` and its slots are read during the call only, but for the name, which is static; the size 0 means
    // that of the base, whose layout PyO3 knows. A new reference or an exception comes back.
    let made = unsafe {
        let made = ffi::PyType_FromSpecWithBases(&raw mut spec, bases.as_ptr());
        Bound::from_owned_ptr_or_err(py, made)?
    };
    Ok(made.cast_into::<PyType>()?.unbind())
}

type SendFunction = unsafe extern "C" fn(
    *mut ffi::PyObject,
    *mut ffi::PyObject,
    *mut *mut ffi::PyObject,
) -> ffi::PySendResult;

fn slot(slot: c_int, pfunc: *mut std::ffi::c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot { slot, pfunc }
}

/// `am_send`: the next item is the result of the await.
#[expect(unsafe_code, reason = "CPython calls it")]
unsafe extern "C" fn answer(
    slf: *mut ffi::PyObject,
    _value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: CPython calls slots with the GIL held, and this one with an object of the type that has it: a `Ready`.
    let taken = unsafe {
        let py = Python::assume_attached();
        Borrowed::from_ptr(py, slf)
            .cast_unchecked::<Ready>()
            .get()
            .take(py)
    };
    let (item, outcome) = match taken {
        Ok(item) => (item.into_ptr(), ffi::PySendResult::PYGEN_RETURN),
        Err(error) => {
            // SAFETY: as above.
            error.restore(unsafe { Python::assume_attached() });
            (null_mut(), ffi::PySendResult::PYGEN_ERROR)
        }
    };
    // SAFETY: `result` is where CPython wants it.
    unsafe { *result = item };
    outcome
}
