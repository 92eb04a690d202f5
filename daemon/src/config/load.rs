//! From files, environment and flags to one [`Config`], and back to text.
//!
//! Invariant: a value enters [`Layers`] only after [`Setting::check`], with its origin beside it.
//! It looks up no users, groups or engines and creates nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::error::shown;
use super::settings::{FOREIGN_ENV, SETTINGS, Setting, nearest};
use super::sources::{Host, Sources, read_capped};
use super::{Config, ConfigError, Origin};

/// `sun_path` of a socket address without its final zero: unix(7).
pub(super) const SOCKET_PATH_MAX: usize = 107;
/// Bytes of a slot (SPEC): what a lane costs is checked against the quota of a user.
const SLOT_BYTES: u64 = 256;

impl Config {
    /// Merges all layers and checks the result.
    ///
    /// # Errors
    /// The first thing that is wrong, in the order files, environment, flags, combinations.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        Self::load_by(sources, read_capped)
    }

    /// As [`load`](Self::load), with what reads a file.
    pub(super) fn load_by(
        sources: &Sources,
        read: impl Fn(&Path) -> Result<String, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        for path in sources.files()? {
            layers.file(&path, &read(&path)?)?;
        }
        for (name, text) in &sources.env {
            layers.env(name, text)?;
        }
        for flag in &sources.flags {
            layers.flag(flag.flag, flag.path, &flag.text)?;
        }
        let mut config = layers.finish(&sources.host)?;
        config.add_engines(&sources.extra_engines)?;
        config.check_together(sources.host.uid)?;
        Ok(config)
    }

    /// The effective configuration as a file that would produce it; values that somebody set
    /// say who.
    pub fn to_toml(&self) -> String {
        let table = Table::try_from(self).unwrap_or_default();
        let mut text = String::new();
        let mut section = "";
        for setting in SETTINGS {
            if setting.section() != section {
                section = setting.section();
                text.push_str(&format!("\n[{section}]\n"));
            }
            let place = match section {
                "" => Some(&table),
                name => table.get(name).and_then(Value::as_table),
            };
            let key = setting.key();
            match (place.and_then(|place| place.get(key)), self.origin(setting.path)) {
                (None, _) => text.push_str(&format!("# {key} is not set\n")),
                (Some(value), Origin::Default) => text.push_str(&format!("{key} = {value}\n")),
                (Some(value), origin) => {
                    text.push_str(&format!("{key} = {value}  # {origin}\n"));
                }
            }
        }
        text
    }

    fn add_engines(&mut self, names: &[String]) -> Result<(), ConfigError> {
        const PATH: &str = "engines.enable";
        for name in names {
            if !self.engines.enable.contains(name) {
                self.engines.enable.push(name.clone());
                self.origins.insert(PATH, Origin::Flag("--enable-engine"));
            }
        }
        let value = Value::from(self.engines.enable.clone());
        check(Setting::find(PATH), PATH, &value, self.origin(PATH))?;
        if self.engines.enable.iter().any(|name| name == "system") {
            return Ok(());
        }
        let reason = "`system` answers hello and ping and cannot be off: add it".to_owned();
        Err(self.conflict(PATH, value, reason))
    }

    /// Bounds that involve more than one setting.
    fn check_together(&mut self, own_uid: u32) -> Result<(), ConfigError> {
        let socket = self.socket_path();
        let length = socket.as_os_str().len();
        if length > SOCKET_PATH_MAX {
            let reason = format!(
                "the socket {} would have {length} bytes, an address holds {SOCKET_PATH_MAX}: \
                 choose a shorter directory or instance",
                shown(&socket.to_string_lossy())
            );
            return Err(self.conflict("runtime_dir", self.runtime_dir.display(), reason));
        }
        let lane_bytes = 2 * (u64::from(self.lanes.slots) * SLOT_BYTES + self.lanes.arena_bytes);
        let quota = self.sessions.bytes_per_uid;
        if lane_bytes > quota {
            let reason = format!(
                "one lane needs {lane_bytes} bytes ([lanes] slots and arena_bytes), so no \
                 session could open: allow more or make lanes smaller"
            );
            return Err(self.conflict("sessions.bytes_per_uid", quota, reason));
        }
        let (pollers, cpus) = (self.polling.pollers as usize, self.polling.cpus.as_ref());
        if let Some(cpus) = cpus.filter(|cpus| cpus.len() < pollers) {
            let reason = format!(
                "{} CPUs for [polling] pollers = {pollers}: list one for each, or leave cpus out",
                cpus.len()
            );
            return Err(self.conflict("polling.cpus", format!("{cpus:?}"), reason));
        }
        let other = |uid: &u32| *uid != 0 && *uid != own_uid;
        let others = self.allow_any_uid || self.allowed_uids.iter().any(other);
        if others && self.socket_mode.bits() == 0o600 {
            let text = "other users are allowed, but socket_mode = \"0600\" keeps them out: \
                        set socket_mode to \"0660\" with socket_group, or to \"0666\" (a socket \
                        that systemd passes has its unit's mode)";
            self.warnings.push(text.to_owned());
        }
        Ok(())
    }

    fn conflict(
        &self,
        path: &'static str,
        value: impl std::fmt::Display,
        reason: String,
    ) -> ConfigError {
        let origin = self.origin(path).clone();
        ConfigError::Conflict { origin, path, value: shown(&value.to_string()), reason }
    }
}

