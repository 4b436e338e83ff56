//! Lists of items handed out one by one to `async for`, without a coroutine for each item.
//!
//! A coroutine that has nothing to wait for costs more than the item that it gives: it is made, started, ended by an
//! exception and freed. [`Ready`] is made once for an iterator, and gives the next item each time it is awaited.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::type_object::PyTypeInfo;
use pyo3::types::{PyList, PyTuple, PyType};

/// An asynchronous iterator over what lists hold; a coroutine brings the next list when one is used up.
///
/// Nothing that it refers to is ever another, as with a tuple: the garbage collector breaks cycles elsewhere.
#[pyclass(frozen, subclass, name = "BareRelay", module = "durastream._native")]
pub(crate) struct Relay {
    /// Called with this relay: gives a coroutine that fills it and gives the first item.
    refill: Py<PyAny>,
    ready: Py<Ready>,
}

impl Relay {
    fn next<'py>(slf: Borrowed<'_, 'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (py, relay) = (slf.py(), slf.get());
        let ready = relay.ready.bind(py);
        if ready.get().has_more() {
            return Ok(ready.clone().into_any());
        }
        ready.get().fill(&PyList::empty(py))?; // the memory of the items is free for the next ones
        relay.refill.bind(py).call1((slf,))
    }
}

#[pymethods]
impl Relay {
    #[new]
    #[pyo3(signature = (refill, /))]
    fn new(py: Python<'_>, refill: Py<PyAny>) -> PyResult<Self> {
        let ready = ready_type(py)?
            .call1((PyList::empty(py),))?
            .cast_into::<Ready>()?
            .unbind();
        Ok(Self { refill, ready })
    }

    /// Hands out what is in `items` next.
    #[pyo3(signature = (items, /))]
    fn fill(&self, items: &Bound<'_, PyList>) -> PyResult<()> {
        self.ready.bind(items.py()).get().fill(items)
    }

    fn __aiter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.refill)?;
        visit.call(&self.ready)
    }
}

/// Awaited, gives the next item at once. It looks like a coroutine, so that it can be made a task.
#[pyclass(frozen, subclass, name = "BareReady", module = "durastream._native")]
pub(crate) struct Ready {
    /// Nobody else has this list.
    items: Py<PyList>,
    count: AtomicUsize,
    next: AtomicUsize,
}

// The GIL is held: this extension is of the limited API, which no build without one can load.
impl Ready {
    fn has_more(&self) -> bool {
        self.next.load(Ordering::Relaxed) < self.count.load(Ordering::Relaxed)
    }

    fn fill(&self, items: &Bound<'_, PyList>) -> PyResult<()> {
        let mine = self.items.bind(items.py());
        self.count.store(0, Ordering::Relaxed);
        // Items that are let go of may run anything, also this.
        mine.set_slice(0, mine.len(), items)?;
        self.next.store(0, Ordering::Relaxed);
        self.count.store(items.len(), Ordering::Relaxed);
        Ok(())
    }

    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if !self.has_more() {
            return Err(PyRuntimeError::new_err(
                "what this wait was for went to another one: wait for one message at a time",
            ));
        }
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        self.items.bind(py).get_item(at)
    }
}

#[pymethods]
impl Ready {
    #[new]
    #[pyo3(signature = (items, /))]
    fn new(items: &Bound<'_, PyList>) -> PyResult<Self> {
        let made = Self {
            items: PyList::empty(items.py()).unbind(),
            count: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
        };
        made.fill(items)?;
        Ok(made)
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

/// [`Relay`] with the slot that `async for` asks, without what PyO3 does around a call.
///
/// PyO3 has no names for the slots of these two, so they are added by types of their own, which have nothing else.
pub(crate) fn relay_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static TYPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let next: ffi::unaryfunc = next;
    derived::<Relay>(
        py,
        &TYPE,
        c"durastream._native.Relay",
        &mut [slot(ffi::Py_am_anext, next as *mut _), slot(0, null_mut())],
    )
}

/// [`Ready`] with the slot through which an `await` asks without an exception for each answer.
pub(crate) fn ready_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static TYPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let answer: SendFunction = answer;
    let itself: ffi::unaryfunc = ffi::PyObject_SelfIter;
    derived::<Ready>(
        py,
        &TYPE,
        c"durastream._native.Ready",
        &mut [
            slot(ffi::Py_am_send, answer as *mut _),
            slot(ffi::Py_am_await, itself as *mut _),
            slot(0, null_mut()),
        ],
    )
}

/// A type that derives from that of `T`. The last of `slots` is 0.
#[expect(unsafe_code, reason = "a type with slots that PyO3 has no names for")]
fn derived<'py, T: PyTypeInfo>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyType>>,
    name: &'static CStr,
    slots: &mut [ffi::PyType_Slot],
) -> PyResult<&'py Bound<'py, PyType>> {
    let make = || {
        let bases = PyTuple::new(py, [py.get_type::<T>()])?;
        let mut spec = ffi::PyType_Spec {
            name: name.as_ptr(),
            basicsize: 0,
            itemsize: 0,
            flags: ffi::Py_TPFLAGS_DEFAULT as c_uint,
            slots: slots.as_mut_ptr(),
        };
        // SAFETY: `spec` and its slots are read during the call only, but for the name, which is static; the size 0
        // means that of the base, whose layout PyO3 knows. A new reference or an exception comes back.
        let made = unsafe {
            let made = ffi::PyType_FromSpecWithBases(&raw mut spec, bases.as_ptr());
            Bound::from_owned_ptr_or_err(py, made)?
        };
        PyResult::Ok(made.cast_into::<PyType>()?.unbind())
    };
    Ok(cell.get_or_try_init(py, make)?.bind(py))
}

type SendFunction = unsafe extern "C" fn(
    *mut ffi::PyObject,
    *mut ffi::PyObject,
    *mut *mut ffi::PyObject,
) -> ffi::PySendResult;

fn slot(slot: c_int, pfunc: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot { slot, pfunc }
}

/// `am_anext`: what to await for the next item.
#[expect(unsafe_code, reason = "CPython calls it")]
unsafe extern "C" fn next(slf: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: CPython calls slots with the GIL held, and this one with an object of the type that has it: a `Relay`.
    let (py, given) = unsafe {
        let py = Python::assume_attached();
        (
            py,
            Relay::next(Borrowed::from_ptr(py, slf).cast_unchecked()),
        )
    };
    or_raised(py, given)
}

/// `am_send`: the next item is the result of the await.
#[expect(unsafe_code, reason = "CPython calls it")]
unsafe extern "C" fn answer(
    slf: *mut ffi::PyObject,
    _value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: as above, with a `Ready`.
    let (py, taken) = unsafe {
        let py = Python::assume_attached();
        let ready = Borrowed::from_ptr(py, slf).cast_unchecked::<Ready>();
        (py, ready.get().take(py))
    };
    let item = or_raised(py, taken);
    // SAFETY: `result` is where CPython wants it.
    unsafe { *result = item };
    if item.is_null() {
        ffi::PySendResult::PYGEN_ERROR
    } else {
        ffi::PySendResult::PYGEN_RETURN
    }
}

/// A new reference, or null with the exception set.
fn or_raised(py: Python<'_>, outcome: PyResult<Bound<'_, PyAny>>) -> *mut ffi::PyObject {
    outcome.map_or_else(
        |error| {
            error.restore(py);
            null_mut()
        },
        Bound::into_ptr,
    )
}
