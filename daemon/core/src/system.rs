//! `system`, engine number 0: ping, echo, the catalogue, and the daemon as it sees itself.

use std::sync::OnceLock;

use ringfence_protocol::api::system::{self as api, Bytes, Nothing, Stats};
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::schema::EngineSchema;

use crate::engine::{Call, Engine};

/// The numbers that `stats` answers, from whoever runs the engines.
pub trait StatsSource: Send + Sync + 'static {
    /// The numbers now, as `session` may see them.
    fn stats(&self, session: u64) -> Stats<'static>;
}

/// What the engine answers from; set once, when all engines are known.
#[derive(Debug, Default)]
pub struct Facts {
    catalogue: OnceLock<Vec<u8>>,
}

impl Facts {
    /// Sets the catalogue: all engines, encoded by `wire`.
    pub fn set_catalogue(&self, encoded: Vec<u8>) {
        let _ = self.catalogue.set(encoded);
    }
}

/// The engine.
pub struct System {
    facts: std::sync::Arc<Facts>,
    stats: Box<dyn StatsSource>,
}

impl std::fmt::Debug for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("System").finish_non_exhaustive()
    }
}

impl System {
    /// The engine over these facts and numbers.
    #[must_use]
    pub fn new(facts: std::sync::Arc<Facts>, stats: Box<dyn StatsSource>) -> Self {
        Self { facts, stats }
    }
}

impl Engine for System {
    fn schema(&self) -> EngineSchema {
        api::schema()
    }

    fn call(&self, op: u16, call: &mut Call<'_>) -> Result<(), Error> {
        match op {
            api::PING => {
                let Nothing {} = call.request()?;
                call.reply(&Nothing {});
            }
            api::ECHO => {
                let request: Bytes<'_> = call.request()?;
                call.reply(&request);
            }
            _ => return self.rare(op, call),
        }
        Ok(())
    }
}

impl System {
    /// What nobody is in a hurry for, out of the way of what everybody is.
    #[inline(never)]
    fn rare(&self, op: u16, call: &mut Call<'_>) -> Result<(), Error> {
        match op {
            api::CATALOGUE => {
                let Nothing {} = call.request()?;
                let data = self.facts.catalogue.get().map_or(&[][..], Vec::as_slice);
                call.reply(&Bytes { data });
            }
            api::STATS => {
                let Nothing {} = call.request()?;
                let stats = self.stats.stats(call.session());
                call.reply(&stats);
            }
            _ => {
                let text = format!("system has no method {op}");
                return Err(Error::new(ErrorCode::UnknownMethod, text));
            }
        }
        Ok(())
    }
}
