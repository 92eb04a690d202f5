//! What the daemon's engines and methods are, and what they are here.

use std::sync::{Arc, OnceLock};

use ringfence_protocol::api;
use ringfence_protocol::error::{Error as RemoteError, ErrorCode};
use ringfence_protocol::schema::{EngineSchema, MethodSchema};
use ringfence_protocol::wire::{self, EngineId};

use crate::call::Request;
use crate::client::Client;
use crate::error::Error;
use crate::method::{Facts, Method};
use crate::options::CallOptions;
use crate::remote::Remote;
use crate::reply::Reply;
use crate::session::Session;
use crate::way::Way;

/// Engines that this library was compiled with.
pub(crate) fn compiled_in() -> &'static [EngineSchema] {
    static SCHEMAS: OnceLock<Vec<EngineSchema>> = OnceLock::new();
    SCHEMAS.get_or_init(|| {
        let (system, vectors) = (api::system::schema(), api::vectors::schema());
        vec![system, vectors, api::bus::schema(), api::serving::schema()]
    })
}

impl Remote {
    /// All engines of the daemon. Fetched once a session.
    pub(crate) fn catalogue(self: &Arc<Self>) -> Result<Arc<[EngineSchema]>, Error> {
        let session = self.session()?;
        self.catalogue_of(&session)
    }

    fn catalogue_of(self: &Arc<Self>, session: &Session) -> Result<Arc<[EngineSchema]>, Error> {
        if let Some(known) = session.catalogue.get() {
            return Ok(known.clone());
        }
        let method = Method::catalogue();
        let options = CallOptions::default();
        let request = Request {
            method: &method,
            payload: &[],
            options: &options,
            turns: self.turns(&options),
            stays: true,
        };
        let reply = self.call(request)?;
        session.learn(&reply)
    }

    /// Must the catalogue be fetched before this method can be called?
    pub(crate) fn must_learn(&self, method: &Method) -> bool {
        let Some(session) = self.alive() else { return false };
        method.number(session.serial).is_none()
            && session.catalogue.get().is_none()
            && compiled_in().iter().all(|engine| engine.name != method.engine())
    }

    /// Keeps the catalogue that the daemon of the present session has answered.
    pub(crate) fn learn(&self, reply: &[u8]) -> Result<(), Error> {
        self.alive().map_or(Ok(()), |session| session.learn(reply).map(drop))
    }

    /// The present session; connects if there is none.
    pub(crate) fn session(self: &Arc<Self>) -> Result<Arc<Session>, Error> {
        loop {
            match self.alive() {
                Some(session) => return Ok(session),
                None => self.ensure(0, None)?,
            }
        }
    }

    /// Finds the method's number in this session.
    #[cold]
    pub(crate) fn resolve(
        self: &Arc<Self>,
        method: &Method,
        session: &Session,
    ) -> Result<(), Error> {
        if !method.is_for(session.serial) {
            return Err(Error::Closed);
        }
        let id = session.engines.iter().find(|engine| engine.name == method.engine());
        let Some(id) = id else {
            let known = session.engines.iter().map(|engine| engine.name.as_str());
            return Err(unknown_engine(method.engine(), known));
        };
        let facts = match compiled_in().iter().find(|engine| engine.name == id.name) {
            Some(own) => self.facts_of_known(method, own, id, session)?,
            None => self.facts_of_foreign(method, id, session)?,
        };
        method.resolve(session.serial, facts);
        Ok(())
    }

    /// An engine that both sides were compiled with, perhaps differently.
    fn facts_of_known(
        self: &Arc<Self>,
        method: &Method,
        own: &EngineSchema,
        id: &EngineId,
        session: &Session,
    ) -> Result<Facts, Error> {
        if own.digest() == id.digest {
            return find(own, method.name()).map(|schema| Facts::of(id.number, schema));
        }
        let Some(there) = &id.differs else {
            return self.facts_of_foreign(method, id, session);
        };
        match own.first_difference(method.name(), there) {
            Some(difference) => Err(Error::SchemaMismatch { difference }),
            None => find(there, method.name()).map(|schema| Facts::of(id.number, schema)),
        }
    }

