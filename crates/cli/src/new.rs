//! `new`: a commented scenario to start from.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use crate::args::NewArgs;
use crate::output::say;

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
    if let Err(error) = file.write_all(TEMPLATE.as_bytes()).and_then(|()| file.sync_all()) {
        let _ = std::fs::remove_file(path);
        return Err(format!("{}: cannot be written: {error}; choose another place", path.display()).into());
    }
    say(&format!("Wrote {0}. Next: numashock sweep {0}\n", path.display()))?;
    Ok(ExitCode::SUCCESS)
}
