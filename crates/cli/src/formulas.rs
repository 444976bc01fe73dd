//! `validate formulas`.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use numashock_experiment::formulas::{self, CaseFile, Effort, Shipped};

use crate::args::FormulasArgs;
use crate::output::say;

/// Runs cases of known formulas through the simulator: 0 if all agree, 1 if one does not.
pub(crate) fn run(arguments: &FormulasArgs) -> Result<ExitCode, Box<dyn Error>> {
    if arguments.keys {
        say(&formulas::keys())?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.print_cases {
        for shipped in Shipped::ALL {
            say(&format!("# {}\n\n{}\n", shipped.name, shipped.text))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut files = match &arguments.cases {
        Some(file) => vec![CaseFile::read(file)?],
        None => Shipped::ALL
            .iter()
            .map(|shipped| CaseFile::parse(Path::new(shipped.name), shipped.text))
            .collect::<Result<Vec<CaseFile>, _>>()?,
    };
    if !arguments.only.is_empty() {
        let known: String = files.iter().map(formulas::list).collect();
        let kept: usize = files.iter_mut().map(|file| file.keep(&arguments.only)).sum();
        if kept == 0 {
            let asked = arguments.only.join("\", \"");
            return Err(
                format!("--only \"{asked}\": no case has that name or kind; there are\n{known}").into()
            );
        }
    }
    if arguments.list {
        say(&files.iter().map(formulas::list).collect::<String>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let effort = Effort { sample_ppm: arguments.sample.0, seed: arguments.seed };
    let report = formulas::on_threads(usize::from(arguments.jobs), || formulas::validate(&files, effort))?;
    if arguments.json {
        say(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        say(&formulas::table(&report))?;
    }
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
