//! The engines of one process: numbers, the catalogue, and the edge where panics are caught.
//!
//! Engine numbers are places in the order of registration; `system` is always number 0. A method
//! number is `engine << 16 | op`. Dense *method indices* number all methods in a row, for counters.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::error::{Error, ErrorCode};
use ringfence_protocol::limits;
use ringfence_protocol::schema::{EngineSchema, MethodSchema};

use crate::engine::{Call, Cost, Engine};

/// Why an engine cannot be registered: a mistake of whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The name is not `[a-z][a-z0-9_]{0,31}`.
    #[error("engine name `{name}` must match [a-z][a-z0-9_]{{0,31}}")]
    Name {
        /// The name.
        name: String,
    },
    /// Two engines bear one name.
    #[error("two engines are named `{name}`: rename one")]
    Twice {
        /// The name.
        name: String,
    },
    /// Too many engines.
    #[error("{count} engines are more than the {} that one daemon takes", limits::ENGINES)]
    TooMany {
        /// How many there would be.
        count: usize,
    },
    /// Two methods share a name or a number, or there are too many of them.
    #[error(
        "engine `{name}`: method numbers and names must be unique, numbers below {}",
        limits::METHODS_PER_ENGINE
    )]
    Methods {
        /// The engine's name.
        name: String,
    },
}

struct Entry {
    engine: Box<dyn Engine>,
    schema: EngineSchema,
    /// Dense index of each op, `u32::MAX` where there is none.
    index: Vec<u32>,
}

/// One method, as a request reaches it.
#[derive(Clone, Copy)]
pub struct Method<'r> {
    engine: &'r dyn Engine,
    op: u16,
    /// Place among all methods of the process.
    pub index: usize,
}

impl fmt::Debug for Method<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Method").field("op", &self.op).field("index", &self.index).finish()
    }
}

/// The engines of one process.
#[derive(Default)]
pub struct Registry {
    entries: Vec<Entry>,
    methods: usize,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|entry| &entry.schema.name)).finish()
    }
}

impl Registry {
    /// No engines yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an engine; its number is how many there were before.
    ///
    /// # Errors
    /// [`RegistryError`], a mistake of whoever wrote the engine.
    pub fn add(&mut self, engine: Box<dyn Engine>) -> Result<(), RegistryError> {
        let schema = engine.schema();
        self.validate(&schema)?;
        let highest =
            schema.methods.iter().map(|method| method.op).max().map_or(0, |op| op as usize + 1);
        let mut index = vec![u32::MAX; highest];
        for method in &schema.methods {
            index[method.op as usize] = self.methods as u32;
            self.methods += 1;
        }
        self.entries.push(Entry { engine, schema, index });
        Ok(())
    }

    fn validate(&self, schema: &EngineSchema) -> Result<(), RegistryError> {
        let name = schema.name.clone();
        let tail = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let bytes = name.as_bytes();
        if !(bytes.first().is_some_and(u8::is_ascii_lowercase)
            && bytes.len() <= 32
            && bytes.iter().all(|b| tail(*b)))
        {
            return Err(RegistryError::Name { name });
        }
        if self.number(&name).is_some() {
            return Err(RegistryError::Twice { name });
        }
        if self.entries.len() == limits::ENGINES {
            return Err(RegistryError::TooMany { count: limits::ENGINES + 1 });
        }
        let methods = &schema.methods;
        let unique = methods.iter().enumerate().all(|(at, one)| {
            (one.op as usize) < limits::METHODS_PER_ENGINE
                && methods[..at].iter().all(|other| other.op != one.op && other.name != one.name)
        });
        if unique { Ok(()) } else { Err(RegistryError::Methods { name }) }
    }

    /// The number of the engine of this name.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u16> {
        self.entries.iter().position(|entry| entry.schema.name == name).map(|at| at as u16)
    }

    /// The schemas, in order of the engines' numbers.
    pub fn schemas(&self) -> impl Iterator<Item = &EngineSchema> {
        self.entries.iter().map(|entry| &entry.schema)
    }

    /// All methods in order of their dense index, each with its engine's number.
    pub fn methods(&self) -> impl Iterator<Item = (u16, &MethodSchema)> {
        self.entries.iter().enumerate().flat_map(|(number, entry)| {
            entry.schema.methods.iter().map(move |method| (number as u16, method))
        })
    }

    /// How many methods there are.
    #[must_use]
    pub fn method_count(&self) -> usize {
        self.methods
    }

    /// The method that `number` (`engine << 16 | op`) means, if there is one.
    #[inline]
    #[must_use]
    pub fn method(&self, number: u32) -> Option<Method<'_>> {
        let op = number as u16;
        let entry = self.entries.get((number >> 16) as usize)?;
        match entry.index.get(op as usize) {
            Some(&index) if index != u32::MAX => {
                Some(Method { engine: &*entry.engine, op, index: index as usize })
            }
            _ => None,
        }
    }

    /// Tells all engines which engines there are, here and in other registries of this process.
    pub fn assembled(&self, engines: &[EngineSchema]) {
        for entry in &self.entries {
            entry.engine.assembled(engines);
        }
    }

    /// Tells all engines that a session is over. One that panics is passed over.
    pub fn session_ended(&self, session: u64) {
        for entry in &self.entries {
            // As in `Method::call`. What it panicked with went to the panic hook.
            let _ = catch_unwind(AssertUnwindSafe(|| entry.engine.session_ended(session)));
        }
    }

    /// The error of a number that [`method`](Self::method) does not find.
    #[must_use]
    #[cold]
    pub fn unknown(&self, number: u32) -> Error {
        let (engine, op) = (number >> 16, number & 0xffff);
        let text = match self.entries.get(engine as usize) {
            None => format!("no engine has number {engine}: is it in `[engines] enable`?"),
            Some(entry) => format!("engine `{}` has no method number {op}", entry.schema.name),
        };
        Error::new(ErrorCode::UnknownMethod, text)
    }
}

