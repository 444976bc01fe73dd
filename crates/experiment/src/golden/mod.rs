//! Golden files of a folder: made, made again, and checked against what runs do now.
//!
//! ```text
//!   check   golden file ──► scenario ──► run ─────────────► agrees, differs (where first), or cannot be checked
//!                └─► with another controller: open loop, its decisions on the observations kept
//!                                             closed loop, the run again under it
//!   bless   scenario ──► run ──► golden file and its marks, if every run finishes
//! ```
//!
//! Invariant: a report holds no duration and no order of threads, so that two of the same folder are the same bytes.

mod bless;
mod compare;
mod locate;

use std::any::Any;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use numashock_controller::Regime;
use numashock_sim::golden::{Golden, GoldenBucket, GoldenHost, flat};
use numashock_sim::scenario::Scenario;
use numashock_sim::scenario::config::{HostId, RunConfig};
use numashock_sim::scenario::controller::ControllerConfig;
use numashock_sim::{Asked, MODEL_VERSION, Steering};
use rayon::prelude::*;

use crate::decisions;
use crate::sweep::{OwnControllers, Steers};

pub use bless::{Ask, Blessed, bless};
pub use compare::Difference;

/// Costs as the preset has them.
const UNCHANGED: u64 = 1_000_000;

/// A controller to be tried in the place of the scenario's own.
pub struct Candidate<'a> {
    /// What it is called; asked when the runs are over.
    pub name: &'a (dyn Fn() -> String + Sync),
    /// The built-in controller that it is, or that its decisions are compared with, where a host's own is given.
    pub built_in: &'a (dyn Fn(ControllerConfig) -> ControllerConfig + Sync),
    /// Whether it decides by rules of its own, as a process or a stream does: no limits are known then.
    pub foreign: bool,
    /// Gives each run one of its own.
    pub steers: &'a dyn Steers,
}

/// What a check or a blessing is told.
pub struct Options<'a> {
    /// Threads; 0 takes one per processor. The report does not depend on it.
    pub jobs: usize,
    /// Another controller.
    pub controller: Option<Candidate<'a>>,
    /// Whether a blessing may give an existing golden file to another scenario.
    pub replace: bool,
    /// Counts finished files, for whoever shows progress.
    pub done: &'a AtomicU64,
}

/// What came out of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The folder, as it was named.
    pub folder: String,
    /// The other controller, if there was one.
    pub controller: Option<String>,
    /// Its golden files, in order of name.
    pub files: Vec<Checked>,
}

/// What came out of a golden file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Its name without `.txt`.
    pub name: String,
    /// What was checked of it: `run`, or `open loop` and `closed loop`.
    pub parts: Vec<(&'static str, Verdict)>,
}

/// What came out of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it was; with what was compared.
    Agrees(String),
    /// It is not.
    Differs(Difference),
    /// It could not be told; why, and how to go on.
    NotChecked(String),
}

impl Report {
    /// How many checks agree, differ and could not be made.
    #[must_use]
    pub fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for (_, verdict) in self.files.iter().flat_map(|file| &file.parts) {
            counts[match verdict {
                Verdict::Agrees(_) => 0,
                Verdict::Differs(_) => 1,
                Verdict::NotChecked(_) => 2,
            }] += 1;
        }
        counts
    }

    /// 0: all agree; 1: something differs; 2: something cannot be checked.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.counts() {
            [_, 0, 0] => 0,
            [_, _, 0] => 1,
            _ => 2,
        }
    }
}

/// Checks every golden file of a folder.
///
/// # Errors
/// If the folder cannot be read or holds no golden file. What is wrong with a single file stands in the report.
///
/// # Panics
/// If the threads cannot be started.
pub fn check(folder: &Path, options: &Options<'_>) -> Result<Report, String> {
    let files = golden_files(folder)?;
    if files.is_empty() {
        return Err(format!(
            "{}: no golden files (NAME.txt) here; make one with `numashock golden bless {} SCENARIO.toml`",
            folder.display(),
            folder.display()
        ));
    }
    let files = on_threads(options.jobs, || {
        files
            .par_iter()
            .map(|file| {
                let checked = Checked { name: stem(file), parts: check_file(file, options) };
                options.done.fetch_add(1, Ordering::Relaxed);
                checked
            })
            .collect()
    });
    let controller = options.controller.as_ref().map(|controller| (controller.name)());
    Ok(Report { folder: folder.display().to_string(), controller, files })
}

