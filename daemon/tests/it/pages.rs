//! The manual page and the completions of `ringfenced`, read by the programs that they are for.

use std::process::{Command, Output};

use crate::skip::skip;

/// A program's answer, if it is installed.
fn tool(command: &mut Command) -> Option<Output> {
    match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skip(&format!("{} is not installed", command.get_program().display()));
            None
        }
        other => Some(other.unwrap()),
    }
}

/// A directory that is gone when the test is.
struct Dir(std::path::PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn shells_and_man_read_what_packages_install() {
    let test = std::env::current_exe().unwrap();
    let example = test.parent().unwrap().parent().unwrap().join("examples/pages");
    assert!(example.exists(), "run `cargo build --examples -p ringfenced`");
    let dir = Dir(std::env::temp_dir().join(format!("ringfenced-pages-{}", std::process::id())));
    let listed = Command::new(example).arg(&dir.0).output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let files: Vec<&str> = listed.lines().collect();
    assert_eq!(files.len(), 4, "{listed}");

    for (file, shell, check) in
        [(files[1], "bash", "-n"), (files[2], "zsh", "-n"), (files[3], "fish", "--no-execute")]
    {
        let script = std::fs::read_to_string(file).unwrap();
        assert!(script.contains("check-config") && script.contains("adaptive"), "{script}");
        if let Some(read) = tool(Command::new(shell).args([check, file])) {
            assert!(read.status.success() && read.stderr.is_empty(), "{shell}: {read:?}");
        }
    }
    let page = std::fs::read_to_string(files[0]).unwrap();
    for part in [".SH NAME", ".SH SYNOPSIS", ".SH OPTIONS", ".SH CONFIGURATION", "Exit codes:"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let Some(shown) = tool(Command::new("man").args(["--warnings", "-l", files[0]])) else {
        return;
    };
    let text = String::from_utf8_lossy(&shown.stdout);
    // Some containers have a `man` that only says that pages were left out.
    if !shown.status.success() || !text.contains("SYNOPSIS") {
        skip("`man` here renders no pages: install man-db, or run unminimize");
        return;
    }
    assert!(text.contains("RINGFENCE_SPIN_US"), "{text}");
}
