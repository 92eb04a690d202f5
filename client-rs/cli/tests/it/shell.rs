//! What a shell expects of a command: help, codes, pipes, colours.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

use crate::daemon::{Daemon, Done, ringfence};

#[test]
fn help_says_what_the_codes_mean() {
    let help = Done::of(ringfence(&["--help"]).output().unwrap()).ok();
    for part in ["status", "ping", "call", "--json", "--target", "Exit codes:", "69 ", "75 ", "77 "]
    {
        assert!(help.contains(part), "{part}: {help}");
    }
    for command in [
        "status",
        "top",
        "ping",
        "call",
        "bench",
        "doctor",
        "schema",
        "stubs",
        "completions",
        "man",
    ] {
        let help = Done::of(ringfence(&[command, "--help"]).output().unwrap()).ok();
        assert!(help.contains("--timeout"), "{help}");
    }
    let version = Done::of(ringfence(&["--version"]).output().unwrap()).ok();
    assert_eq!(version, format!("ringfence {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_readme_names_every_command() {
    let readme = include_str!("../../../../README.md");
    let help = Done::of(ringfence(&["--help"]).output().unwrap()).ok();
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands = listed.lines().filter_map(|line| line.split_whitespace().next());
    let mut count = 0;
    for command in commands.filter(|command| *command != "help") {
        assert!(readme.contains(&format!("\nringfence {command} ")), "{command}");
        count += 1;
    }
    assert_eq!(count, readme.lines().filter(|line| line.starts_with("ringfence ")).count());
}

#[test]
fn a_wrong_command_line_is_64() {
    for (arguments, say) in [
        (&["pnig"][..], "ping"),
        (&["ping", "--count", "0"], "--count"),
        (&["ping", "--timeout", "-1"], "timeout"),
        (&["status", "--jsno"], "--json"),
        (&[], "Usage"),
        (&["call"], "ENGINE.METHOD"),
    ] {
        let text = Done::of(ringfence(arguments).output().unwrap()).failed(64);
        assert!(text.contains(say), "{arguments:?}: {text}");
    }
}

/// Runs it with a standard output whose reader has left.
fn into_broken_pipe(mut command: Command) -> Done {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    Done::of(child.wait_with_output().unwrap())
}

#[test]
fn a_reader_that_left_is_no_failure() {
    let daemon = Daemon::start();
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["top", "--interval", "0.1"],
        &["top", "--once", "--json", "--interval", "0.1"],
        &["schema"],
        &["stubs", "trial"],
        &["doctor"],
        &["completions", "bash"],
        &["man"],
        &["ping", "--count", "3"],
        &["call", "trial.fill", "value=300000", "--raw", "data"],
        &["call", "trial.fill", "value=300000", "--json"],
        &["--help"],
    ] {
        into_broken_pipe(daemon.command(arguments)).ok();
    }
    let failed = into_broken_pipe(daemon.command(&["call", "trial.fail", "value=1001"]));
    assert_eq!(failed.code, Some(1), "{}", failed.err);
}

#[test]
fn output_that_cannot_be_written_is_74() {
    let daemon = Daemon::start();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = daemon.command(&["ping"]);
    let child = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let text = Done::of(child.wait_with_output().unwrap()).failed(74);
    assert!(text.contains("standard output"), "{text}");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let daemon = Daemon::start();
    let shown = |settings: &[&str]| {
        let mut command = daemon.command(&["status"]);
        for name in settings {
            command.env(name, "1");
        }
        Done::of(command.output().unwrap()).ok().contains('\x1b')
    };
    assert!(!shown(&[]), "a pipe is no terminal");
    assert!(shown(&["CLICOLOR_FORCE"]));
    assert!(!shown(&["CLICOLOR_FORCE", "NO_COLOR"]));
}
