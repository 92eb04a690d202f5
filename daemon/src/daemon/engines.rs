//! Which engines a daemon has: what `[engines] enable` names, and the builder's own.
//!
//! Invariants: `system` is always there and comes first; an engine of one's own is never left out;
//! a name that nobody has is an error that says which there are. It does *not* run them.

use std::sync::Arc;

use ringfence_core::serving::Rules;
use ringfence_core::system::{Facts, System};
use ringfence_core::{Allowance, Registry};
use ringfence_protocol::limits::SERVING_TAKES;
use ringfence_protocol::wire;

use super::{Builder, StartError};
use crate::bus;
use crate::config::{BUILTIN, Config, nearest};
use crate::sight::LateSight;

impl Builder {
    /// Does `[engines] enable` name engines that there are? Those of one's own may be named.
    pub(super) fn check_engines(&self, config: &Config) -> Result<(), StartError> {
        if !self.builtin {
            return Ok(());
        }
        let own = self.engines.iter().map(|engine| engine.schema().name);
        let builtin = BUILTIN.iter().map(|name| (*name).to_owned());
        let known: Vec<String> =
            std::iter::once("system".to_owned()).chain(builtin).chain(own).collect();
        match config.engines.enable.iter().find(|name| !known.contains(name)) {
            None => Ok(()),
            Some(name) => Err(unknown_engine(name, &known)),
        }
    }

    pub(super) fn registry(
        self,
        config: &Config,
        late: LateSight,
        bus: Arc<bus::Engine>,
    ) -> Result<Registry, StartError> {
        let facts = Arc::new(Facts::default());
        let mut registry = Registry::new();
        registry.add(Box::new(System::new(Arc::clone(&facts), Box::new(late))))?;
        if self.builtin {
            let mut builtin = ringfence_core::builtin(Allowance {
                state: config.instance_state_dir(),
                memory_bytes: config.engines.memory_bytes,
                serving: Rules {
                    owner: nix::unistd::geteuid().as_raw(),
                    grants: config.serving.grants(),
                    takes: SERVING_TAKES.min(config.lanes.slots as usize / 2),
                },
            });
            builtin.push(Box::new(bus));
            for name in &config.engines.enable {
                let at = builtin.iter().position(|engine| engine.schema().name == *name);
                if let Some(at) = at {
                    registry.add(builtin.remove(at))?;
                }
            }
        }
        for engine in self.engines {
            registry.add(engine)?;
        }
        let schemas: Vec<_> = registry.schemas().cloned().collect();
        let catalogue = wire::encode_catalogue(&schemas)
            .map_err(|error| StartError::Board(error.to_string()))?;
        facts.set_catalogue(catalogue);
        registry.assembled(&schemas);
        Ok(registry)
    }
}

/// Names that only another build has.
const ELSEWHERE: &[&str] = &["vectors"];

#[cold]
fn unknown_engine(name: &str, known: &[String]) -> StartError {
    let near = nearest(name, known.iter().map(String::as_str));
    let hint = match near {
        _ if ELSEWHERE.contains(&name) => {
            format!("; it was built without the cargo feature `{name}`")
        }
        Some(near) => format!("; did you mean `{near}`?"),
        None => String::new(),
    };
    StartError::UnknownEngine { name: name.to_owned(), known: known.join(", "), hint }
}

#[cfg(test)]
mod tests {
    use ringfence_core::{Call, Engine};
    use ringfence_protocol::error::Error;
    use ringfence_protocol::schema::EngineSchema;

    use super::*;
    use crate::Daemon;
    use crate::segments::Segments;

    struct Own;
    impl Engine for Own {
        fn schema(&self) -> EngineSchema {
            EngineSchema::new("own", "", Vec::new())
        }
        fn call(&self, _: u16, _: &mut Call<'_>) -> Result<(), Error> {
            Ok(())
        }
    }

    fn no_bus(config: &Config) -> Arc<bus::Engine> {
        let segments = Segments::new(0, "engines".parse().unwrap()).unwrap();
        Arc::new(bus::engine(config, 0, segments, bus::Ears::new(0, &config.bus)))
    }

    fn engines(builder: Builder, enable: &[&str]) -> Result<Vec<String>, String> {
        let mut config = Config::default();
        config.engines.enable = enable.iter().map(|name| (*name).to_owned()).collect();
        let registry = builder
            .check_engines(&config)
            .and_then(|()| builder.registry(&config, LateSight::default(), no_bus(&config)))
            .map_err(|error| error.to_string())?;
        Ok(registry.schemas().map(|schema| schema.name.clone()).collect())
    }

    #[test]
    fn what_is_enabled_is_there_and_ones_own_engine_always() {
        let own = || Daemon::builder().builtin_engines().engine(Own);
        assert_eq!(engines(own(), &["system"]).unwrap(), ["system", "own"]);
        assert_eq!(engines(own(), &["system", "own"]).unwrap(), ["system", "own"]);
        let said = engines(own(), &["system", "onw"]).unwrap_err();
        assert!(said.ends_with("own; did you mean `own`?"), "{said}");
        let far = engines(own(), &["system", "spreadsheet"]).unwrap_err();
        assert!(far.ends_with("own"), "{far}");
        // Without built-in engines there is nothing to choose from.
        assert_eq!(engines(Daemon::builder(), &["system", "x"]).unwrap(), ["system"]);
    }

    #[cfg(feature = "vectors")]
    #[test]
    fn vectors_can_be_off() {
        let builtin = || Daemon::builder().builtin_engines();
        assert_eq!(engines(builtin(), &["system", "vectors"]).unwrap(), ["system", "vectors"]);
        assert_eq!(engines(builtin(), &["system"]).unwrap(), ["system"]);
    }

    #[cfg(not(feature = "vectors"))]
    #[test]
    fn a_lean_daemon_says_why_vectors_are_not_there() {
        let builtin = || Daemon::builder().builtin_engines();
        assert_eq!(Config::default().engines.enable, ["system", "serving"]);
        let said = engines(builtin(), &["system", "vectors"]).unwrap_err();
        assert!(said.contains("without the cargo feature `vectors`"), "{said}");
    }
}
