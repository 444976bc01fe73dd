//! `run --trace`: one run, written as a trace while it goes.

use std::error::Error;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use numashock_experiment::tape;
use numashock_sim::Own;
use numashock_sim::scenario::Scenario;
use numashock_trace::Options;

use crate::output::say;

/// What belongs to a results folder; and whoever decides must stand in the scenario, for the trace to say it.
const CONFLICTS: [&str; 7] =
    ["out", "attribution", "children", "jobs", "decisions", "controller", "controller_command"];

/// How a single run is written down.
#[derive(Clone, Debug, Args)]
pub(crate) struct TraceArgs {
    /// Run one replication in the real world only, and write what happens as a trace instead of a results folder.
    #[arg(long, value_name = "OUT.trace", conflicts_with_all = CONFLICTS)]
    pub(crate) trace: Option<PathBuf>,
    /// Which replication, from 0.
    #[arg(long, value_name = "K", default_value_t = 0, requires = "trace")]
    pub(crate) seed_number: u32,
    /// Pack the trace's blocks by zstd where that makes them smaller.
    #[arg(long, requires = "trace")]
    pub(crate) zstd: bool,
}

/// Runs a choice of a scenario and writes it to `path`.
pub(crate) fn run(
    scenario: &Scenario,
    choice: &str,
    path: &Path,
    arguments: &TraceArgs,
) -> Result<ExitCode, Box<dyn Error>> {
    let header = tape::header(scenario, choice, arguments.seed_number)?;
    let config = tape::chosen(scenario, choice)?;
    let place = Place::take(path)?;
    let options = Options { zstd: arguments.zstd, ..Options::default() };
    let (_, stats) = tape::record((&config, &header), &mut Own, &place.file, options)?;
    place.publish()?;
    say(&format!("{}\nTrace: {}\n", stats, path.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// A place for a trace, taken before the run. It grows as `.NAME.partial` beside it, which stays readable up to its last
/// whole block if the run is killed.
struct Place<'a> {
    path: &'a Path,
    partial: PathBuf,
    file: File,
    published: bool,
}

impl Place<'_> {
    fn take(path: &Path) -> Result<Place<'_>, Box<dyn Error>> {
        let name = path.file_name().ok_or_else(|| {
            format!(
                "--trace {}: names no file; end the path with a name, for example out.trace",
                path.display()
            )
        })?;
        if path.exists() {
            return Err(
                format!("--trace {}: exists; remove it, or choose another name", path.display()).into()
            );
        }
        let partial = path.with_file_name(format!(".{}.partial", name.to_string_lossy()));
        let file = File::create_new(&partial).map_err(|error| {
            let place = format!("--trace {}: {}: {error}", path.display(), partial.display());
            match error.kind() {
                ErrorKind::AlreadyExists => format!(
                    "{place}; another run is writing it, or one was killed: it can be read up to there; move it away, or \
                     choose another name"
                ),
                _ => format!("{place}; choose another place"),
            }
        })?;
        Ok(Place { path, partial, file, published: false })
    }

    fn publish(mut self) -> Result<(), Box<dyn Error>> {
        let moved = self.file.sync_all().and_then(|()| fs::rename(&self.partial, self.path));
        moved.map_err(|error| format!("--trace {}: {error}; choose another place", self.path.display()))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.partial);
        }
    }
}
