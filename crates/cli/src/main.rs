//! The numashock command: one match over subcommands, one file for each.

mod args;
mod controller;
mod explain;
mod formulas;
mod golden;
mod host;
mod import;
mod link;
mod new;
mod output;
mod progress;
mod record;
mod replay;
mod steering;
mod sweep;
mod trace;
mod validate;

use std::process::ExitCode;

use args::{Command, Parsed, Validate};

fn main() -> ExitCode {
    let Parsed { command } = Parsed::parse_or_exit();
    let outcome = match command {
        Command::Controller { what } => controller::run(&what),
        Command::Golden { what } => golden::run(&what),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Host(arguments) => host::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::New(arguments) => new::run(&arguments),
        Command::Run(arguments) => sweep::run_one(&arguments),
        Command::Sweep(arguments) => sweep::run(&arguments),
        Command::Record(arguments) => record::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Trace { what } => trace::run(&what),
        Command::Validate { what: Validate::Account(arguments) } => validate::account(&arguments),
        Command::Validate { what: Validate::Flow(arguments) } => validate::flow(&arguments),
        Command::Validate { what: Validate::Formulas(arguments) } => formulas::run(&arguments),
        Command::Validate { what: Validate::Link(arguments) } => link::run(&arguments),
        Command::Validate { what: Validate::Kernel(arguments) } => validate::kernel(&arguments),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