/// How many golden files a folder has.
#[must_use]
pub fn count(folder: &Path) -> u64 {
    golden_files(folder).map_or(0, |files| files.len() as u64)
}

fn on_threads<T: Send>(jobs: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs).build().expect("threads can be started");
    pool.install(work)
}

/// The `.txt` files of a folder, in order of name.
fn golden_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let wrong = |error: io::Error| {
        format!(
            "{}: {error}; name a folder with golden files, or make one with `numashock golden bless`",
            folder.display()
        )
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.extension().is_some_and(|extension| extension == "txt") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn stem(file: &Path) -> String {
    file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

fn check_file(file: &Path, options: &Options<'_>) -> Vec<(&'static str, Verdict)> {
    let not = |part, why| vec![(part, Verdict::NotChecked(why))];
    let (kept, config) = match read(file) {
        Ok(both) => both,
        Err(why) => return not("run", why),
    };
    let Some(candidate) = &options.controller else {
        if kept.head.other_controller {
            return not(
                "run",
                "blessed with another controller than the scenario's: name it with --controller".into(),
            );
        }
        return vec![("run", guarded(|| closed_loop(file, &kept, &config, None)))];
    };
    vec![
        ("open loop", guarded(|| open_loop(&kept, &config, candidate))),
        ("closed loop", guarded(|| closed_loop(file, &kept, &config, Some(candidate)))),
    ]
}

/// A golden file and the run that it names.
fn read(file: &Path) -> Result<(Golden, RunConfig), String> {
    let kept = read_golden(file)?;
    let head = &kept.head;
    if head.model != MODEL_VERSION {
        return Err(format!(
            "made by model version {}, and this program is version {MODEL_VERSION}: check it with a program of that \
             version, or look at what changed and make it again with `numashock golden bless {}`",
            head.model,
            file.parent().unwrap_or(Path::new(".")).display()
        ));
    }
    let config = config(&file.parent().unwrap_or(Path::new("")).join(&head.scenario), Some(&head.choice))?.1;
    Ok((kept, config))
}

fn read_golden(file: &Path) -> Result<Golden, String> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    text.parse::<Golden>().map_err(|error| error.to_string())
}

/// A choice of a scenario, or the first; with its name.
fn config(file: &Path, choice: Option<&str>) -> Result<(String, RunConfig), String> {
    let choices = Scenario::read(file, &[])
        .and_then(|scenario| scenario.choices(UNCHANGED))
        .map_err(|error| error.to_string())?;
    let names: Vec<String> = choices.iter().map(|choice| choice.name.clone()).collect();
    let found = choices.into_iter().find(|own| choice.is_none_or(|choice| own.name == choice));
    found.map(|own| (own.name, own.config)).ok_or_else(|| {
        format!(
            "{}: no choice \"{}\": expected one of {}",
            file.display(),
            choice.unwrap_or_default(),
            names.join(", ")
        )
    })
}

/// What a run that broke an invariant leaves of a check: the reason, and the other files go on.
fn guarded(work: impl FnOnce() -> Result<Verdict, String>) -> Verdict {
    match unbroken(work) {
        Ok(verdict) => verdict,
        Err(why) => Verdict::NotChecked(why),
    }
}

fn unbroken<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|broken| {
        Err(format!(
            "the run did not finish: {}; this is a fault of the program, please report it",
            spoken(&broken)
        ))
    })
}

fn spoken(broken: &Box<dyn Any + Send>) -> String {
    let words = broken.downcast_ref::<String>().cloned();
    words.or_else(|| broken.downcast_ref::<&str>().map(|words| (*words).to_owned())).unwrap_or_default()
}

