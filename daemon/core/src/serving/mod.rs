//! The engine `serving`: names that client processes answer requests to.
//!
//! It only brings requests and answers together, see `book`; what they mean is the processes' own.
//! Nothing here waits: requests without a server and servers without a request are calls that are
//! answered later. It does *not* know processes: a server is a session, and a session that ends takes
//! what it serves along.

mod book;
mod grants;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use parking_lot::Mutex;
use ringfence_protocol::api::serving as api;
use ringfence_protocol::api::system::Nothing;
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::limits;
use ringfence_protocol::schema::EngineSchema;

use crate::engine::{Call, Cost, Engine};
use book::{Book, Bounds};
pub use grants::{Grant, GrantError, Rules};

/// The engine.
#[derive(Debug)]
pub struct Serving {
    book: Mutex<Book>,
    rules: Rules,
    /// The engines of this process, whose names are not to be served.
    engines: OnceLock<Vec<String>>,
}

impl Serving {
    /// The engine: who may serve what, and what the requests that wait may take.
    #[must_use]
    pub fn new(rules: Rules, memory_bytes: u64) -> Self {
        let bytes = (memory_bytes as usize).min(limits::SERVING_QUEUED_BYTES);
        let book = Mutex::new(Book::new(Bounds { bytes, takes: rules.takes }));
        Self { book, rules, engines: OnceLock::new() }
    }

    fn ask(&self, call: &mut Call<'_>) -> Result<(), Error> {
        let request: api::Request<'_> = call.request()?;
        check_name(request.name)?;
        let mut book = self.book.lock();
        book.make_room(request.name, request.wait, request.payload.len())?;
        book.ask(call.session(), request, call.defer()?);
        Ok(())
    }

    fn serve(&self, call: &mut Call<'_>) -> Result<(), Error> {
        let api::Serve { name } = call.request()?;
        check_name(name)?;
        self.check_is_free(name)?;
        if !self.rules.allow(call.uid(), name) && is_armed("serving.users") {
            let text = format!(
                "user {} may not serve `{name}`: only the daemon's own and root, and whom [serving] grants names",
                call.uid().unwrap_or_default()
            );
            return Err(Error::new(ErrorCode::PermissionDenied, text));
        }
        let mut book = self.book.lock();
        let handle = book.serve(call.session(), name)?;
        // A worker may be at a call whose session has just ended: nobody would withdraw it.
        if let Err(error) = call.check() {
            let _it_is_there = book.withdraw(call.session(), handle);
            return Err(error);
        }
        call.reply(&api::Handle { handle });
        Ok(())
    }

    /// A caller of `vectors.search` must never reach another process.
    fn check_is_free(&self, name: &str) -> Result<(), Error> {
        let engine = name.split('.').next().unwrap_or(name);
        let taken = self.engines.get().is_some_and(|all| all.iter().any(|own| own == engine));
        if taken && is_armed("serving.reserved") {
            let text =
                format!("`{name}` is a name of this daemon's engine `{engine}`: choose another");
            return Err(Error::new(ErrorCode::AlreadyExists, text));
        }
        Ok(())
    }

    fn take(&self, call: &mut Call<'_>) -> Result<(), Error> {
        let api::Take { handle, answers, status, payload } = call.request()?;
        let mut book = self.book.lock();
        if answers != 0 {
            book.answer(call.session(), answers, status, payload)?;
        }
        book.make_place(call.session(), handle)?;
        book.take(call.session(), handle, call.defer()?);
        Ok(())
    }
}

impl Engine for Serving {
    fn schema(&self) -> EngineSchema {
        api::schema()
    }

    fn assembled(&self, engines: &[EngineSchema]) {
        let _once = self.engines.set(engines.iter().map(|engine| engine.name.clone()).collect());
    }

    fn cost(&self, op: u16, _request: &[u8]) -> Cost {
        match op {
            api::CALL | api::TAKE => Cost::WAITS,
            _ => Cost::LIGHT,
        }
    }

    fn call(&self, op: u16, call: &mut Call<'_>) -> Result<(), Error> {
        match op {
            api::CALL => return self.ask(call),
            api::SERVE => return self.serve(call),
            api::TAKE => return self.take(call),
            api::WITHDRAW => {
                let api::Handle { handle } = call.request()?;
                self.book.lock().withdraw(call.session(), handle)?;
                call.reply(&Nothing {});
            }
            api::ANSWER => {
                let api::Answer { answers, status, payload } = call.request()?;
                self.book.lock().answer(call.session(), answers, status, payload)?;
                call.reply(&Nothing {});
            }
            api::WANTED => {
                let api::Which { request } = call.request()?;
                let wanted = self.book.lock().wanted(call.session(), request)?;
                call.reply(&wanted);
            }
            api::LIST => {
                let Nothing {} = call.request()?;
                self.book.lock().list(call);
            }
            _ => {
                let text = format!("serving has no method {op}");
                return Err(Error::new(ErrorCode::UnknownMethod, text));
            }
        }
        Ok(())
    }

    fn session_ended(&self, session: u64) {
        self.book.lock().leave(session);
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let fits = (1..=limits::SERVING_NAME_BYTES).contains(&name.len());
    let allowed = fits && name.bytes().all(grants::is_of_a_name);
    if allowed || !is_armed("serving.name") {
        return Ok(());
    }
    let shown: String = name.chars().take(limits::SERVING_NAME_BYTES).collect();
    let text = format!(
        "name {shown:?} of {} bytes: use 1 to {} of a-z, 0-9, `_`, `.` and `-`",
        name.len(),
        limits::SERVING_NAME_BYTES
    );
    Err(Error::new(ErrorCode::InvalidArgument, text))
}
