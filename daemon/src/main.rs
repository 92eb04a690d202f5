//! The sidecar: `ringfenced --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringfenced::Daemon::builder().builtin_engines().main()
}
