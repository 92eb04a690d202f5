//! What a configuration is made of: the host, files, the environment, flags.
//!
//! All that [`Config::load`](super::Config::load) knows of the machine comes in through
//! [`Sources`], so a test can be any host. It decides which files are read; it does not look
//! into them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::ConfigError;

/// A configuration of a few hundred lines has a few KiB; more is a mistake or an attack.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What defaults depend on.
#[derive(Debug, Clone)]
pub struct Host {
    /// The daemon's user.
    pub uid: u32,
    /// CPUs that it may use.
    pub cores: u32,
    /// `XDG_RUNTIME_DIR`, if it is set and absolute.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// `XDG_STATE_HOME`, or `.local/state` in `HOME`, if that is set and absolute.
    pub state_home: Option<PathBuf>,
    /// Directory of `ringfence.toml` and `conf.d/`: `/etc/ringfence`.
    pub etc: PathBuf,
}

impl Host {
    /// This process on this machine, but without directories, which are environment.
    pub fn current() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        Self {
            uid: nix::unistd::geteuid().as_raw(),
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
            xdg_runtime_dir: None,
            state_home: None,
            etc: PathBuf::from("/etc/ringfence"),
        }
    }

    /// Root, system users (below 1000) and those that systemd makes up for `DynamicUser=`
    /// (61184 to 65519, systemd's UIDS-GIDS document): they run the machine's daemon.
    pub fn is_system(&self) -> bool {
        self.uid < 1000 || (61_184..=65_519).contains(&self.uid)
    }

    /// Where engines save unless somebody says otherwise. Nowhere for the machine's daemon: what
    /// it may fill is for its administrator to say.
    pub fn state_dir(&self) -> Option<PathBuf> {
        self.state_home.as_ref().filter(|_| !self.is_system()).map(|dir| dir.join("ringfence"))
    }

    /// Where sockets go unless somebody says otherwise.
    pub fn runtime_dir(&self) -> PathBuf {
        match &self.xdg_runtime_dir {
            _ if self.is_system() => PathBuf::from("/run/ringfence"),
            Some(dir) => dir.join("ringfence"),
            None => PathBuf::from(format!("/tmp/ringfence-{}", self.uid)),
        }
    }
}

/// One setting given by a flag.
#[derive(Debug, Clone)]
pub struct FlagValue {
    /// The flag with its dashes, for messages.
    pub flag: &'static str,
    /// `section.key`.
    pub path: &'static str,
    /// The value as typed.
    pub text: String,
}

/// All that a configuration is made of.
#[derive(Debug, Clone)]
pub struct Sources {
    /// What defaults depend on.
    pub host: Host,
    /// `--config` or `RINGFENCE_CONFIG`: read this file and no other.
    pub file: Option<PathBuf>,
    /// `RINGFENCE_*` with their values; others are ignored. An empty value counts as unset.
    pub env: Vec<(String, String)>,
    /// Flags that were given.
    pub flags: Vec<FlagValue>,
    /// Engines to turn on besides those that the layers name (`--enable-engine`).
    pub extra_engines: Vec<String>,
}

impl Sources {
    /// The files to read, in order.
    ///
    /// A file that was named is the only one. Otherwise the machine's daemon reads
    /// `ringfence.toml` and then `conf.d/*.toml` by name; a private daemon reads none, because
    /// those files describe another one.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>, ConfigError> {
        if let Some(file) = &self.file {
            return Ok(vec![file.clone()]);
        }
        if !self.host.is_system() {
            return Ok(Vec::new());
        }
        let main = self.host.etc.join("ringfence.toml");
        let exists = main.try_exists();
        let exists = exists.map_err(|source| ConfigError::Read { path: main.clone(), source })?;
        let mut files: Vec<_> = exists.then_some(main).into_iter().collect();
        let dir = self.host.etc.join("conf.d");
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
            Err(source) => return Err(ConfigError::Read { path: dir, source }),
        };
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        let paths: io::Result<Vec<_>> = paths.collect();
        let mut paths = paths.map_err(|source| ConfigError::Read { path: dir, source })?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        paths.sort();
        files.append(&mut paths);
        Ok(files)
    }
}

/// Reads a whole file, if it is no larger than a configuration can be.
pub(super) fn read_capped(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    let bytes = text.len() as u64;
    if bytes > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned(), bytes, max: FILE_BYTES_MAX });
    }
    Ok(text)
}