    /// An engine that only the daemon knows.
    fn facts_of_foreign(
        self: &Arc<Self>,
        method: &Method,
        id: &EngineId,
        session: &Session,
    ) -> Result<Facts, Error> {
        let all = self.catalogue_of(session)?;
        let engine = all.iter().find(|engine| engine.name == id.name).ok_or_else(|| {
            Error::Protocol { what: format!("engine `{}` is not in its catalogue", id.name) }
        })?;
        find(engine, method.name()).map(|schema| Facts::of(id.number, schema))
    }
}

impl Client {
    /// A method by its names, from the daemon's catalogue.
    ///
    /// # Errors
    /// Code `UnknownMethod` with the names that there are; [`Error::SchemaMismatch`] if this library
    /// was compiled with another layout of it.
    ///
    /// ```
    /// let client = ringfence::doctest_client();
    /// assert!(client.method("system", "echo")?.is_idempotent());
    /// assert!(client.method("system", "no_such").is_err());
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn method(&self, engine: &str, name: &str) -> Result<Method, Error> {
        let method = Method::unresolved(engine, name);
        match self.way() {
            Way::Remote(remote) => {
                let remote = remote.here();
                remote.resolve(&method, &*remote.session()?)?;
            }
            #[cfg(feature = "inproc")]
            Way::Inproc(inproc) => inproc.resolve(&method)?,
        }
        Ok(method)
    }

    /// All engines of the daemon with their methods and layouts. Fetched once a session.
    ///
    /// # Errors
    /// As for every call, see [`Error`].
    ///
    /// ```
    /// let catalogue = ringfence::doctest_client().catalogue()?;
    /// assert_eq!(catalogue[0].name, "system");
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn catalogue(&self) -> Result<Arc<[EngineSchema]>, Error> {
        match self.way() {
            Way::Remote(remote) => remote.here().catalogue(),
            #[cfg(feature = "inproc")]
            Way::Inproc(inproc) => Ok(inproc.catalogue()),
        }
    }

    /// The [`catalogue`](Self::catalogue), if the present session has fetched it. Never waits.
    ///
    /// ```
    /// assert!(ringfence::doctest_client().known_catalogue().is_some());
    /// ```
    #[must_use]
    pub fn known_catalogue(&self) -> Option<Arc<[EngineSchema]>> {
        match self.way() {
            Way::Remote(remote) => remote.here().alive()?.catalogue.get().cloned(),
            #[cfg(feature = "inproc")]
            Way::Inproc(inproc) => Some(inproc.catalogue()),
        }
    }

    /// Fetches the [`catalogue`](Self::catalogue), connecting if need be, without waiting; afterwards
    /// [`known_catalogue`](Self::known_catalogue) has it.
    ///
    /// # Errors
    /// As [`call_async`](Self::call_async).
    ///
    /// ```
    /// # smol::block_on(async {
    /// let client = ringfence::doctest_client();
    /// client.learn_async(&ringfence::CallOptions::default()).await?;
    /// assert!(client.known_catalogue().is_some());
    /// # Ok::<(), ringfence::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn learn_async(&self, options: &CallOptions) -> Result<Reply, Error> {
        let reply = self.call_async(&Method::catalogue(), [], options).await?;
        match self.way() {
            Way::Remote(remote) => remote.here().learn(&reply)?,
            #[cfg(feature = "inproc")]
            Way::Inproc(_) => {}
        }
        Ok(reply)
    }
}

impl Session {
    fn learn(&self, reply: &[u8]) -> Result<Arc<[EngineSchema]>, Error> {
        let engines = wire::decode_catalogue(reply)
            .map_err(|wrong| Error::Protocol { what: format!("its catalogue: {wrong}") })?;
        Ok(self.catalogue.get_or_init(|| engines.into()).clone())
    }
}

/// The method of this name, or an error that says which there are.
pub(crate) fn find<'s>(engine: &'s EngineSchema, name: &str) -> Result<&'s MethodSchema, Error> {
    engine.method(name).ok_or_else(|| {
        let known = engine.methods.iter().map(|method| method.name.as_str());
        unknown(format!("engine `{}` has no method `{name}`", engine.name), known)
    })
}

pub(crate) fn unknown_engine<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Error {
    unknown(format!("no engine `{name}` is enabled"), known)
}

fn unknown<'n>(what: String, known: impl Iterator<Item = &'n str>) -> Error {
    let known = known.collect::<Vec<_>>().join(", ");
    Error::Remote(RemoteError::new(ErrorCode::UnknownMethod, format!("{what}; there are: {known}")))
}
