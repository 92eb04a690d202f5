//! `ringfence completions` and `ringfence man`: read by the programs that they are for.

use std::process::{Command, Output};

use serde_json::Value;

use crate::daemon::{Dir, Done, ringfence};
use crate::skip::skip;

const COMMANDS: [&str; 13] = [
    "status",
    "top",
    "ping",
    "call",
    "bench",
    "doctor",
    "schema",
    "stubs",
    "codegen",
    "topology",
    "torture",
    "completions",
    "man",
];

fn run(args: &[&str]) -> String {
    Done::of(ringfence(args).output().unwrap()).ok()
}

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

#[test]
fn each_shell_reads_its_completions() {
    let dir = Dir::new();
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = run(&["completions", shell]);
        for command in COMMANDS {
            assert!(script.contains(command), "{shell}: {command}");
        }
        let file = dir.0.join(shell);
        std::fs::write(&file, &script).unwrap();
        if let Some(read) = tool(Command::new(shell).arg(check).arg(&file)) {
            assert!(read.status.success() && read.stderr.is_empty(), "{shell}: {read:?}");
        }
        let json: Value = serde_json::from_str(&run(&["completions", shell, "--json"])).unwrap();
        assert_eq!((&json["shell"], &json["text"]), (&shell.into(), &script.into()));
    }
    Done::of(ringfence(&["completions", "cobol"]).output().unwrap()).failed(64);
}

#[test]
fn bash_completes_commands_and_flags() {
    let dir = Dir::new();
    let file = dir.0.join("ringfence.bash");
    std::fs::write(&file, run(&["completions", "bash"])).unwrap();
    // As bash calls it: the words, and which of them is being typed.
    let ask = |words: &str, at: usize| {
        let script = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={at}; \
             _ringfence ringfence \"${{COMP_WORDS[{at}]}}\" \"${{COMP_WORDS[{at}-1]}}\"; \
             echo ${{COMPREPLY[@]}}",
            file.display()
        );
        let done = tool(Command::new("bash").args(["--norc", "-c", &script]))?;
        assert!(done.status.success(), "{done:?}");
        Some(String::from_utf8(done.stdout).unwrap())
    };
    let Some(commands) = ask("ringfence st", 1) else { return };
    assert_eq!(commands.trim(), "status stubs");
    assert!(ask("ringfence doctor --f", 2).unwrap().contains("--fix"));
    assert!(ask("ringfence stubs --lang p", 3).unwrap().contains("python"));
}

#[test]
fn there_is_a_page_for_each_command_that_man_can_render() {
    let dir = Dir::new();
    let listed = run(&["man", dir.0.to_str().unwrap()]);
    assert_eq!(listed.lines().count(), COMMANDS.len() + 1);
    let files: Vec<&str> = listed.lines().collect();
    assert!(files[0].ends_with("/ringfence.1"), "{listed}");
    for (file, command) in files[1..].iter().zip(COMMANDS) {
        assert!(file.ends_with(&format!("/ringfence-{command}.1")), "{file}");
    }
    for file in files {
        let page = std::fs::read_to_string(file).unwrap();
        for section in [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH OPTIONS"] {
            assert!(page.contains(section), "{file}: {section}");
        }
        let mut man = Command::new("man");
        man.args(["--warnings", "-l", file]).env("MANWIDTH", "80").env("MAN_KEEP_FORMATTING", "");
        let Some(shown) = tool(&mut man) else { continue };
        // `man` that is only a note that there is none says so on standard output, too.
        let text = String::from_utf8_lossy(&shown.stdout);
        if !shown.status.success() || !text.contains("SYNOPSIS") {
            skip("`man` here renders no pages: install man-db, or run unminimize");
            continue;
        }
        assert_eq!(String::from_utf8_lossy(&shown.stderr), "", "{file}");
        assert!(file.contains("ringfence-") || text.contains("\n       69  no daemon"), "{text}");
    }
    let first = run(&["man"]);
    assert_eq!(first, std::fs::read_to_string(dir.0.join("ringfence.1")).unwrap());
    let json: Value = serde_json::from_str(&run(&["man", "--json"])).unwrap();
    assert_eq!(json[0]["text"], first);
    let text = Done::of(ringfence(&["man", "/proc/nowhere"]).output().unwrap()).failed(74);
    assert!(text.contains("/proc/nowhere"), "{text}");
}