/// A run under another controller: what a file says of its actions' delays holds, too.
fn prepared(config: &RunConfig, candidate: Option<&Candidate<'_>>) -> RunConfig {
    let mut config = config.clone();
    for host in config.hosts.iter_mut().filter(|_| candidate.is_some()) {
        let own = ControllerConfig { kind: host.controller, limits: host.limits, delay: Some(host.delay) };
        let other = candidate.and_then(|candidate| (candidate.built_in)(own).delay);
        host.delay = other.unwrap_or(host.delay);
    }
    config
}

/// Says of each host who decided and with which limits, where it was not the scenario's own controller.
fn name_decider(hosts: &mut [GoldenHost], config: &RunConfig, candidate: Option<&Candidate<'_>>) {
    let Some(candidate) = candidate else { return };
    for (number, host) in (0..).zip(hosts) {
        if candidate.foreign {
            let name = (candidate.name)();
            host.controller = name.split_whitespace().collect::<Vec<_>>().join(" ");
            host.limits.clear();
        } else {
            let decider = (candidate.built_in)(decisions::built_in(config, number));
            host.controller = compare::written(decider.kind);
            host.limits = flat(&decider.limits);
        }
    }
}

fn steering(
    candidate: Option<&Candidate<'_>>,
    config: &RunConfig,
    replication: u32,
) -> Result<Box<dyn Steering>, String> {
    let steers = candidate.map_or(&OwnControllers as &dyn Steers, |candidate| candidate.steers);
    steers.begin(config, replication).map_err(|error| error.to_string())
}

fn closed_loop(
    file: &Path,
    kept: &Golden,
    config: &RunConfig,
    candidate: Option<&Candidate<'_>>,
) -> Result<Verdict, String> {
    let (own, config) = (config, &prepared(config, candidate));
    let mut steering = steering(candidate, config, kept.head.replication)?;
    let mut now =
        Golden::run(config, &kept.head, &mut *steering, &mut |_| ()).map_err(|error| error.to_string())?;
    drop(steering);
    name_decider(&mut now.hosts, own, candidate);
    let events = match kept.first_differing_interval(&now) {
        Some(interval) => {
            Some(locate::locate(file, kept, locate::Runs { own, now: config, candidate }, interval)?)
        }
        None => None,
    };
    Ok(match compare::difference(&kept.hosts, &now.hosts, own, events) {
        Some(difference) => Verdict::Differs(difference),
        None => Verdict::Agrees(compare::agreement(kept, &now)),
    })
}

/// The candidate's decisions on the observations that were kept, one host after the other within each bucket.
fn open_loop(kept: &Golden, config: &RunConfig, candidate: &Candidate<'_>) -> Result<Verdict, String> {
    if kept.hosts.len() != config.hosts.len() {
        return Err(format!(
            "{} hosts were kept, and the scenario has {}",
            kept.hosts.len(),
            config.hosts.len()
        ));
    }
    let mut steering = steering(Some(candidate), config, kept.head.replication)?;
    let mut regimes = vec![Regime::STABLE; kept.hosts.len()];
    let empty = |host: &GoldenHost| GoldenHost { buckets: Vec::new(), ..host.clone() };
    let mut now: Vec<GoldenHost> = kept.hosts.iter().map(empty).collect();
    let buckets = kept.hosts.iter().map(|host| host.buckets.len()).max().unwrap_or(0);
    for bucket in 0..buckets {
        for (number, host) in kept.hosts.iter().enumerate() {
            let Some(saw) = host.buckets.get(bucket) else { continue };
            let own = &config.hosts[number];
            let asked = Asked {
                host: HostId(u16::try_from(number).expect("few hosts")),
                bucket: u32::try_from(bucket).expect("fewer than 2^32 seconds"),
                policy: own.controller.policy(),
                limits: &own.limits,
                regime: regimes[number],
                seen: &saw.seen,
            };
            let (regime, actions) = steering.steer(&asked).map_err(|error| error.to_string())?;
            regimes[number] = regime;
            now[number].buckets.push(GoldenBucket { seen: saw.seen, level: regime.level(), actions });
        }
    }
    steering.end().map_err(|error| error.to_string())?;
    name_decider(&mut now, config, Some(candidate));
    Ok(match compare::difference(&kept.hosts, &now, config, None) {
        Some(difference) => Verdict::Differs(difference),
        None => Verdict::Agrees(format!("{buckets} buckets")),
    })
}
