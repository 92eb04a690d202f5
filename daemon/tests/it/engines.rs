//! `[engines] enable`: what is off is not there, what does not exist is said before anything starts.

use std::process::{Command, Output};

fn ringfenced(flags: &[&str]) -> Output {
    let instance = format!("engines-{}", std::process::id());
    Command::new(env!("CARGO_BIN_EXE_ringfenced"))
        .args(["--instance", &instance, "--log-format", "text"])
        .args(flags)
        .output()
        .unwrap()
}

#[test]
fn an_unknown_engine_is_an_error_with_a_suggestion_also_when_only_checking() {
    for mode in [&["--check-config"][..], &[]] {
        let flags = [&["--engines", "system,vektors"], mode].concat();
        let output = ringfenced(&flags);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        for words in ["`vektors`", "system, vectors, bus, serving", "did you mean `vectors`?"] {
            assert!(said.contains(words), "{words:?} is not in {said:?}");
        }
    }
    let output = ringfenced(&["--engines", "vectors", "--check-config"]);
    assert_eq!(output.status.code(), Some(78), "without `system`");
}

#[test]
fn all_that_is_built_in_is_on_unless_somebody_says_otherwise() {
    let shown = String::from_utf8(ringfenced(&["--check-config"]).stdout).unwrap();
    assert!(shown.contains("enable = [\"system\", \"vectors\", \"bus\", \"serving\"]"), "{shown}");
}
