//! Making golden files.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::Ordering;

use numashock_sim::MODEL_VERSION;
use numashock_sim::golden::{Golden, Head, Marks};
use numashock_sim::scenario::config::RunConfig;
use rayon::prelude::*;

use super::{
    Options, compare, config, golden_files, name_decider, on_threads, prepared, read_golden, steering, stem,
    unbroken,
};

/// A scenario that is to have a golden file.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its file.
    pub scenario: PathBuf,
    /// The tuning choice; the first if none is named.
    pub choice: Option<String>,
    /// The replication.
    pub replication: u32,
    /// Events between two checkpoints; 0 takes what suits the length.
    pub interval: u64,
}

/// A golden file that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blessed {
    /// Its name without `.txt`.
    pub name: String,
    /// What became of it, in words.
    pub change: String,
    /// More lines about it.
    pub details: Vec<String>,
}

/// Makes the golden files that are asked for, or all of a folder again. Nothing is written unless every run finishes.
///
/// # Errors
/// Each scenario that cannot be read or whose run does not finish.
///
/// # Panics
/// If the threads cannot be started.
pub fn bless(folder: &Path, asks: &[Ask], options: &Options<'_>) -> Result<Vec<Blessed>, Vec<String>> {
    let works = if asks.is_empty() { refreshed(folder, options) } else { asked(folder, asks, options) };
    let works = works.map_err(|error| vec![error])?;
    let runs: Vec<Result<Made, String>> = on_threads(options.jobs, || {
        works
            .par_iter()
            .map(|work| {
                let made = unbroken(|| make(work, options));
                options.done.fetch_add(1, Ordering::Relaxed);
                made.map_err(|why| format!("{}: {why}", work.file.display()))
            })
            .collect()
    });
    let mut problems: Vec<String> = runs.iter().filter_map(|run| run.as_ref().err().cloned()).collect();
    if !problems.is_empty() {
        problems.push("nothing was written".to_owned());
        return Err(problems);
    }
    fs::create_dir_all(folder).map_err(|error| vec![format!("{}: {error}", folder.display())])?;
    let mut blessed = Vec::new();
    for (work, made) in works.iter().zip(runs.into_iter().flatten()) {
        blessed.push(keep(work, &made).map_err(|why| vec![why])?);
    }
    Ok(blessed)
}

/// A golden file in the making.
struct Work {
    file: PathBuf,
    head: Head,
    config: RunConfig,
}

struct Made {
    golden: Golden,
    marks: Marks,
}

fn refreshed(folder: &Path, options: &Options<'_>) -> Result<Vec<Work>, String> {
    let mut works = Vec::new();
    for file in golden_files(folder)? {
        let wrong = |why: String| format!("{}: {why}", file.display());
        let kept = read_golden(&file).map_err(|why| {
            wrong(format!("{why}; name its scenario to make it from nothing, or remove the file"))
        })?;
        if kept.head.other_controller && options.controller.is_none() {
            return Err(wrong("blessed with another controller: name it with --controller".to_owned()));
        }
        let scenario = folder.join(&kept.head.scenario);
        let (_, config) = config(&scenario, Some(&kept.head.choice)).map_err(wrong)?;
        works.push(Work { head: Head { model: MODEL_VERSION, ..kept.head }, file, config });
    }
    if works.is_empty() {
        return Err(format!(
            "{}: no golden files to refresh: name the scenarios to make them of",
            folder.display()
        ));
    }
    Ok(works)
}

fn asked(folder: &Path, asks: &[Ask], options: &Options<'_>) -> Result<Vec<Work>, String> {
    let mut works: Vec<Work> = Vec::new();
    for ask in asks {
        let (choice, config) = config(&ask.scenario, ask.choice.as_deref())?;
        let mut name = stem(&ask.scenario);
        if ask.choice.is_some() {
            name += &format!(".{}", file_name(&choice));
        }
        if ask.replication > 0 {
            name += &format!(".{}", ask.replication);
        }
        let file = folder.join(format!("{name}.txt"));
        if works.iter().any(|other| other.file == file) {
            return Err(format!("{}: two scenarios would have this golden file", file.display()));
        }
        let scenario = from_folder(folder, &ask.scenario)?;
        if let Some(kept) = read_golden(&file).ok().filter(|kept| kept.head.scenario != scenario) {
            if !options.replace {
                return Err(format!(
                    "{}: is of {}, and not of {scenario}: choose another folder or name, or give it away with --replace",
                    file.display(),
                    kept.head.scenario
                ));
            }
        }
        let head = Head {
            model: MODEL_VERSION,
            scenario,
            choice,
            replication: ask.replication,
            other_controller: options.controller.is_some(),
            interval: ask.interval,
        };
        works.push(Work { file, head, config });
    }
    Ok(works)
}

