//! The results folder: written aside and renamed, so that nothing half-written looks whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use numashock_experiment::results::SweepResults;
use parquet::errors::ParquetError;

use crate::{PictureError, c_numa_parts, columns, is_cdf, timeline};

/// Why results could not be written. Each says which path and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The folder holds something already.
    #[error("{} already holds files: name another folder, or remove this one first", .0.display())]
    NotEmpty(PathBuf),
    /// The path is a file.
    #[error("{} is a file: name a folder for the results", .0.display())]
    NotAFolder(PathBuf),
    /// The path has no last component that could be created.
    #[error("{:?} names no folder: end the path with a name, for example results/first", .0)]
    NoName(PathBuf),
    /// Another process holds the folder it is being written in.
    #[error("another run is writing to {}: wait for it, or name another folder", .0.display())]
    Busy(PathBuf),
    /// The operating system refused.
    #[error("cannot write {}: {source}; {}", path.display(), remedy(source))]
    Write {
        /// What was being written.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The table could not be encoded.
    #[error("cannot encode {}: {source}; this is a fault of the program, please report it", path.display())]
    Encode {
        /// The table.
        path: PathBuf,
        /// What the encoder said.
        source: ParquetError,
    },
    /// The picture could not be drawn.
    #[error("cannot draw {}: {source}; this is a fault of the program, please report it", path.display())]
    Draw {
        /// The picture.
        path: PathBuf,
        /// What the plotter said.
        source: PictureError,
    },
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free space on that disk, or name a folder on another one"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "name a folder that you may write to"
        }
        io::ErrorKind::NotADirectory => "a part of the path is a file: name another folder",
        _ => "check that the path exists and its disk is in order",
    }
}

/// A results folder in the making, at `.<name>.partial` beside its place.
///
/// [`ResultsFolder::write`] moves it to its place; dropping it before that removes it.
#[derive(Debug)]
pub struct ResultsFolder {
    place: PathBuf,
    partial: PathBuf,
    /// Holds the lock that keeps another run away; none where folders cannot be locked.
    _lock: Option<File>,
}

