//! The cases that are timed in Python, by `python/bench.py`: one interpreter for all of them,
//! pinned to the client's core and told what to run line by line.
//!
//! Its samples are batches of calls, because reading a clock in Python costs as much as the calls:
//! p50 is comparable with the other cases, p99 is one of batches. It drives no daemon: it talks to
//! the target it is given.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::ringfence::{Daemon, Shared};
use crate::BenchError;
use crate::harness::{Case, Context, Runner, Slice};
use crate::peer::CLIENT_CORE;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/bench.py");
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const THROUGH_THE_DAEMON: [&str; 2] = ["python-echo", "python-echo-many"];
const BARE_ECHO: &str = "pyo3-bare-echo";
const BARE_ECHO_PACKAGE: &str = "ringfence-pyo3-echo";
const BARE_ECHO_LIBRARY: &str = "libpyo3_echo.so";
/// Enough of a broken answer to recognise it.
const QUOTED_CHARS: usize = 120;

/// The Python cases; they share one interpreter.
#[must_use]
pub fn all(daemon: &Shared) -> Vec<Box<dyn Case>> {
    let driver = Rc::new(RefCell::new(None));
    let case = |name, description| -> Box<dyn Case> {
        Box::new(Python { name, description, driver: Rc::clone(&driver), shared: daemon.clone() })
    };
    vec![
        case(BARE_ECHO, "Python calls a bare PyO3 function, 24 bytes, same process"),
        case("python-inproc-echo", "Python client.echo, 24 bytes, target inproc: (same process)"),
        case(THROUGH_THE_DAEMON[0], "Python client.echo, 24 bytes, through the daemon"),
        case(
            THROUGH_THE_DAEMON[1],
            "Python client.echo_many, 24 bytes, batches of 10 000; time of a batch over its calls",
        ),
        case("python-import", "import ringfence in a fresh interpreter"),
    ]
}

type SharedDriver = Rc<RefCell<Option<Driver>>>;

struct Python {
    name: &'static str,
    description: &'static str,
    driver: SharedDriver,
    shared: Shared,
}

impl Case for Python {
    fn name(&self) -> &'static str {
        self.name
    }

    fn description(&self) -> &'static str {
        self.description
    }

    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        let library = if self.name == BARE_ECHO { Some(build_bare_echo(context)?) } else { None };
        let daemon = match &context.target {
            None if THROUGH_THE_DAEMON.contains(&self.name) => Some(self.shared.get(context)?),
            _ => None,
        };
        let own = daemon.as_ref().map(|daemon| daemon.borrow().target());
        let mut shared = self.driver.borrow_mut();
        let driver = match shared.as_mut() {
            Some(driver) => driver,
            None => shared.insert(Driver::start(&context.python, Path::new(SCRIPT))?),
        };
        driver.setup(
            self.name,
            own.as_deref().or(context.target.as_deref()),
            library.as_deref(),
        )?;
        Ok(Box::new(Client { name: self.name, driver: Rc::clone(&self.driver), daemon }))
    }
}

struct Client {
    name: &'static str,
    driver: SharedDriver,
    daemon: Option<Rc<RefCell<Daemon>>>,
}

impl Runner for Client {
    /// The driver compared answers when it was set up, with the values it times.
    fn check(&mut self) -> Result<(), BenchError> {
        Ok(())
    }

    fn run(&mut self, samples: usize, slice: &mut Slice) -> Result<(), BenchError> {
        let mut shared = self.driver.borrow_mut();
        let Some(driver) = shared.as_mut() else { return Ok(()) };
        driver.run(self.name, samples, slice)
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.daemon.as_ref().map_or(Ok(()), |daemon| daemon.borrow_mut().resume())
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.daemon.as_ref().map_or(Ok(()), |daemon| daemon.borrow_mut().pause())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Request<'a> {
    Setup { case: &'a str, target: Option<&'a str>, library: Option<&'a Path> },
    Run { case: &'a str, samples: usize },
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    /// The case cannot run here.
    Skip(String),
    /// An exception.
    Error(String),
    /// Done; empty for a setup.
    Samples(Batches),
}

#[derive(Deserialize)]
struct Batches {
    /// Calls in each batch.
    calls: u64,
    /// Time of each batch.
    ns: Vec<u64>,
}

/// A running interpreter. It ends when its input does, that is with us.
#[derive(Debug)]
pub struct Driver {
    child: Child,
    // None only while dropping.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Driver {
    /// Starts a script that serves as `python/bench.py` does.
    pub fn start(python: &Path, script: &Path) -> Result<Self, BenchError> {
        let mut child = Command::new(python)
            .arg(script)
            .arg(CLIENT_CORE.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| {
                BenchError::Skipped(format!("{}: {error}; name a --python", python.display()))
            })?;
        let broken = || BenchError::Python(String::from("it has no pipes"));
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().ok_or_else(broken)?);
        Ok(Self { child, input, output })
    }

    /// Prepares a case and compares its answers.
    pub fn setup(
        &mut self,
        case: &str,
        target: Option<&str>,
        library: Option<&Path>,
    ) -> Result<(), BenchError> {
        self.ask(&Request::Setup { case, target, library }).map(drop)
    }

    /// Times that many batches; a sample is one's time over its calls.
    pub fn run(&mut self, case: &str, samples: usize, slice: &mut Slice) -> Result<(), BenchError> {
        let batches = self.ask(&Request::Run { case, samples })?;
        for batch_ns in batches.ns {
            slice.push_ps(batch_ns * 1_000 / batches.calls);
        }
        Ok(())
    }

    fn ask(&mut self, request: &Request<'_>) -> Result<Batches, BenchError> {
        let mut line = serde_json::to_string(request).map_err(|e| BenchError::Io(e.into()))?;
        line.push('\n');
        if let Some(input) = self.input.as_mut() {
            input.write_all(line.as_bytes())?;
        }
        line.clear();
        self.output.read_line(&mut line)?;
        let reply = serde_json::from_str(&line).map_err(|source| BenchError::Driver {
            line: line.trim_end().chars().take(QUOTED_CHARS).collect(),
            source,
        })?;
        match reply {
            Reply::Samples(batches) => Ok(batches),
            Reply::Skip(reason) => Err(BenchError::Skipped(reason)),
            Reply::Error(text) => Err(BenchError::Python(text)),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        drop(self.input.take());
        // It may have ended by itself; there is nobody left to tell.
        let _ = self.child.wait();
    }
}

/// Builds the extension for exactly the interpreter that will load it; a no-op when it is fresh.
/// Loaded by path: no installation, and it needs nothing but cargo.
fn build_bare_echo(context: &Context) -> Result<PathBuf, BenchError> {
    let cannot =
        |detail: String| BenchError::Skipped(format!("cannot build {BARE_ECHO_PACKAGE}: {detail}"));
    let profile_dir = context.exe.parent().and_then(Path::parent);
    let target_dir = profile_dir.ok_or_else(|| cannot(String::from("no target directory")))?;
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--package", BARE_ECHO_PACKAGE, "--target-dir"])
        .arg(target_dir)
        .current_dir(WORKSPACE)
        .env("PYO3_PYTHON", &context.python)
        // An extension must not link libpython: the interpreter is there already.
        .env("PYO3_BUILD_EXTENSION_MODULE", "1")
        .stdin(Stdio::null())
        .status()
        .map_err(|error| cannot(error.to_string()))?;
    if !built.success() {
        return Err(cannot(format!("cargo ended with {built}")));
    }
    Ok(target_dir.join("release").join(BARE_ECHO_LIBRARY))
}
