//! Topologies from files: `topology.toml` says which service lives on which node.
//!
//! What it may say and which way messages go is in [`ringfence_protocol::topology`]; this reads the
//! file and nothing else. It does *not* connect.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ringfence_protocol::limits::TOPOLOGY_BYTES;
pub use ringfence_protocol::topology::{
    Address, Endpoint, Node, Route, RouteError, Topology, TopologyError,
};

use crate::target::Surroundings;

/// Why a file gives no topology.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot read {}: {source}; check the path", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is none.
    #[error("{}: {source}", path.display())]
    Topology {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: TopologyError,
    },
}

/// The topology that a file describes. Sockets are in this user's runtime directory where it does
/// not say.
///
/// ```
/// use ringfence::topology::{self, Route};
///
/// # let dir = std::env::temp_dir().join(format!("ringfence-doc-{}", std::process::id()));
/// # std::fs::create_dir(&dir)?;
/// # let file = dir.join("topology.toml");
/// std::fs::write(&file, "[[nodes]]\nname = \"main\"\nservices = [\"strategy\", \"model\"]\n")?;
/// let topology = topology::load(&file)?;
/// # std::fs::remove_dir_all(&dir)?;
/// assert_eq!(topology.route("strategy", "model")?, Route::Local);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`LoadError`]: it cannot be read, or it is none, and in which line.
pub fn load(path: impl AsRef<Path>) -> Result<Topology, LoadError> {
    let path = path.as_ref();
    let text = read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let here = Surroundings::of_process().user_dir();
    let wrong = |source| LoadError::Topology { path: path.to_owned(), source };
    Topology::parse(&text, here.path()).map_err(wrong)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    // One byte more than there may be, by which the parser sees that it is too long.
    File::open(path)?.take(TOPOLOGY_BYTES as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}
