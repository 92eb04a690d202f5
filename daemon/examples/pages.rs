//! Writes what packages install beside `ringfenced`: its manual page, and completions for three shells.
//!
//! ```text
//! cargo run -p ringfenced --example pages -- target/pages
//! ```
//!
//! An example, so that the daemon itself carries none of this.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(std::env::args_os().nth(1).ok_or("which folder?")?);
    fs::create_dir_all(&dir)?;
    let file = dir.join("ringfenced.8");
    fs::write(&file, page(ringfenced::cli::command())?)?;
    println!("{}", file.display());
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut command = ringfenced::cli::command();
        let file = clap_complete::generate_to(shell, &mut command, "ringfenced", &dir)?;
        println!("{}", file.display());
    }
    Ok(())
}

/// The page; what follows the options keeps its lines, which are tables.
fn page(command: clap::Command) -> std::io::Result<Vec<u8>> {
    let notes = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let man = Man::new(command).section("8").manual("Ringfence");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    let mut roff = Roff::new();
    roff.control("SH", ["CONFIGURATION"]).control("nf", []);
    for line in notes.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []).to_writer(&mut out)?;
    Ok(out)
}
