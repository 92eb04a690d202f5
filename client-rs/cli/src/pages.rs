//! Shell completions and manual pages, made of the same description as `--help`.
//!
//! It asks no daemon.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use serde::Serialize;

use crate::args::{Args, Completions, Global, Pages, Shell};
use crate::exit::{Exit, Failure};
use crate::output;

/// The shape of the JSON of completions.
#[derive(Serialize)]
struct Script<'a> {
    shell: &'static str,
    text: &'a str,
}

/// The shape of the JSON of manual pages: a file is where one was written.
#[derive(Serialize)]
struct Page {
    name: String,
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

pub(crate) fn completions(global: &Global, what: &Completions) -> Result<(), Failure> {
    let (shell, name) = match what.shell {
        Shell::Bash => (clap_complete::Shell::Bash, "bash"),
        Shell::Zsh => (clap_complete::Shell::Zsh, "zsh"),
        Shell::Fish => (clap_complete::Shell::Fish, "fish"),
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "ringfence", &mut script);
    if global.json {
        return output::json(&Script { shell: name, text: &String::from_utf8_lossy(&script) });
    }
    output::raw(&script)
}

pub(crate) fn man(global: &Global, what: &Pages) -> Result<(), Failure> {
    let mut command = Args::command().disable_help_subcommand(true);
    command.build();
    let Some(dir) = &what.dir else {
        let text = page(&command).map_err(cannot_write)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        if global.json {
            return output::json(&[Page {
                name: "ringfence".into(),
                file: None,
                text: Some(text),
            }]);
        }
        return output::raw(text.as_bytes());
    };
    let all = std::iter::once(&command).chain(command.get_subcommands());
    let pages: Vec<Page> = all.map(|one| write(one, dir)).collect::<Result<_, _>>()?;
    if global.json {
        return output::json(&pages);
    }
    let files = pages.iter().filter_map(|page| page.file.as_deref());
    output::text(&files.map(|file| format!("{}\n", file.display())).collect::<String>())
}

fn write(command: &Command, dir: &Path) -> Result<Page, Failure> {
    let name = name_of(command).to_owned();
    let file = dir.join(format!("{name}.1"));
    let text = page(command).map_err(cannot_write)?;
    std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&file, text)).map_err(|error| {
        Failure::new(Exit::Output, format!("cannot write {}: {error}", file.display()))
    })?;
    Ok(Page { name, file: Some(file), text: None })
}

/// The page of a command: what follows its options keeps its lines, which are tables.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let man = Man::new(command.clone())
        .manual("Ringfence")
        .source(format!("ringfence {}", env!("CARGO_PKG_VERSION")));
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut out)?;
    }
    let notes = command.get_after_long_help().or(command.get_after_help());
    if let Some(notes) = notes {
        let mut roff = Roff::new();
        roff.control("SH", ["NOTES"]).control("nf", []);
        for line in notes.to_string().lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []).to_writer(&mut out)?;
    }
    Ok(out)
}

/// `ringfence-status`, as git names its pages.
fn name_of(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn cannot_write(error: io::Error) -> Failure {
    Failure::new(Exit::Internal, format!("cannot make the page: {error}"))
}
