//! The arguments of the recorded workload: how they are read, and which there are.

use super::trace::Run;
use super::workload::{Result, bad, not_modelled};

/// Arguments that shape the machine.
const MODELLED: [&str; 32] = [
    "alloc_half",
    "alloc_node",
    "aux_bind",
    "ballast_mb",
    "ballast_node",
    "cpus",
    "file",
    "hot_pages_pct",
    "hot_touch_pct",
    "idle_threads",
    "map",
    "mode",
    "move_cpus",
    "move_ms",
    "pattern",
    "pause",
    "period_ms",
    "phase_pages",
    "place_every_ms",
    "policy",
    "rate",
    "sampler_cpu",
    "secs",
    "seed",
    "setup_cpu",
    "size_mb",
    "slice",
    "sleep_us",
    "spin",
    "start_jitter_us",
    "thp",
    "write",
];
/// Arguments that change what is recorded and not what happens: CPU numbers of threads, stored cpupids after the end, mappings,
/// and `/proc/PID/sched` before and after.
const RECORDING_ONLY: [&str; 4] = ["cpu_sample", "cpupids", "maps", "sched_text"];
/// Settings that a run can change; what they were is read from `sysctls`.
const SETTINGS: [&str; 5] =
    ["NB", "scan_delay_ms", "scan_period_max_ms", "scan_period_min_ms", "scan_size_mb"];
/// As many threads as the workload starts; further CPUs of its list are not read.
pub(super) const MOST_THREADS: usize = 4;
const MOST_MOVE_CPUS: usize = 16;

/// Refuses what the manifest names that this model does not know: it could make the workload another one.
pub(super) fn check_known(run: &Run) -> Result<()> {
    let known = |key: &&str| MODELLED.contains(key) || RECORDING_ONLY.contains(key);
    if let Some(key) = run.spec.args.keys().find(|key| !known(&key.as_str())) {
        return not_modelled(format!("spec.args.{key}={}", Args(run).text(key, "")));
    }
    if let Some((key, value)) = run.spec.env.iter().find(|(key, _)| !SETTINGS.contains(&key.as_str())) {
        return not_modelled(format!("spec.env.{key}={value}"));
    }
    Ok(())
}

/// What a reader of the result should know.
pub(super) fn warnings(run: &Run) -> Vec<String> {
    let mut warnings = Vec::new();
    if run.sysctls.get("zone_reclaim_mode").is_some_and(|mode| mode != "0") {
        warnings.push("sysctls.zone_reclaim_mode is not 0: reclaim is not modelled".to_owned());
    }
    warnings
}

/// The arguments of a run, with the workload's defaults.
pub(super) struct Args<'a>(pub(super) &'a Run);

impl Args<'_> {
    pub(super) fn text(&self, key: &str, default: &str) -> String {
        match self.0.spec.args.get(key) {
            None => default.to_owned(),
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    pub(super) fn number(&self, key: &str, default: i64) -> Result<i64> {
        let text = self.text(key, &default.to_string());
        let parsed = match text.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        parsed.map_err(|_| bad(&format!("spec.args.{key}"), &text, "a whole number"))
    }

    /// A number inside a range.
    pub(super) fn within(
        &self,
        key: &str,
        default: i64,
        range: core::ops::RangeInclusive<u64>,
    ) -> Result<u64> {
        let value = self.number(key, default)?;
        u64::try_from(value).ok().filter(|value| range.contains(value)).ok_or_else(|| {
            let expected = format!("a whole number from {} to {}", range.start(), range.end());
            bad(&format!("spec.args.{key}"), &value.to_string(), &expected)
        })
    }

    /// A switch: anything but zero is on.
    pub(super) fn on(&self, key: &str, default: i64) -> Result<bool> {
        Ok(self.number(key, default)? != 0)
    }

    fn list(&self, key: &str, default: &str, most: usize) -> Result<Vec<i64>> {
        let text = self.text(key, default);
        text.split(',')
            .take(most)
            .map(|part| part.trim().parse())
            .collect::<core::result::Result<_, _>>()
            .map_err(|_| bad(&format!("spec.args.{key}"), &text, "numbers separated by commas"))
    }

    /// The CPU of each thread; -1: not pinned.
    pub(super) fn cpus(&self) -> Result<Vec<i64>> {
        let cpus = self.list("cpus", "2", MOST_THREADS)?;
        for cpu in cpus.iter().filter(|cpu| **cpu != -1) {
            self.known_cpu("cpus", *cpu)?;
        }
        Ok(cpus)
    }

    /// Where `move_ms` moves a thread, round and round.
    pub(super) fn move_cpus(&self) -> Result<Vec<i64>> {
        let cpus = self.list("move_cpus", "2,0", MOST_MOVE_CPUS)?;
        for cpu in &cpus {
            self.known_cpu("move_cpus", *cpu)?;
        }
        Ok(cpus)
    }

    /// A single CPU that a node must have.
    pub(super) fn cpu(&self, key: &str, default: i64) -> Result<i64> {
        let cpu = self.number(key, default)?;
        self.known_cpu(key, cpu)?;
        Ok(cpu)
    }

    fn known_cpu(&self, key: &str, cpu: i64) -> Result<()> {
        let lists: Vec<&str> = self.0.nodes.values().map(|node| node.cpus.as_str()).collect();
        let known = lists.iter().flat_map(|list| list.split(',')).any(|part| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            match (from.trim().parse::<i64>(), to.trim().parse::<i64>()) {
                (Ok(from), Ok(to)) => (from..=to).contains(&cpu),
                _ => false,
            }
        });
        if known {
            return Ok(());
        }
        let expected = format!("CPUs that a node has: {}", lists.join(","));
        Err(bad(&format!("spec.args.{key}"), &self.text(key, &cpu.to_string()), &expected))
    }

    pub(super) fn one_of(&self, key: &str, default: &str, allowed: &[&str]) -> Result<String> {
        let text = self.text(key, default);
        if allowed.contains(&text.as_str()) {
            return Ok(text);
        }
        not_modelled(format!("spec.args.{key}={text}; there are {}", allowed.join(", ")))
    }
}
