//! `ringfence`: what an operator types. It asks daemons, and changes nothing
//! but by `call`, `bench METHOD`, `doctor --fix` and `codegen --out`. What `torture`
//! attacks is a daemon of its own.

#![forbid(unsafe_code)]

mod args;
mod bench;
mod board;
mod call;
mod catalogue;
mod codegen;
mod doctor;
mod exit;
mod output;
mod pages;
mod ping;
mod schema;
mod show;
mod status;
mod stubs;
mod table;
mod top;
mod topology;
mod torture;
mod values;

use std::process::ExitCode;

use args::{Args, Command};
use clap::Parser as _;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return exit::of_command_line(&error).into(),
    };
    let done = match &args.command {
        Command::Status(what) => status::run(&args.global, what),
        Command::Ping(what) => ping::run(&args.global, what),
        Command::Call(what) => call::run(&args.global, what),
        Command::Bench(what) => bench::run(&args.global, what),
        Command::Doctor(what) => doctor::run(&args.global, what),
        Command::Schema(what) => schema::run(&args.global, what),
        Command::Top(what) => top::run(&args.global, what),
        Command::Stubs(what) => stubs::run(&args.global, what),
        Command::Codegen(what) => codegen::run(&args.global, what),
        Command::Topology(what) => topology::run(&args.global, what),
        Command::Torture(what) => torture::run(&args.global, what),
        Command::Completions(what) => pages::completions(&args.global, what),
        Command::Man(what) => pages::man(&args.global, what),
    };
    match done {
        Ok(()) => exit::Exit::Ok.into(),
        Err(failure) => failure.report(args.global.json).into(),
    }
}