impl ResultsFolder {
    /// Takes the place, before the work whose results it will hold. A leftover of a killed run is cleared away.
    ///
    /// # Errors
    /// If the place is taken or cannot be written to.
    pub fn create(place: impl AsRef<Path>) -> Result<ResultsFolder, ResultsError> {
        let place = place.as_ref().to_path_buf();
        check_free(&place)?;
        let mut name = OsString::from(".");
        name.push(place.file_name().ok_or_else(|| ResultsError::NoName(place.clone()))?);
        name.push(".partial");
        let partial = place.with_file_name(name);
        let refused = |source| ResultsError::Write { path: partial.clone(), source };
        if let Ok(leftover) = File::open(&partial) {
            match leftover.try_lock() {
                Err(fs::TryLockError::WouldBlock) => return Err(ResultsError::Busy(place)),
                Ok(()) | Err(fs::TryLockError::Error(_)) => fs::remove_dir_all(&partial).map_err(refused)?,
            }
        }
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).map_err(refused)?;
        }
        fs::create_dir(&partial).map_err(refused)?;
        let lock = File::open(&partial).ok().filter(|folder| folder.try_lock().is_ok());
        Ok(ResultsFolder { place, partial, _lock: lock })
    }

    /// Adds a file of the caller's making, for example a report.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add(&self, name: &str, content: &[u8]) -> Result<(), ResultsError> {
        self.file(name, |file| file.write_all(content).map_err(|source| self.refused(name, source)))
    }

    /// Writes all files and moves the folder to its place, which is returned.
    ///
    /// `scenario` is the text of the resolved scenario. The injector's log is there if it did anything, the children and where
    /// C_numa comes from if they were asked for.
    ///
    /// # Errors
    /// If anything cannot be written; nothing is left behind then.
    pub fn write(self, scenario: &str, results: &SweepResults) -> Result<PathBuf, ResultsError> {
        self.add("scenario.toml", scenario.as_bytes())?;
        let mut summary = serde_json::to_vec_pretty(&results.summary)
            .expect("a summary has string keys and finite numbers");
        summary.push(b'\n');
        self.add("summary.json", &summary)?;
        self.encode("parents.parquet", |file| columns::parents_parquet(results, file))?;
        self.encode("buckets.parquet", |file| columns::buckets_parquet(results, file))?;
        self.encode("metrics.parquet", |file| columns::metrics_parquet(results, file))?;
        self.encode("uplift.parquet", |file| columns::uplift_parquet(results, file))?;
        if !results.children.is_empty() {
            self.encode("children.parquet", |file| columns::children_parquet(results, file))?;
        }
        if !results.disturbances.is_empty() {
            let lines: String = results.disturbances.iter().map(|line| line.to_json() + "\n").collect();
            self.add("disturbances.jsonl", lines.as_bytes())?;
        }
        self.draw("is_cdf.svg", is_cdf(results))?;
        self.draw("timeline.svg", timeline(results))?;
        if let Some(picture) = c_numa_parts(results) {
            self.draw("c_numa.svg", picture)?;
        }
        self.publish()
    }

    /// Moves the folder to its place as it is, which is returned.
    ///
    /// # Errors
    /// If the place has been taken meanwhile.
    pub fn publish(self) -> Result<PathBuf, ResultsError> {
        let refused = |source| ResultsError::Write { path: self.place.clone(), source };
        check_free(&self.place)?;
        if self.place.exists() {
            // Only an empty folder can be removed; not every system renames over one.
            fs::remove_dir(&self.place).map_err(refused)?;
        }
        fs::rename(&self.partial, &self.place).map_err(refused)?;
        Ok(self.place.clone())
    }

    fn encode(
        &self,
        name: &str,
        encode: impl FnOnce(&mut File) -> Result<(), ParquetError>,
    ) -> Result<(), ResultsError> {
        self.file(name, |file| encode(file).map_err(|source| self.not_encoded(name, source)))
    }

    fn draw(&self, name: &str, picture: Result<String, PictureError>) -> Result<(), ResultsError> {
        let picture =
            picture.map_err(|source| ResultsError::Draw { path: self.partial.join(name), source })?;
        self.add(name, picture.as_bytes())
    }

    fn file(
        &self,
        name: &str,
        fill: impl FnOnce(&mut File) -> Result<(), ResultsError>,
    ) -> Result<(), ResultsError> {
        let mut file =
            File::create_new(self.partial.join(name)).map_err(|source| self.refused(name, source))?;
        fill(&mut file)?;
        // A full disk may show only here.
        file.sync_all().map_err(|source| self.refused(name, source))
    }

    fn refused(&self, name: &str, source: io::Error) -> ResultsError {
        ResultsError::Write { path: self.partial.join(name), source }
    }

    fn not_encoded(&self, name: &str, source: ParquetError) -> ResultsError {
        match source {
            ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                Ok(source) => self.refused(name, *source),
                Err(inner) => ResultsError::Encode {
                    path: self.partial.join(name),
                    source: ParquetError::External(inner),
                },
            },
            source => ResultsError::Encode { path: self.partial.join(name), source },
        }
    }
}

impl Drop for ResultsFolder {
    fn drop(&mut self) {
        // After publishing there is nothing here, and a failure to tidy up must not hide the first error.
        let _ = fs::remove_dir_all(&self.partial);
    }
}