impl Method<'_> {
    /// What this request will take. A panic in the estimate counts as heavy: it will panic again
    /// where it is caught and reported.
    #[inline]
    #[must_use]
    pub fn cost(&self, request: &[u8]) -> Cost {
        catch_unwind(AssertUnwindSafe(|| self.engine.cost(self.op, request)))
            .unwrap_or(Cost::micros(u32::MAX))
    }

    /// Runs the method. A panic becomes [`ErrorCode::EnginePanicked`]; nobody else notices.
    ///
    /// # Errors
    /// The method's own. Boxed, so that what passes through `catch_unwind` is one word: an `Error` would
    /// be read back wider than the `Ok` in it was written, and wait for that.
    #[inline]
    pub fn call(&self, call: &mut Call<'_>) -> Result<(), Box<Error>> {
        // AssertUnwindSafe holds: engines guard their state with locks that do not poison, and their
        // contract is to stay usable after a panic; the reply is discarded.
        if !is_armed("engine.panic") {
            return self.engine.call(self.op, call).map_err(Box::new);
        }
        catch_unwind(AssertUnwindSafe(|| self.engine.call(self.op, call).map_err(Box::new)))
            .unwrap_or_else(|payload| Err(Box::new(panicked(&*payload))))
    }
}

#[cold]
fn panicked(payload: &(dyn std::any::Any + Send)) -> Error {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)");
    Error::new(
        ErrorCode::EnginePanicked,
        format!(
            "the engine panicked: {text}. The daemon and all other calls go on; please report it to the engine's author"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Unbounded;
    use ringfence_protocol::api::system::Nothing;

    struct Fragile(&'static str);
    impl Engine for Fragile {
        fn schema(&self) -> EngineSchema {
            EngineSchema::new(
                self.0,
                "",
                vec![MethodSchema::new::<Nothing, Nothing>(3, "fall", "")],
            )
        }
        fn cost(&self, _: u16, _: &[u8]) -> Cost {
            panic!("cannot tell")
        }
        fn call(&self, _: u16, _: &mut Call<'_>) -> Result<(), Error> {
            panic!("fell {}", 3)
        }
    }

    #[test]
    fn a_panic_becomes_an_error_with_its_text() {
        let mut registry = Registry::new();
        registry.add(Box::new(Fragile("fragile"))).unwrap();
        let method = registry.method(3).unwrap();
        assert_eq!(method.cost(&[]), Cost::micros(u32::MAX));
        let mut reply = Vec::new();
        let error = method.call(&mut Call::new(&[], &mut reply, &Unbounded)).unwrap_err();
        assert_eq!(error.code, ErrorCode::EnginePanicked);
        assert!(error.message.contains("fell 3"));
    }

    #[test]
    fn numbers_that_mean_nothing_are_refused_with_a_hint() {
        let mut registry = Registry::new();
        registry.add(Box::new(Fragile("fragile"))).unwrap();
        assert!(registry.method(0).is_none() && registry.method(4).is_none());
        assert!(registry.method(1 << 16).is_none());
        assert!(registry.unknown(1 << 16).message.contains("[engines] enable"));
        assert!(registry.unknown(4).message.contains("fragile"));
    }

    #[test]
    fn engines_are_told_apart_by_name() {
        let mut registry = Registry::new();
        registry.add(Box::new(Fragile("one"))).unwrap();
        assert_eq!(
            registry.add(Box::new(Fragile("one"))),
            Err(RegistryError::Twice { name: "one".into() })
        );
        assert_eq!(
            registry.add(Box::new(Fragile("One"))),
            Err(RegistryError::Name { name: "One".into() })
        );
        registry.add(Box::new(Fragile("two"))).unwrap();
        assert_eq!(registry.number("two"), Some(1));
        assert_eq!(registry.method(1 << 16 | 3).unwrap().index, 1);
    }
}
