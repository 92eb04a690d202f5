//! Rivals that are used from Python, by `rivals.py`: a far half on the server's core and a near half on the client's,
//! each an interpreter of its own for each rival, as ours has one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ringfence_benches::BenchError;
use ringfence_benches::cases::python::Driver;
use ringfence_benches::harness::{Case, Context, Runner, Slice};
use ringfence_benches::peer::{Peer, SERVER_CORE};
use ringfence_benches::place::Place;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rivals.py");
/// What `make bench-rivals` installs.
const PINS: &str = include_str!("../requirements.txt");

/// Python's half of the second promise.
pub(crate) const ICEORYX2: &str = "iceoryx2-python";

/// All of them.
pub(crate) fn all() -> Vec<Box<dyn Case>> {
    let iceoryx2 = Some(Package { name: "iceoryx2", module: "iceoryx2" });
    let pyzmq = Some(Package { name: "pyzmq", module: "zmq" });
    let grpcio = Some(Package { name: "grpcio", module: "grpc" });
    let case = |name, package: Option<Package>, how: &str| -> Box<dyn Case> {
        // One a case and process: it lives as long as the report that shows it.
        let description = match &package {
            Some(package) => {
                format!("{} {} for Python: {how}", package.name, package.pinned()).leak()
            }
            None => format!("multiprocessing: {how}").leak(),
        };
        Box::new(Rival { name, package, description })
    };
    vec![
        case(
            ICEORYX2,
            iceoryx2,
            "request and response, 24 bytes in a ctypes structure, both sides poll",
        ),
        case(
            "pipe-spin",
            None,
            "the Connection of a Pipe, 24 bytes, both sides poll(), each call timed",
        ),
        case(
            "pipe-block",
            None,
            "the Connection of a Pipe, 24 bytes, both sides block, each call timed",
        ),
        case(
            "pyzmq-ipc",
            pyzmq,
            "DEALER to DEALER, ipc, 24 bytes, both sides block, each call timed",
        ),
        case(
            "grpcio-unary",
            grpcio,
            "unary call, Unix socket, 24 bytes, no protobuf, each call timed",
        ),
        case(
            "grpcio-stream",
            grpcio,
            "an open stream, Unix socket, 24 bytes, no protobuf, each call timed",
        ),
    ]
}

/// What pip installs, and what Python imports.
#[derive(Clone, Copy)]
struct Package {
    name: &'static str,
    module: &'static str,
}

impl Package {
    /// The version that is to be measured.
    fn pinned(self) -> &'static str {
        let pin = |line: &'static str| line.strip_prefix(self.name)?.strip_prefix("==");
        PINS.lines().find_map(pin).unwrap_or("(not pinned)")
    }

    /// It is there, and the one that the description names.
    fn check(self, python: &Path) -> Result<(), BenchError> {
        let Self { name, module } = self;
        let program =
            format!("import {module}, importlib.metadata as m; print(m.version('{name}'))");
        let asked = Command::new(python).args(["-c", &program]).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&asked.stdout);
        match said.trim() {
            found if found == self.pinned() => Ok(()),
            "" => Err(self.skipped("it cannot be imported")),
            found => Err(self.skipped(&format!("{found} is installed"))),
        }
    }

    fn skipped(self, why: &str) -> BenchError {
        let Self { name, .. } = self;
        BenchError::Skipped(format!(
            "{name} {}: {why}; make bench-rivals installs it",
            self.pinned()
        ))
    }
}

struct Rival {
    name: &'static str,
    /// None of what comes with Python.
    package: Option<Package>,
    description: &'static str,
}

impl Case for Rival {
    fn name(&self) -> &'static str {
        self.name
    }

    fn description(&self) -> &'static str {
        self.description
    }

    fn setup(&self, context: &Context) -> Result<Box<dyn Runner>, BenchError> {
        self.package.map_or(Ok(()), |package| package.check(&context.python))?;
        let place = Place::new("rivals")?;
        let mut far = Command::new(&context.python);
        far.arg(SCRIPT).arg(SERVER_CORE.to_string()).arg(self.name).arg(place.dir());
        far.stdin(Stdio::null());
        let peer = Peer::start(String::from(self.name), far)?;
        let driver = Driver::start(&context.python, &PathBuf::from(SCRIPT))?;
        Ok(Box::new(Near { name: self.name, driver, peer, place }))
    }
}

/// Dropped from the top: nobody is left to write when the place is swept.
struct Near {
    name: &'static str,
    driver: Driver,
    peer: Peer,
    place: Place,
}

impl Runner for Near {
    fn check(&mut self) -> Result<(), BenchError> {
        self.driver.setup(self.name, Some(&self.place.dir().to_string_lossy()), None)
    }

    fn run(&mut self, samples: usize, slice: &mut Slice) -> Result<(), BenchError> {
        self.driver.run(self.name, samples, slice)
    }

    fn resume(&mut self) -> Result<(), BenchError> {
        self.peer.resume()
    }

    fn pause(&mut self) -> Result<(), BenchError> {
        self.peer.pause()
    }
}
