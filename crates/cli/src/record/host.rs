//! A Linux host as a folder of text files.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::text;

/// Where the knobs of the scan are, newest place first: debugfs since 5.13, sysctls before (spec: 4.1).
const SCAN_KNOBS: [&str; 5] =
    ["scan_delay_ms", "scan_period_min_ms", "scan_period_max_ms", "scan_size_mb", "hot_threshold_ms"];
const DEBUGFS: &str = "/sys/kernel/debug/sched/numa_balancing";

/// The files of a host, below a root that is `/` except in tests.
pub(super) struct Host {
    root: PathBuf,
}

/// A file of the host that gives nothing.
#[derive(Debug)]
pub(super) struct Unreadable {
    /// Its path on the host.
    pub(super) path: String,
    error: io::Error,
}

/// What the host is, apart from what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Description {
    /// As `uname -srv` prints it; `None` where it is not told.
    pub(super) kernel: Option<String>,
    /// Online nodes by number; empty where the kernel tells of none.
    pub(super) nodes: Vec<Node>,
    /// Knobs that could be read, by name.
    pub(super) knobs: Vec<(String, String)>,
    /// Knobs that could not, each with the reason and what would help.
    pub(super) unread: Vec<(String, String)>,
    /// Ticks a second, where the build configuration lies beside the kernel.
    pub(super) hz: Option<u32>,
}

/// One memory node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) id: u32,
    pub(super) cpus: Option<String>,
    pub(super) distance: Option<String>,
    pub(super) total_kb: Option<u64>,
    pub(super) free_kb: Option<u64>,
}

impl Unreadable {
    /// Whether the file is not there, or what it told of has ended while it was read.
    pub(super) fn is_gone(&self) -> bool {
        const ESRCH: i32 = 3;
        self.error.kind() == io::ErrorKind::NotFound || self.error.raw_os_error() == Some(ESRCH)
    }

    /// Whether another user could read it.
    pub(super) fn is_denied(&self) -> bool {
        self.error.kind() == io::ErrorKind::PermissionDenied
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: cannot be read: {}", self.path, self.error)
    }
}

impl Host {
    pub(super) fn at(root: PathBuf) -> Host {
        Host { root }
    }

    /// Reads a file by its absolute path on the host. Bytes that are no UTF-8 stand in names only and are replaced.
    pub(super) fn read(&self, path: &str) -> Result<String, Unreadable> {
        std::fs::read(self.place(path))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .map_err(|error| Unreadable { path: path.to_owned(), error })
    }

    /// Names of what a folder holds, sorted.
    pub(super) fn names(&self, path: &str) -> Result<Vec<String>, Unreadable> {
        let unreadable = |error| Unreadable { path: path.to_owned(), error };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.place(path)).map_err(unreadable)? {
            names.push(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Reads what stays as it is. Nothing of it is needed, so nothing of it can fail.
    pub(super) fn describe(&self) -> Description {
        let word =
            |name: &str| self.line(&format!("/proc/sys/kernel/{name}")).ok().filter(|word| !word.is_empty());
        let release = word("osrelease");
        let kernel = match (word("ostype"), &release, word("version")) {
            (Some(system), Some(release), Some(version)) => Some(format!("{system} {release} {version}")),
            _ => release.clone(),
        };
        let hz = release
            .and_then(|release| self.read(&format!("/boot/config-{release}")).ok())
            .and_then(|config| text::tick_rate(&config));
        let mut description =
            Description { kernel, nodes: self.nodes(), knobs: Vec::new(), unread: Vec::new(), hz };
        self.read_knobs(&mut description);
        description
    }

    fn place(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn line(&self, path: &str) -> Result<String, Unreadable> {
        self.read(path).map(|text| text.trim().to_owned())
    }

    fn nodes(&self) -> Vec<Node> {
        let folder = "/sys/devices/system/node";
        let online = self.read(&format!("{folder}/online")).ok().and_then(|list| text::id_list(&list));
        let node = |id| {
            let file = |name: &str| self.line(&format!("{folder}/node{id}/{name}")).ok();
            let memory = file("meminfo").unwrap_or_default();
            Node {
                id,
                cpus: file("cpulist"),
                distance: file("distance").map(|line| line.split_whitespace().collect::<Vec<_>>().join(",")),
                total_kb: text::node_kilobytes(&memory, "MemTotal"),
                free_kb: text::node_kilobytes(&memory, "MemFree"),
            }
        };
        online.unwrap_or_default().into_iter().map(node).collect()
    }

    fn read_knobs(&self, description: &mut Description) {
        let mut note = |name: &str, read: Result<String, Unreadable>| match read {
            Ok(value) => description.knobs.push((name.to_owned(), value)),
            Err(why) => description.unread.push((name.to_owned(), explain(name, &why))),
        };
        note("numa_balancing", self.line("/proc/sys/kernel/numa_balancing"));
        note("zone_reclaim_mode", self.line("/proc/sys/vm/zone_reclaim_mode"));
        note("thp", self.line("/sys/kernel/mm/transparent_hugepage/enabled"));
        for knob in SCAN_KNOBS {
            let older = || self.line(&format!("/proc/sys/kernel/numa_balancing_{knob}"));
            let newer = self.line(&format!("{DEBUGFS}/{knob}"));
            note(knob, newer.or_else(|why| older().map_err(|_| why)));
        }
    }
}

fn explain(knob: &str, why: &Unreadable) -> String {
    let remedy = if why.is_denied() {
        "; run as root"
    } else if SCAN_KNOBS.contains(&knob) {
        "; mount debugfs (mount -t debugfs none /sys/kernel/debug), or the kernel has no such knob"
    } else {
        ""
    };
    format!("{why}{remedy}")
}