fn check_free(place: &Path) -> Result<(), ResultsError> {
    match fs::read_dir(place) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(ResultsError::NotEmpty(place.to_path_buf())),
            None => Ok(()),
        },
        Err(_) if place.is_file() => Err(ResultsError::NotAFolder(place.to_path_buf())),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(ResultsError::Write { path: place.to_path_buf(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    /// A folder of this test's own under the system's temporary one, removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("numashock-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// What each folder has, and behind it what only children and parts of C_numa bring.
    const FILES: [&str; 10] = [
        "buckets.parquet",
        "is_cdf.svg",
        "metrics.parquet",
        "parents.parquet",
        "scenario.toml",
        "summary.json",
        "timeline.svg",
        "uplift.parquet",
        "c_numa.svg",
        "children.parquet",
    ];
    const ALWAYS: usize = 8;

    #[test]
    fn two_runs_write_the_same_bytes() {
        let scratch = Scratch::new("same");
        let results = sample::results(3, 25, 40);
        for name in ["first", "second"] {
            let place =
                ResultsFolder::create(scratch.0.join(name)).unwrap().write("x = 1\n", &results).unwrap();
            assert_eq!(place, scratch.0.join(name));
        }
        assert_eq!(scratch.names(), ["first", "second"]);
        for name in FILES {
            let [first, second] =
                ["first", "second"].map(|run| fs::read(scratch.0.join(run).join(name)).unwrap());
            assert!(!first.is_empty() && first == second, "{name}");
        }
        assert_eq!(fs::read_dir(scratch.0.join("first")).unwrap().count(), FILES.len());
    }

    #[test]
    fn an_empty_sweep_is_written_too() {
        let scratch = Scratch::new("empty");
        let place = scratch.0.join("results");
        fs::create_dir(&place).unwrap();
        ResultsFolder::create(&place).unwrap().write("", &sample::results(1, 0, 0)).unwrap();
        assert_eq!(fs::read_dir(&place).unwrap().count(), ALWAYS);
    }

    #[test]
    fn a_place_that_is_taken_is_refused() {
        let scratch = Scratch::new("taken");
        fs::write(scratch.0.join("file"), "x").unwrap();
        let error = ResultsFolder::create(&scratch.0).unwrap_err();
        assert!(matches!(&error, ResultsError::NotEmpty(path) if *path == scratch.0), "{error}");
        assert!(matches!(
            ResultsFolder::create(scratch.0.join("file")).unwrap_err(),
            ResultsError::NotAFolder(_)
        ));
        let error = ResultsFolder::create(scratch.0.join("file/below")).unwrap_err();
        assert!(matches!(error, ResultsError::Write { .. }), "{error}");
        assert!(error.to_string().contains("a part of the path is a file"), "{error}");
        assert!(matches!(ResultsFolder::create("/").unwrap_err(), ResultsError::NotEmpty(_)));
        assert!(matches!(ResultsFolder::create("").unwrap_err(), ResultsError::NoName(_)));
        assert_eq!(scratch.names(), ["file"]);
    }

    #[test]
    fn a_run_in_progress_keeps_others_away_and_a_dropped_one_leaves_nothing() {
        let scratch = Scratch::new("busy");
        let place = scratch.0.join("results");
        let folder = ResultsFolder::create(&place).unwrap();
        assert_eq!(scratch.names(), [".results.partial"]);
        assert!(matches!(ResultsFolder::create(&place).unwrap_err(), ResultsError::Busy(_)));
        drop(folder);
        assert_eq!(scratch.names(), [""; 0]);
    }

    #[test]
    fn the_leftover_of_a_killed_run_is_cleared_away() {
        let scratch = Scratch::new("leftover");
        let place = scratch.0.join("results");
        fs::create_dir(scratch.0.join(".results.partial")).unwrap();
        fs::write(scratch.0.join(".results.partial/summary.json"), "{").unwrap();
        ResultsFolder::create(&place).unwrap().write("", &sample::results(1, 1, 1)).unwrap();
        assert_eq!(scratch.names(), ["results"]);
    }

    #[test]
    fn a_failure_in_the_middle_leaves_nothing() {
        let scratch = Scratch::new("middle");
        let place = scratch.0.join("results");
        let folder = ResultsFolder::create(&place).unwrap();
        // The name of a later file is taken, as if its place could not be written.
        fs::create_dir(scratch.0.join(".results.partial/buckets.parquet")).unwrap();
        let error = folder.write("", &sample::results(1, 2, 2)).unwrap_err();
        assert!(error.to_string().contains("buckets.parquet"), "{error}");
        assert_eq!(scratch.names(), [""; 0]);
    }

    #[test]
    fn results_that_appear_meanwhile_are_not_overwritten() {
        let scratch = Scratch::new("meanwhile");
        let place = scratch.0.join("results");
        let folder = ResultsFolder::create(&place).unwrap();
        fs::create_dir(&place).unwrap();
        fs::write(place.join("summary.json"), "mine").unwrap();
        let error = folder.write("", &sample::results(1, 1, 1)).unwrap_err();
        assert!(matches!(error, ResultsError::NotEmpty(_)), "{error}");
        assert_eq!(fs::read_to_string(place.join("summary.json")).unwrap(), "mine");
        assert_eq!(scratch.names(), ["results"]);
    }
}