/// Checked values of all layers so far; a later layer replaces an earlier one.
#[derive(Debug, Default)]
struct Layers {
    values: BTreeMap<&'static str, (Value, Origin)>,
    warnings: Vec<String>,
}

impl Layers {
    fn file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            message: error.to_string().lines().map(shown).collect::<Vec<_>>().join("\n"),
        })?;
        let origin = Origin::File(path.to_owned());
        let sections = Setting::sections();
        for (key, value) in table {
            match value {
                Value::Table(inner) if sections.contains(&key.as_str()) => {
                    for (name, value) in inner {
                        self.set(&key, &name, value, &origin)?;
                    }
                }
                value => self.set("", &key, value, &origin)?,
            }
        }
        Ok(())
    }

    fn set(
        &mut self,
        section: &str,
        key: &str,
        value: Value,
        origin: &Origin,
    ) -> Result<(), ConfigError> {
        let setting = SETTINGS.iter().find(|s| s.section() == section && s.key() == key);
        let setting = setting.ok_or_else(|| unknown_key(section, key, origin))?;
        check(Some(setting), setting.path, &value, origin)?;
        self.values.insert(setting.path, (value, origin.clone()));
        Ok(())
    }

    /// Unknown names of our prefix only warn: clients, engines and tests of users share the
    /// environment with an autostarted daemon.
    fn env(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        if !name.starts_with("RINGFENCE_") || text.is_empty() || FOREIGN_ENV.contains(&name) {
            return Ok(());
        }
        let Some(setting) = SETTINGS.iter().find(|setting| setting.env == name) else {
            let known =
                SETTINGS.iter().map(|setting| setting.env).chain(FOREIGN_ENV.iter().copied());
            let hint = nearest(name, known);
            let hint = hint.map_or(String::new(), |near| format!(": did you mean {near}?"));
            self.warnings.push(format!("environment {name} is not a setting{hint}"));
            return Ok(());
        };
        let origin = Origin::Env(name.to_owned());
        self.set(setting.section(), setting.key(), setting.parse(text), &origin)
    }

    fn flag(&mut self, flag: &'static str, path: &str, text: &str) -> Result<(), ConfigError> {
        let origin = Origin::Flag(flag);
        let Some(setting) = Setting::find(path) else {
            return Err(unknown_key("", path, &origin));
        };
        self.set(setting.section(), setting.key(), setting.parse(text), &origin)
    }

    fn finish(self, host: &Host) -> Result<Config, ConfigError> {
        let defaults = Config::for_host(host);
        let mut table = Table::try_from(&defaults).map_err(|error| internal(&error))?;
        let mut origins = BTreeMap::new();
        for (path, (value, origin)) in self.values {
            match path.split_once('.') {
                None => table.insert(path.to_owned(), value),
                Some((section, key)) => table
                    .get_mut(section)
                    .and_then(Value::as_table_mut)
                    .and_then(|inner| inner.insert(key.to_owned(), value)),
            };
            origins.insert(path, origin);
        }
        let mut config = Config::deserialize(table).map_err(|error| internal(&error))?;
        if !origins.contains_key("workers.running_per_session") {
            config.workers.running_per_session = config.workers.threads.div_ceil(2);
        }
        Ok(Config { origins, warnings: self.warnings, ..config })
    }
}

fn check(
    setting: Option<&Setting>,
    path: &str,
    value: &Value,
    origin: &Origin,
) -> Result<(), ConfigError> {
    setting.map_or(Ok(()), |setting| setting.check(value)).map_err(|rule| ConfigError::Invalid {
        origin: origin.clone(),
        path: path.to_owned(),
        value: shown(&value.to_string()),
        rule,
    })
}

/// The table of settings and the structs disagree: a defect of ours, shown rather than hidden.
fn internal(error: &impl std::fmt::Display) -> ConfigError {
    ConfigError::Syntax {
        path: PathBuf::from("the merged configuration"),
        message: format!("{error}; this is a defect of ringfenced, please report it"),
    }
}

fn unknown_key(section: &str, key: &str, origin: &Origin) -> ConfigError {
    let place =
        if section.is_empty() { "the top level".to_owned() } else { format!("[{section}]") };
    let sections = Setting::sections();
    let here = SETTINGS.iter().filter(|s| s.section() == section).map(Setting::key);
    let here: Vec<_> = match section {
        "" => here.chain(sections.iter().copied()).collect(),
        _ => here.collect(),
    };
    let elsewhere = SETTINGS.iter().find(|setting| setting.key() == key);
    let hint = match (elsewhere, nearest(key, here.iter().copied())) {
        (_, Some(near)) if near == key => format!("`{key}` is a section: write [{key}]"),
        (Some(other), _) => match other.section() {
            "" => format!("`{key}` belongs to the top level, before the first section"),
            section => format!("`{key}` belongs to [{section}]"),
        },
        (None, Some(near)) => format!("did you mean `{near}`?"),
        (None, None) => format!("known here: {}", here.join(", ")),
    };
    let key = shown(key);
    ConfigError::UnknownKey { origin: origin.clone(), key, place, hint }
}
