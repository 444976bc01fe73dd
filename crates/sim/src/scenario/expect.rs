//! `[expect]`: what a host scenario is measured against, as data.

use numashock_machine::{MachineConfig, NodeId, RegionId};
use serde::Deserialize;

use super::document::ScenarioError;
use super::lower::Origin;
use super::units::{Rate, Share, Time};

/// `[expect]`: inclusive ranges `[least, most]`; what is not given is not judged.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectTable {
    /// Scan passes of the process.
    pub passes_per_second: Option<[Rate; 2]>,
    /// Scan passes on the CPU that has the most.
    pub passes_per_second_on_a_cpu: Option<[Rate; 2]>,
    /// From the beginning of each pass to that of the next.
    pub pass_interval: Option<[Time; 2]>,
    /// Mean of that.
    pub pass_interval_mean: Option<[Time; 2]>,
    /// 4 KiB pages that the pass with the most marked.
    pub pages_in_a_full_pass: Option<[u64; 2]>,
    /// 4 KiB pages marked by a pass in the mean.
    pub pages_in_a_pass_mean: Option<[u64; 2]>,
    /// Mean length of a pass.
    pub pass_mean: Option<[Time; 2]>,
    /// Passes' share of the wall clock.
    pub pass_time: Option<[Share; 2]>,
    /// Shares of passes by length.
    #[serde(default)]
    pub pass_lengths: Vec<LengthTable>,
    /// Stalls by length, as a benchmark of memory accesses counts its outliers.
    #[serde(default)]
    pub outliers: Vec<OutlierTable>,
    /// Threads interrupted by each pass that marked something.
    pub interrupts_of_a_pass: Option<[u64; 2]>,
    /// Pages marked.
    pub pte_updates_per_second: Option<[Rate; 2]>,
    /// Hinting faults.
    pub hint_faults_per_second: Option<[Rate; 2]>,
    /// Share of them that was local.
    pub hint_faults_local: Option<[Share; 2]>,
    /// 4 KiB pages migrated.
    pub pages_migrated_per_second: Option<[Rate; 2]>,
    /// Scan periods of the threads that took faults, at the end.
    pub scan_period: Option<[Time; 2]>,
    /// Where regions lie at the end.
    #[serde(default)]
    pub placement: Vec<PlacementTable>,
}

/// One entry of `pass_lengths`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthTable {
    /// Shortest length that counts.
    pub from: Time,
    /// First length that does not; without it there is none.
    pub to: Option<Time>,
    /// Share of all passes.
    pub share: [Share; 2],
}

/// One entry of `outliers`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutlierTable {
    /// Shortest stall that counts.
    pub from: Time,
    /// First length that does not; without it there is none.
    pub to: Option<Time>,
    /// How often.
    pub rate: [Rate; 2],
}

/// One entry of `placement`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacementTable {
    /// Which region.
    pub region: String,
    /// Which node.
    pub node: u8,
    /// Share of the region's pages there.
    pub share: [Share; 2],
}

/// What a target looks at. Values are integers in the unit that [`unit`](Self::unit) names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Passes of the process a second.
    Passes,
    /// Passes a second on the CPU that has the most.
    PassesOnACpu,
    /// Shortest and longest time between the beginnings of passes.
    PassInterval,
    /// Its mean.
    PassIntervalMean,
    /// Most pages that a pass marked.
    FullPassPages,
    /// Pages marked by a pass in the mean.
    MeanPassPages,
    /// Mean length of a pass.
    PassMean,
    /// Passes' share of the wall clock.
    PassTime,
    /// Share of passes of `from..to` nanoseconds.
    PassLengths {
        /// The shortest.
        from: u64,
        /// The first that is too long.
        to: u64,
    },
    /// Stalls of `from..to` nanoseconds a second.
    Outliers {
        /// The shortest.
        from: u64,
        /// The first that is too long.
        to: u64,
    },
    /// Fewest and most threads interrupted by a pass that marked something.
    Interrupts,
    /// Pages marked a second.
    PteUpdates,
    /// Hinting faults a second.
    HintFaults,
    /// Share of them that was local.
    HintFaultsLocal,
    /// Pages migrated a second.
    PagesMigrated,
    /// Shortest and longest scan period at the end among threads that took faults.
    ScanPeriod,
    /// Share of a region's pages on a node at the end.
    Placement {
        /// The region.
        region: RegionId,
        /// The node.
        node: NodeId,
    },
}

/// In what a measure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Events in 10⁹ seconds.
    Rate,
    /// Nanoseconds.
    Time,
    /// Parts per million.
    Share,
    /// A plain number.
    Count,
}

impl Measure {
    /// In what it counts.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Measure::Passes
            | Measure::PassesOnACpu
            | Measure::Outliers { .. }
            | Measure::PteUpdates
            | Measure::HintFaults
            | Measure::PagesMigrated => Unit::Rate,
            Measure::PassInterval | Measure::PassIntervalMean | Measure::PassMean | Measure::ScanPeriod => {
                Unit::Time
            }
            Measure::PassTime
            | Measure::PassLengths { .. }
            | Measure::HintFaultsLocal
            | Measure::Placement { .. } => Unit::Share,
            Measure::FullPassPages | Measure::MeanPassPages | Measure::Interrupts => Unit::Count,
        }
    }
}

