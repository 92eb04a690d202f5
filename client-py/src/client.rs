//! The native class below `ringfence.Client`: connect, and the calls that must be fast.
//!
//! `ringfence.Client` is a subclass of it, so that no Python frame stands between a caller and
//! [`Client::echo`]. It holds a client of client-rs and translates.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use ringfence::schema::EngineSchema;
use ringfence::{Error, Spin};

use crate::error::raise;
use crate::wait::{self, Limit};
use crate::{batch, buffer, method, topic};

/// A connection to a daemon. Any thread may use it.
#[pyclass(frozen, subclass, weakref, module = "ringfence._core")]
pub(crate) struct Client {
    inner: ringfence::Client,
    echo: ringfence::Method,
    ping: ringfence::Method,
    closed: AtomicBool,
}

#[pymethods]
impl Client {
    /// Use `ringfence.connect`.
    #[new]
    #[pyo3(signature = (target = None, *, autostart = None, daemon = None, timeout = Limit::DEFAULT,
        spin = "adaptive", name = None))]
    #[allow(clippy::too_many_arguments)] // named ones in Python
    fn connect(
        py: Python<'_>,
        target: Option<&str>,
        autostart: Option<PathBuf>,
        daemon: Option<PathBuf>,
        timeout: Limit,
        spin: &str,
        name: Option<&str>,
    ) -> PyResult<Self> {
        let builder = builder(py, target, autostart, daemon, timeout, spin, name)?;
        let (inner, echo, ping) = wait::aside_or_raise(py, move || {
            let client = builder.connect()?;
            let echo = client.method("system", "echo")?;
            let ping = client.method("system", "ping")?;
            Ok::<_, Error>((client, echo, ping))
        })?;
        Ok(Self { inner, echo, ping, closed: AtomicBool::new(false) })
    }

    /// Sends bytes and gives back what the daemon answers: the same.
    #[pyo3(signature = (data, /, *, timeout = Limit::DEFAULT))]
    fn echo<'py>(
        &self,
        py: Python<'py>,
        data: &Bound<'py, PyAny>,
        timeout: Limit,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let options = timeout.options();
        match data.cast::<PyBytes>() {
            Ok(bytes) => wait::echo(py, &self.inner, &self.echo, bytes.as_bytes(), &options),
            Err(_) => {
                let copy = buffer::to_vec(data, "data")?;
                wait::echo(py, &self.inner, &self.echo, &copy, &options)
            }
        }
    }

    /// Sends every item, many in flight at a time, and gives the answers in the same order.
    #[pyo3(signature = (items, /, *, timeout = Limit::DEFAULT))]
    fn echo_many<'py>(
        &self,
        py: Python<'py>,
        items: &Bound<'py, PyAny>,
        timeout: Limit,
    ) -> PyResult<Bound<'py, PyList>> {
        let options = timeout.options();
        batch::call_many(py, &self.inner, &self.echo, items, &options)
    }

    /// Asks the daemon for a sign of life.
    #[pyo3(signature = (*, timeout = Limit::DEFAULT))]
    fn ping(&self, py: Python<'_>, timeout: Limit) -> PyResult<()> {
        wait::call(py, &self.inner, &self.ping, &[], &timeout.options()).map(drop)
    }

    /// Lets go of the daemon. Later calls raise; a second `close` does nothing.
    fn close(&self, py: Python<'_>) {
        self.closed.store(true, Relaxed);
        py.detach(|| self.inner.close());
    }

    /// The same daemon over a session of its own, which ends with this one.
    fn _apart(&self) -> Self {
        let (inner, echo, ping) = (self.inner.apart(), self.echo.clone(), self.ping.clone());
        Self { inner, echo, ping, closed: AtomicBool::new(false) }
    }

    fn _is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// A method of an engine; looked up at its first use.
    fn _method(&self, engine: String, name: String) -> method::Method {
        method::Method::new(self.inner.clone(), engine, name)
    }

    /// The topic of this name; made as it is asked for if there is none: slots, payload_bytes, blocks,
    /// block_bytes, policy, patience.
    fn _topic(
        &self,
        py: Python<'_>,
        name: String,
        asked: Option<topic::Asked>,
    ) -> PyResult<topic::Topic> {
        topic::Topic::open(py, &self.inner, name, asked)
    }

    /// Memory for so many bytes that the daemon reads where they are filled.
    fn _loan(&self, py: Python<'_>, len: usize) -> PyResult<buffer::Loan> {
        let inner = self.inner.clone();
        wait::aside_or_raise(py, move || inner.loan(len)).map(buffer::Loan)
    }

    /// What it is connected to: instance, socket, session, epoch, the daemon's pid and version,
    /// whether that daemon is private, whether this client started it, and whether it is this
    /// process.
    fn _info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        info(py, &self.inner)
    }

    /// The engines of the daemon: name, documentation and names of methods each.
    fn _engines(&self, py: Python<'_>) -> PyResult<Vec<(String, String, Vec<String>)>> {
        method::catalogue(py, &self.inner).map(|catalogue| engines(&catalogue))
    }
}

/// What Python says of a client to be, as client-rs takes it.
pub(crate) fn builder(
    py: Python<'_>,
    target: Option<&str>,
    autostart: Option<PathBuf>,
    daemon: Option<PathBuf>,
    timeout: Limit,
    spin: &str,
    name: Option<&str>,
) -> PyResult<ringfence::Builder> {
    let mut builder =
        crate::target::builder(target).map_err(|error| raise(py, &error))?.spin(parse_spin(spin)?);
    if let Some(binary) = autostart {
        builder = builder.autostart(Some(binary));
    }
    if let Some(binary) = daemon {
        builder = builder.daemon(binary);
    }
    if let Some(limit) = timeout.of_connect() {
        builder = builder.timeout(limit);
    }
    if let Some(name) = name {
        builder = builder.name(name);
    }
    Ok(builder)
}

/// What a client is connected to, as a tuple.
pub(crate) fn info<'py>(
    py: Python<'py>,
    client: &ringfence::Client,
) -> PyResult<Bound<'py, PyTuple>> {
    let info = client.info();
    let socket = info.socket.map(|path| path.to_string_lossy().into_owned());
    let ringfence::Info { instance, session, epoch, private, autostarted, inproc, .. } = info;
    let (pid, version) = (info.daemon_pid, info.daemon_version);
    (instance, socket, session, epoch, pid, version, private, autostarted, inproc).into_pyobject(py)
}

/// Name, documentation and names of methods of each engine.
pub(crate) fn engines(catalogue: &[EngineSchema]) -> Vec<(String, String, Vec<String>)> {
    let names =
        |engine: &EngineSchema| engine.methods.iter().map(|method| method.name.clone()).collect();
    let all = catalogue.iter();
    all.map(|engine| (engine.name.clone(), engine.doc.clone(), names(engine))).collect()
}

fn parse_spin(text: &str) -> PyResult<Spin> {
    match text {
        "adaptive" => Ok(Spin::Adaptive),
        "always" => Ok(Spin::Always),
        "never" => Ok(Spin::Never),
        other => Err(PyValueError::new_err(format!(
            "spin is {other:?}; it can be \"adaptive\", \"always\" or \"never\""
        ))),
    }
}
