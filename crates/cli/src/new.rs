//! `new`: a commented scenario to start from.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use crate::args::NewArgs;

/// The template, with its preset spelled out below so that the file stands alone.
const TEMPLATE: &str = include_str!("template.toml");

/// Writes the template; an existing file is never touched.
pub(crate) fn run(arguments: &NewArgs) -> Result<ExitCode, Box<dyn Error>> {
    let path = &arguments.file;
    let mut file = std::fs::File::create_new(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            format!("{}: exists already; choose another name", path.display())
        }
        _ => format!("{}: cannot be written: {error}", path.display()),
    })?;
    file.write_all(TEMPLATE.as_bytes())?;
    println!("Wrote {}. Next: numashock sweep {}", path.display(), path.display());
    Ok(ExitCode::SUCCESS)
}
