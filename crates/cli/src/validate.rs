//! `validate kernel` and `validate flow`.

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::process::ExitCode;

use numashock_experiment::kernel;

use crate::args::{FlowArgs, KernelArgs};

/// Compares the machine with recorded kernels.
pub(crate) fn kernel(arguments: &KernelArgs) -> Result<ExitCode, Box<dyn Error>> {
    let report = kernel::validate(&arguments.folder)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", kernel::table(&report));
    }
    Ok(ExitCode::SUCCESS)
}

/// Replays recorded messages and writes the best quotes.
///
/// The quotes appear under their name only when they are complete.
pub(crate) fn flow(arguments: &FlowArgs) -> Result<ExitCode, Box<dyn Error>> {
    let name = arguments.file.display().to_string();
    let input = File::open(&arguments.file).map_err(|error| format!("{name}: cannot be read: {error}"))?;
    let partial = arguments.quotes.with_extension("csv.partial");
    let unwritable = |error: std::io::Error| {
        format!(
            "{}: cannot be written: {error}; choose another place with --quotes",
            arguments.quotes.display()
        )
    };
    let report = File::create(&partial).map_err(unwritable).and_then(|output| {
        let mut output = BufWriter::new(output);
        let report = numashock_book::recorded::quotes(BufReader::new(input), &name, &mut output)
            .map_err(|error| error.to_string())?;
        output.flush().map_err(unwritable)?;
        std::fs::rename(&partial, &arguments.quotes).map_err(unwritable)?;
        Ok(report)
    });
    let report = report.inspect_err(|_| {
        let _ = std::fs::remove_file(&partial);
    })?;
    println!("{report}");
    Ok(ExitCode::SUCCESS)
}
