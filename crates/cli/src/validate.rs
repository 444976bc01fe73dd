//! `validate account`, `validate kernel` and `validate flow`.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use numashock_book::recorded;
use numashock_experiment::account::{self, AccountOptions};
use numashock_experiment::kernel;

use crate::args::{AccountArgs, FlowArgs, KernelArgs, OpeningChoice};
use crate::output::say;
use crate::progress;

/// Checks the account of random scenarios: 0 if everything holds, 1 if something does not.
pub(crate) fn account(arguments: &AccountArgs) -> Result<ExitCode, Box<dyn Error>> {
    let AccountArgs { parents, seed, first, jobs, json } = *arguments;
    let scenarios = parents.div_ceil(account::PARENTS_EACH);
    let report = progress::show(scenarios, "scenarios", |done| {
        account::validate(AccountOptions { parents, seed, first, jobs: usize::from(jobs), done })
    });
    if json {
        say(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        say(&account::table(&report))?;
    }
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Compares the machine with recorded kernels: 0 if every modelled run agrees, 1 if one deviates or none could be compared, 2 if
/// one cannot be read.
pub(crate) fn kernel(arguments: &KernelArgs) -> Result<ExitCode, Box<dyn Error>> {
    let report = kernel::validate(&arguments.folder)?;
    if let Some(out) = &arguments.plot {
        plot(&report, out)?;
    }
    if arguments.json {
        say(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else if arguments.details {
        say(&kernel::details(&report))?;
    } else {
        say(&kernel::table(&report))?;
    }
    let summary = report.summary;
    if summary.compared() == 0 {
        eprintln!(
            "error: {}: no run could be compared: {} not modelled, {} unreadable; the verdict of each says why",
            arguments.folder.display(),
            summary.not_modelled,
            summary.unreadable
        );
    }
    Ok(match summary {
        kernel::Summary { unreadable: 1.., .. } => ExitCode::from(2),
        kernel::Summary { deviate: 1.., .. } => ExitCode::from(1),
        none if none.compared() == 0 => ExitCode::from(1),
        _ => ExitCode::SUCCESS,
    })
}

fn plot(report: &kernel::KernelReport, out: &Path) -> Result<(), Box<dyn Error>> {
    let unwritable = |path: &Path, error: io::Error| {
        format!("{}: cannot be written: {error}; choose another place with --plot", path.display())
    };
    let write = |path: &Path, svg: String| {
        let mut file = File::create_new(path).map_err(|error| unwritable(path, error))?;
        file.write_all(svg.as_bytes()).map_err(|error| unwritable(path, error))
    };
    if out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg")) {
        return Ok(write(out, numashock_report::kernel_runs(report)?)?);
    }
    std::fs::create_dir_all(out).map_err(|error| unwritable(out, error))?;
    for run in report.runs.iter().filter(|run| run.modelled) {
        let name: String = run
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' })
            .collect();
        write(&out.join(format!("{name}.svg")), numashock_report::kernel_run(run)?)?;
    }
    Ok(())
}

/// Replays recorded messages and writes the best quotes.
///
/// The quotes appear under their name only when they are complete, and never in the place of the messages.
pub(crate) fn flow(arguments: &FlowArgs) -> Result<ExitCode, Box<dyn Error>> {
    let (messages, quotes) = (&arguments.file, &arguments.quotes);
    let name = messages.display().to_string();
    let input = File::open(messages).map_err(|error| format!("{name}: cannot be read: {error}"))?;
    if let (Ok(input), Ok(output)) = (messages.canonicalize(), quotes.canonicalize())
        && input == output
    {
        return Err(format!(
            "--quotes {}: is the message file itself; choose another name",
            quotes.display()
        )
        .into());
    }
    if quotes.exists() && !quotes.is_file() {
        return Err(format!("--quotes {}: is not a file; choose the name of one", quotes.display()).into());
    }
    let unwritable = |error: io::Error| {
        format!("{}: cannot be written: {error}; choose another place with --quotes", quotes.display())
    };
    let opening = match arguments.opening {
        OpeningChoice::Recovered => recorded::Opening::Recovered,
        OpeningChoice::Empty => recorded::Opening::Empty,
    };
    let options = recorded::Options { tick: 1, opening, instrument: arguments.instrument };
    let partial = partial_name(quotes);
    let output = File::create_new(&partial).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{}: is left from another run; wait for it, or remove the file", partial.display())
        }
        _ => unwritable(error),
    })?;
    let recording = recorded::parse(BufReader::new(input), &name, options).map_err(|error| error.to_string());
    let outcome = recording.and_then(|recording| {
        let mut output = BufWriter::new(output);
        let report = recording.write_quotes(&mut output).map_err(unwritable)?;
        let file = output.into_inner().map_err(|error| unwritable(error.into_error()))?;
        file.sync_all().and_then(|()| std::fs::rename(&partial, quotes)).map_err(unwritable)?;
        Ok(report)
    });
    let report = outcome.inspect_err(|_| {
        let _ = std::fs::remove_file(&partial);
    })?;
    say(&format!("{report}\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn partial_name(quotes: &Path) -> PathBuf {
    let name = quotes.file_name().map_or_else(|| "quotes".into(), |name| name.to_string_lossy());
    quotes.with_file_name(format!(".{name}.partial"))
}
