//! The fuzz target `config`: a configuration file.

use std::path::{Path, PathBuf};

use super::load::SOCKET_PATH_MAX;
use super::settings::{SETTINGS, Setting};
use super::*;
use crate::fuzzing::chance::Chance;
use crate::fuzzing::{allocation, fuzz, said};

/// Where a word may stand, of any length.
const PLACES: [&str; 5] =
    ["'@'", "'/@'", "['@']", "[{ names = '@' }]", "[{ names = '@', uids = [1] }]"];

/// A value as a file could have it, for some setting or for none.
const VALUES: [&str; 30] = [
    "0",
    "1",
    "-1",
    "8",
    "16",
    "4096",
    "8192",
    "65536",
    "1048576",
    "9223372036854775807",
    "1.5",
    "true",
    "false",
    "'always'",
    "'text'",
    "'0660'",
    "'127.0.0.1:9464'",
    "'/a/b'",
    "\"/\\u001b[31m\"",
    "\"\"\"/\na\"\"\"",
    "\"\\u0085\"",
    "[]",
    "[0, 1]",
    "['system', 'bus']",
    "['system', \"\\u001b\"]",
    "[{ names = 'a.*', uids = [1000] }]",
    "[{ names = \"\\u001b\", uids = [1] }]",
    "[{ names = 'a', uids = ['\u{9b}'] }]",
    "1979-05-27",
    "{ a = 1 }",
];

fn word(chance: &mut Chance) -> String {
    let most = chance.pick(&[8, 128, 4096]);
    "a".repeat(chance.below(most) as usize)
}

/// A line that is nearly right: a setting with a value, at its place or elsewhere.
fn line(chance: &mut Chance) -> String {
    let places: Vec<&Setting> = SETTINGS.iter().collect();
    let setting = chance.pick(&places);
    let (section, key) = (setting.section(), setting.key());
    // One wrong line hides all others.
    let value = match chance.below(10) {
        0 => chance.pick(&VALUES).to_owned(),
        1 => chance.pick(&PLACES).replace('@', &word(chance)),
        _ => default_of(setting).unwrap_or_else(|| chance.pick(&VALUES).to_owned()),
    };
    match chance.below(64) {
        0 => format!("[{section}]\n"),
        1 => format!("{key}x = {value}\n"),
        2 => format!("x{} = {value}\n", word(chance)),
        3 => format!("\"\\u001b{key}\" = {value}\n"),
        4 => format!("{key} {value}\u{1b}{}\n", word(chance)),
        _ if section.is_empty() => format!("{key} = {value}\n"),
        _ => format!("{section}.{key} = {value}\n"),
    }
}

fn default_of(setting: &Setting) -> Option<String> {
    value_of(&toml::Table::try_from(nobodys()).ok()?, setting).map(ToString::to_string)
}

fn value_of<'t>(table: &'t toml::Table, setting: &Setting) -> Option<&'t toml::Value> {
    match setting.section() {
        "" => table.get(setting.key()),
        section => table.get(section)?.get(setting.key()),
    }
}

/// What a file says: the bytes where they are text, else lines.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let mut chance = Chance::of(bytes);
            (0..chance.below(12)).map(|_| line(&mut chance)).collect()
        }
    }
}

fn sources() -> Sources {
    let etc = PathBuf::from("/nonexistent");
    Sources {
        host: Host { uid: 4242, cores: 4, xdg_runtime_dir: None, state_home: None, etc },
        file: Some(PathBuf::from("/f.toml")),
        env: Vec::new(),
        flags: Vec::new(),
        extra_engines: Vec::new(),
    }
}

fn nobodys() -> Config {
    Config::for_host(&sources().host)
}

fn load(text: &str) -> Result<Config, ConfigError> {
    Config::load_by(&sources(), |_: &Path| Ok(text.to_owned()))
}

/// Any text as a file: an error that is fit to print, or a configuration in which every value is within its bounds,
/// and which is the same again where it is printed and read. Both in memory that the text explains.
fn config(bytes: &[u8]) {
    let text = text(bytes);
    let (loaded, peak) = allocation::peak(|| load(&text));
    assert!(peak < (64 << 10) + 50 * text.len(), "{peak} bytes for a text of {}", text.len());
    let config = match loaded {
        Ok(config) => config,
        Err(error) => return said::is_fit_to_print(&error.to_string()),
    };
    assert!(config.socket_path().as_os_str().len() <= SOCKET_PATH_MAX);
    config.warnings().iter().for_each(|warning| said::is_fit_to_print(warning));
    let table = toml::Table::try_from(&config).expect("a table");
    for setting in SETTINGS {
        let checked = value_of(&table, setting).map_or(Ok(()), |value| setting.check(value));
        assert_eq!(checked, Ok(()), "{}", setting.path);
    }
    let printed = config.to_toml();
    let again = load(&printed).expect(&printed);
    let bare = |config: Config| Config { origins: BTreeMap::new(), ..config };
    assert_eq!(bare(again), bare(config));
}

#[test]
fn whatever_a_file_says_it_is_a_configuration_or_an_error_that_prints() {
    fuzz("config", config, 8_000);
}