/// A measure and the inclusive range it shall lie in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its key below `expect`.
    pub key: String,
    /// What is looked at.
    pub measure: Measure,
    /// The least that is right.
    pub least: u64,
    /// The most that is right.
    pub most: u64,
}

/// Lowers the targets of a machine; `key` is where the table stands.
pub(super) fn targets(
    table: &ExpectTable,
    machine: &MachineConfig,
    key: &str,
    origin: Origin<'_>,
) -> Result<Vec<Target>, ScenarioError> {
    let mut all = plain(table);
    for (index, length) in table.pass_lengths.iter().enumerate() {
        let (from, to) = (length.from.0, length.to.map_or(u64::MAX, |to| to.0));
        let measure = Measure::PassLengths { from, to };
        all.push(target(format!("pass_lengths[{index}]"), measure, length.share.map(|share| share.0)));
    }
    for (index, outlier) in table.outliers.iter().enumerate() {
        let (from, to) = (outlier.from.0, outlier.to.map_or(u64::MAX, |to| to.0));
        let measure = Measure::Outliers { from, to };
        all.push(target(format!("outliers[{index}]"), measure, outlier.rate.map(|rate| rate.0)));
    }
    for (index, placed) in table.placement.iter().enumerate() {
        let place = format!("placement[{index}]");
        let region = machine.regions.iter().position(|region| region.name == placed.region);
        let Some(region) = region.and_then(|region| u16::try_from(region).ok()) else {
            let names: Vec<&str> = machine.regions.iter().map(|region| region.name.as_str()).collect();
            let problem = format!("no region \"{}\": one of {}", placed.region, names.join(" "));
            return Err(origin.document.error(&format!("{key}.{place}.region"), problem));
        };
        let nodes = machine.topology.nodes.len();
        if usize::from(placed.node) >= nodes {
            let problem =
                format!("node {} does not exist: the machine has nodes 0 to {}", placed.node, nodes - 1);
            return Err(origin.document.error(&format!("{key}.{place}.node"), problem));
        }
        let measure = Measure::Placement { region: RegionId(region), node: NodeId(placed.node) };
        all.push(target(place, measure, placed.share.map(|share| share.0)));
    }
    for target in &all {
        let place = format!("{key}.{}", target.key);
        if let Measure::PassLengths { from, to } | Measure::Outliers { from, to } = target.measure {
            if from >= to {
                return Err(origin.document.error(&place, "`from` must be shorter than `to`"));
            }
        }
        if target.least > target.most {
            return Err(origin.document.error(&place, "expected [least, most] with least ≤ most"));
        }
    }
    Ok(all)
}

fn target(key: String, measure: Measure, range: [u64; 2]) -> Target {
    Target { key, measure, least: range[0], most: range[1] }
}

/// The targets that are one range each.
fn plain(table: &ExpectTable) -> Vec<Target> {
    let rate = |range: Option<[Rate; 2]>| range.map(|range| range.map(|rate| rate.0));
    let time = |range: Option<[Time; 2]>| range.map(|range| range.map(|time| time.0));
    let share = |range: Option<[Share; 2]>| range.map(|range| range.map(|share| share.0));
    let all = [
        ("passes_per_second", Measure::Passes, rate(table.passes_per_second)),
        ("passes_per_second_on_a_cpu", Measure::PassesOnACpu, rate(table.passes_per_second_on_a_cpu)),
        ("pass_interval", Measure::PassInterval, time(table.pass_interval)),
        ("pass_interval_mean", Measure::PassIntervalMean, time(table.pass_interval_mean)),
        ("pages_in_a_full_pass", Measure::FullPassPages, table.pages_in_a_full_pass),
        ("pages_in_a_pass_mean", Measure::MeanPassPages, table.pages_in_a_pass_mean),
        ("pass_mean", Measure::PassMean, time(table.pass_mean)),
        ("pass_time", Measure::PassTime, share(table.pass_time)),
        ("interrupts_of_a_pass", Measure::Interrupts, table.interrupts_of_a_pass),
        ("pte_updates_per_second", Measure::PteUpdates, rate(table.pte_updates_per_second)),
        ("hint_faults_per_second", Measure::HintFaults, rate(table.hint_faults_per_second)),
        ("hint_faults_local", Measure::HintFaultsLocal, share(table.hint_faults_local)),
        ("pages_migrated_per_second", Measure::PagesMigrated, rate(table.pages_migrated_per_second)),
        ("scan_period", Measure::ScanPeriod, time(table.scan_period)),
    ];
    let given = all.into_iter().filter_map(|(key, measure, range)| Some((key, measure, range?)));
    given.map(|(key, measure, range)| target(key.to_owned(), measure, range)).collect()
}
