//! Builds the woven tree once, and runs each mutant's test in it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::mutant::{Test, Verdict};
use crate::root;
use crate::table::{LITMUS, TABLE, UNMODELLED};
use crate::weave::{self, LIVE};

/// Names the files of which mutants are run, by a part of their path; all without it.
const ONLY: &str = "MUTANTS";

/// A test that runs for longer hangs, which is a way to turn red.
const AT_MOST: Duration = Duration::from_secs(120);

/// What became of a test.
enum Outcome {
    Passed,
    Failed(String),
    Hung,
}

/// Runs all mutants, prints a line for each, and returns those that survived.
pub(crate) fn all() -> Vec<String> {
    let folder = root().join("target/mutants");
    fs::create_dir_all(&folder).unwrap();
    // Also where cargo has another opinion of where `target` is.
    let folder = folder.canonicalize().unwrap();
    let tree = folder.join("tree");
    weave::tree(&tree);
    let mut programs = HashMap::new();
    let only = std::env::var(ONLY).unwrap_or_default();
    let chosen: Vec<_> =
        TABLE.iter().enumerate().filter(|(_, mutant)| mutant.file.contains(&only)).collect();
    assert!(!chosen.is_empty(), "no mutant is in a file like {only}");
    let tests = || chosen.iter().filter_map(|(_, mutant)| mutant.test());
    for test in tests() {
        let program = (test.package, test.target);
        programs.entry(program).or_insert_with(|| build(&tree, &folder, test));
    }
    let program = |test: Test| &programs[&(test.package, test.target)];
    healthy(&folder, program, tests());
    let mut survivors = Vec::new();
    for &(number, mutant) in &chosen {
        let site = mutant.describe();
        match mutant.verdict {
            Verdict::Equivalent(reason) => println!("{site}: equivalent ({reason})"),
            Verdict::Killed(test) => match attempt(&folder, program(test), test, number) {
                Outcome::Failed(name) => println!("{site}: killed by {name}"),
                Outcome::Hung => println!("{site}: killed by {} (it hung)", test.name),
                Outcome::Passed => {
                    println!("{site}: SURVIVED {}", test.name);
                    survivors.push(site);
                }
            },
        }
    }
    for (file, reason) in UNMODELLED {
        println!("{file}: not mutated ({reason})");
    }
    survivors
}

/// Without a mutant every test passes: else it would kill anything.
fn healthy<'p>(
    folder: &Path,
    program: impl Fn(Test) -> &'p PathBuf,
    tests: impl Iterator<Item = Test>,
) {
    let mut seen = Vec::new();
    for test in tests {
        if seen.contains(&test) {
            continue;
        }
        seen.push(test);
        let outcome = run(folder, program(test), test, None);
        assert!(matches!(outcome, Outcome::Passed), "{} fails without a mutant", test.name);
    }
}

/// The test program of a target of a package.
fn build(tree: &Path, folder: &Path, test: Test) -> PathBuf {
    let target = match test.target {
        "lib" => vec!["--lib"],
        name => vec!["--test", name],
    };
    println!("building {} {}", test.package, target.join(" "));
    let built = Command::new(env!("CARGO"))
        .args([
            "test",
            "--no-run",
            "--locked",
            // The core's engines are nothing to it, and long to compile.
            "--no-default-features",
            "--message-format=json-render-diagnostics",
            "-p",
            test.package,
        ])
        .args(target)
        .arg("--target-dir")
        .arg(folder.join("built"))
        .current_dir(tree)
        // Without it the question whether a mutant lives takes longer than the stores wait that the litmus test is
        // about (between far cores: blind in none of four million rounds, and in 33 to 92 301 of 200 000 with it).
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success(), "the woven tree does not compile");
    let text = String::from_utf8(built.stdout).unwrap();
    let mut programs = text.lines().filter_map(|line| {
        let (_, path) = line.split_once("\"executable\":\"")?;
        Some(PathBuf::from(path.split('"').next()?))
    });
    programs.next_back().expect("cargo names the program")
}

/// Runs a mutant's test, where it needs luck more than once.
fn attempt(folder: &Path, program: &Path, test: Test, number: usize) -> Outcome {
    let tries = if test == LITMUS { 10 } else { 1 };
    let outcomes = (0..tries).map(|_| run(folder, program, test, Some(number)));
    let mut outcomes = outcomes.skip_while(|outcome| matches!(outcome, Outcome::Passed));
    outcomes.next().unwrap_or(Outcome::Passed)
}

fn run(folder: &Path, program: &Path, test: Test, live: Option<usize>) -> Outcome {
    let output = folder.join("output");
    let mut command = Command::new(program);
    command.arg(test.name).stdout(File::create(&output).unwrap()).stderr(Stdio::null());
    command.env_remove(LIVE);
    command.envs(live.map(|number| (LIVE, number.to_string())));
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > AT_MOST {
            child.kill().unwrap();
            child.wait().unwrap();
            return Outcome::Hung;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let said = fs::read_to_string(&output).unwrap();
    assert!(!said.contains("running 0 tests"), "no test is called {}", test.name);
    if status.success() {
        return Outcome::Passed;
    }
    let failed =
        said.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    Outcome::Failed(failed.unwrap_or(test.name).to_owned())
}
