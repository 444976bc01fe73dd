//! `host`: a machine alone, measured.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use numashock_experiment::host::{self, HostReport};
use numashock_sim::scenario::hosts::{HostScenario, HostVariant};

use crate::args::HostArgs;
use crate::output::say;
use crate::progress;

/// Measures a host and its variants; the exit code is 1 if a target is missed.
pub(crate) fn run(arguments: &HostArgs) -> Result<ExitCode, Box<dyn Error>> {
    let mut settings = arguments.settings.clone();
    settings.extend(arguments.seed.map(|seed| format!("run.seed={seed}")));
    settings.extend(arguments.seconds.map(|seconds| format!("run.duration=\"{seconds}s\"")));
    let scenario = HostScenario::read(&arguments.scenario, &settings)?;
    let name = scenario.name()?;
    let mut variants = scenario.variants()?;
    if let Some(wanted) = &arguments.variant {
        let names: Vec<String> = variants.iter().map(|variant| format!("\"{}\"", variant.name)).collect();
        variants.retain(|variant| variant.name == *wanted);
        if variants.is_empty() {
            return Err(format!("--variant \"{wanted}\": the scenario has {}", names.join(", ")).into());
        }
    }
    let csv = arguments.csv.as_deref().map(Place::take).transpose()?;
    let total = variants.iter().map(host::seconds).sum();
    let reports: Vec<HostReport> = progress::show(total, "simulated seconds", |done| {
        variants.iter().map(|variant| host::measure(variant, done)).collect()
    });
    if let (Some(place), [report]) = (csv, &reports[..]) {
        place.write(&host::csv(&report.rows))?;
    }
    if arguments.json {
        say(&format!("{}\n", serde_json::to_string_pretty(&reports)?))?;
    } else {
        say(&text(&name, &variants, &reports))?;
    }
    Ok(ExitCode::from(u8::from(!reports.iter().all(HostReport::passed))))
}

fn text(name: &str, variants: &[HostVariant], reports: &[HostReport]) -> String {
    let mut text = String::new();
    for (variant, report) in variants.iter().zip(reports) {
        let assumed = variant
            .config
            .costs
            .iter()
            .filter(|line| line.mark == numashock_sim::scenario::preset::Mark::Assumed);
        let assumed: Vec<&str> = assumed.map(|line| line.name).collect();
        text += &format!("{name}: {}\n", variant.description);
        text += &host::table(report);
        if !assumed.is_empty() {
            text += &format!("\nassumed costs: {}\n", assumed.join(", "));
        }
        text.push('\n');
    }
    text
}

/// A place for a file, taken before the work, so that an hour is not spent for nothing.
struct Place<'a> {
    path: &'a Path,
    partial: PathBuf,
    file: File,
}

impl Place<'_> {
    fn take(path: &Path) -> Result<Place<'_>, Box<dyn Error>> {
        let name = path.file_name().map_or_else(|| "rows".into(), |name| name.to_string_lossy());
        let partial = path.with_file_name(format!(".{name}.partial"));
        if path.exists() {
            return Err(format!("--csv {}: exists; remove it, or choose another name", path.display()).into());
        }
        let file = File::create_new(&partial).map_err(|error| {
            format!("--csv {}: {}: {error}; choose another place", path.display(), partial.display())
        })?;
        Ok(Place { path, partial, file })
    }

    /// The file appears under its name only when it is complete.
    fn write(mut self, content: &str) -> Result<(), Box<dyn Error>> {
        let written =
            self.file.write_all(content.as_bytes()).and_then(|()| std::fs::rename(&self.partial, self.path));
        written.map_err(|error| {
            let _ = std::fs::remove_file(&self.partial);
            format!("--csv {}: cannot be written: {error}; choose another place", self.path.display()).into()
        })
    }
}