fn file_name(choice: &str) -> String {
    choice.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// A file's path as seen from a folder, with forward slashes.
fn from_folder(folder: &Path, file: &Path) -> Result<String, String> {
    let whole = |path: &Path| path.canonicalize().map_err(|error| format!("{}: {error}", path.display()));
    let file = whole(file)?;
    // The folder is made when all is well; until then its nearest ancestor stands for it.
    let folder = std::path::absolute(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let there = folder.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(&folder);
    let folder = whole(there)?.join(folder.strip_prefix(there).expect("an ancestor is a prefix"));
    let (from, to): (Vec<Component<'_>>, Vec<Component<'_>>) =
        (folder.components().collect(), file.components().collect());
    let shared = from.iter().zip(&to).take_while(|(from, to)| from == to).count();
    let up = from[shared..].iter().map(|_| "..");
    let down = to[shared..].iter().map(|part| part.as_os_str().to_str());
    let parts: Option<Vec<&str>> = up.map(Some).chain(down).collect();
    let parts =
        parts.ok_or_else(|| format!("{}: a golden file can name only what is text", file.display()))?;
    Ok(parts.join("/"))
}

fn make(work: &Work, options: &Options<'_>) -> Result<Made, String> {
    let candidate = options.controller.as_ref();
    let config = prepared(&work.config, candidate);
    let mut steering = steering(candidate, &config, work.head.replication)?;
    let mut marks = Marks::default();
    let golden = Golden::run(&config, &work.head, &mut *steering, &mut |state| marks.add(state));
    let mut golden = golden.map_err(|error| error.to_string())?;
    name_decider(&mut golden.hosts, &work.config, candidate);
    Ok(Made { golden, marks })
}

fn keep(work: &Work, made: &Made) -> Result<Blessed, String> {
    let text = made.golden.to_string();
    let before = fs::read_to_string(&work.file).ok();
    write(&work.file.with_extension("marks"), &made.marks.render(made.golden.end))?;
    if before.as_deref() != Some(&text) {
        write(&work.file, &text)?;
    }
    let size = format!(
        "{} events, {} buckets",
        made.golden.end.events,
        made.golden.hosts.iter().map(|host| host.buckets.len()).sum::<usize>()
    );
    let (change, details) = match before {
        None => (format!("new: {size}"), Vec::new()),
        Some(before) if before == text => (format!("unchanged: {size}"), Vec::new()),
        Some(before) => (format!("changed: {size}"), changes(&before, &made.golden, &work.config)),
    };
    Ok(Blessed { name: stem(&work.file), change, details })
}

/// What is no longer as it was.
fn changes(before: &str, now: &Golden, config: &RunConfig) -> Vec<String> {
    let Ok(kept) = before.parse::<Golden>() else { return vec!["it was no golden file before".to_owned()] };
    let mut lines = Vec::new();
    if kept.head.interval == now.head.interval {
        if let Some(interval) = kept.first_differing_interval(now) {
            lines.push(super::locate::interval_words(&interval));
        }
    }
    let decisions = compare::difference(&kept.hosts, &now.hosts, config, None);
    lines.extend(decisions.into_iter().flat_map(|difference| difference.details));
    if kept.head != now.head {
        lines.push("its head".to_owned());
    }
    lines
}

/// Writes aside and renames, so that a golden file is whole or as it was.
fn write(file: &Path, text: &str) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("cannot write {}: {error}", file.display());
    let mut name = std::ffi::OsString::from(".");
    name.push(file.file_name().expect("a golden file has a name"));
    name.push(".partial");
    let aside = file.with_file_name(name);
    fs::write(&aside, text).and_then(|()| fs::rename(&aside, file)).map_err(wrong)
}
