//! One method of one engine, called by what the catalogue says of it.
//!
//! Resolved at its first use and again when a daemon with another catalogue has taken over, so a
//! `Method` may be kept for as long as its client. It does *not* know any engine by name.

use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use ringfence::schema::{EngineSchema, MethodSchema};
use ringfence::{Client, Reply};

use crate::buffer::View;
use crate::error::raise;
use crate::pack::{Layout, type_name};
use crate::pending::Pending;
use crate::unpack::unpack;
use crate::wait::{self, Limit};

/// What the catalogue of one daemon says of the method.
pub(crate) struct Resolved {
    /// Of which catalogue: compared by address.
    catalogue: Arc<[EngineSchema]>,
    pub(crate) method: ringfence::Method,
    schema: MethodSchema,
    pub(crate) request: Layout,
    reply: Layout,
    /// The named tuple of its replies; none if they have no fields.
    result: Option<Py<PyAny>>,
}

impl Resolved {
    /// The reply's values in the order of its fields.
    pub(crate) fn values<'py>(
        &self,
        py: Python<'py>,
        reply: Reply,
    ) -> PyResult<Bound<'py, PyTuple>> {
        unpack(py, &self.reply, View::new(reply))
    }

    /// The reply as a named tuple, or `None` if it has no fields.
    pub(crate) fn result(&self, py: Python<'_>, reply: Reply) -> PyResult<Py<PyAny>> {
        let values = self.values(py, reply)?;
        match &self.result {
            Some(class) => class.call1(py, values),
            None => Ok(py.None()),
        }
    }
}

/// A method of an engine of a client's daemon.
#[pyclass(frozen, module = "ringfence._core")]
pub(crate) struct Method {
    client: Client,
    engine: String,
    name: String,
    resolved: Mutex<Option<Arc<Resolved>>>,
    /// Its callers are tasks of an event loop: nothing here may wait.
    of_tasks: bool,
}

impl Method {
    pub(crate) fn new(client: Client, engine: String, name: String) -> Self {
        Self { client, engine, name, resolved: Mutex::new(None), of_tasks: false }
    }

    /// For an event loop.
    #[allow(dead_code)] // not in the extension that runs the core in process
    pub(crate) fn of_tasks(client: Client, engine: String, name: String) -> Self {
        Self { of_tasks: true, ..Self::new(client, engine, name) }
    }

    fn resolved(&self, py: Python<'_>) -> PyResult<Arc<Resolved>> {
        let catalogue = catalogue(py, &self.client)?;
        let known = self.resolved.lock().clone();
        if let Some(known) = known
            && Arc::ptr_eq(&known.catalogue, &catalogue)
        {
            return Ok(known);
        }
        let fresh = Arc::new(self.resolve(py, catalogue)?);
        *self.resolved.lock() = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// Without waiting: the client knows the catalogue, or has known one whose daemon is gone since.
    pub(crate) fn resolved_at_once(&self, py: Python<'_>) -> PyResult<Arc<Resolved>> {
        if self.client.known_catalogue().is_some() {
            return self.resolved(py);
        }
        let known = self.resolved.lock().clone();
        known.ok_or_else(|| raise(py, &unknown(NOT_LEARNT.to_owned())))
    }

    fn resolve(&self, py: Python<'_>, catalogue: Arc<[EngineSchema]>) -> PyResult<Resolved> {
        // Detached: where the daemon has gone just now it waits for the next one.
        let found = py.detach(|| self.client.method(&self.engine, &self.name));
        let method = wait::or_raise(py, found)?;
        let found = catalogue.iter().find(|engine| engine.name == self.engine);
        let schema = found.and_then(|engine| engine.method(&self.name)).ok_or_else(|| {
            let text = format!("{}.{} is not in the catalogue", self.engine, self.name);
            raise(py, &unknown(text))
        })?;
        let owner = format!("{}.{}()", self.engine, self.name);
        let names: Vec<&str> = schema.reply.fields.iter().map(|f| f.name.as_str()).collect();
        let result = if names.is_empty() {
            None
        } else {
            let make = py.import("ringfence._engine")?.getattr("result_type")?;
            Some(make.call1((&self.engine, &self.name, &names))?.unbind())
        };
        Ok(Resolved {
            method,
            request: Layout { owner: owner.clone(), schema: schema.request.clone() },
            reply: Layout { owner, schema: schema.reply.clone() },
            schema: schema.clone(),
            result,
            catalogue,
        })
    }
}

#[pymethods]
impl Method {
    /// Calls it with values by name and gives a named tuple, `None` where the reply has no fields.
    #[pyo3(signature = (fields, /, *, timeout = Limit::DEFAULT))]
    fn call(
        &self,
        py: Python<'_>,
        fields: &Bound<'_, PyDict>,
        timeout: Limit,
    ) -> PyResult<Py<PyAny>> {
        let resolved = self.resolved(py)?;
        let payload = resolved.request.pack_named(Some(fields))?;
        let options = timeout.options();
        let reply = wait::call_any(py, &self.client, &resolved.method, payload, &options)?;
        resolved.result(py, reply)
    }

    /// Calls it with values in the order of its fields and gives the reply's values the same way.
    #[pyo3(signature = (values, /, *, timeout = Limit::DEFAULT))]
    fn invoke<'py>(
        &self,
        py: Python<'py>,
        values: &Bound<'py, PyTuple>,
        timeout: Limit,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let resolved = self.resolved(py)?;
        let payload = resolved.request.pack_ordered(values)?;
        let options = timeout.options();
        let reply = wait::call_any(py, &self.client, &resolved.method, payload, &options)?;
        resolved.values(py, reply)
    }

    /// Sends it with values by name and does not wait.
    #[pyo3(signature = (fields, /, *, timeout = Limit::DEFAULT))]
    fn submit(
        &self,
        py: Python<'_>,
        fields: &Bound<'_, PyDict>,
        timeout: Limit,
    ) -> PyResult<Pending> {
        let resolved = self.resolved(py)?;
        let payload = resolved.request.pack_named(Some(fields))?;
        let options = timeout.options();
        let pending = wait::submit(py, &self.client, &resolved.method, payload, &options)?;
        Ok(Pending::new(pending, resolved))
    }

    /// Its documentation, request fields and reply fields (name, type, documentation each),
    /// whether it is idempotent, and its default timeout in milliseconds.
    fn describe<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let resolved = if self.of_tasks { self.resolved_at_once(py) } else { self.resolved(py) };
        let MethodSchema { request, reply, idempotent, timeout_ms, doc, .. } = &resolved?.schema;
        (doc, fields(request), fields(reply), idempotent, timeout_ms).into_pyobject(py)
    }
}

fn fields(layout: &ringfence::schema::Layout) -> Vec<(&str, String, &str)> {
    let all = layout.fields.iter();
    all.map(|field| (field.name.as_str(), type_name(field.ty), field.doc.as_str())).collect()
}

const NOT_LEARNT: &str =
    "the daemon was restarted, and its catalogue is not known yet: the next call fetches it";

fn unknown(text: String) -> ringfence::Error {
    ringfence::remote_error::Error::new(ringfence::ErrorCode::UnknownMethod, text).into()
}

/// The catalogue of the daemon that the client is connected to now.
pub(crate) fn catalogue(py: Python<'_>, client: &Client) -> PyResult<Arc<[EngineSchema]>> {
    if let Some(known) = client.known_catalogue() {
        return Ok(known);
    }
    let own = client.clone();
    wait::aside_or_raise(py, move || own.catalogue())
}
