//! How far the desk's clock is from the counters' clock: known from heartbeats, or guessed from bursts.

use numashock_sim::counters::{NAMES, Series};

use super::columns::{Row, What};

/// The width of the bins in which bursts are compared.
const BIN: i64 = 100_000_000;
/// Bins of the desk that are compared at most.
const BINS_MOST: i64 = 4_096;
/// With fewer bins than this in common nothing can be told.
const BINS_LEAST: usize = 200;
/// A correlation under this shows no offset.
const CORRELATION_LEAST: f64 = 0.5;
/// An offset is believed if it correlates by so much more than none.
const CORRELATION_MARGIN: f64 = 0.2;

/// How the offset of two clocks is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Known {
    /// Rows that give both clocks.
    Heartbeats {
        /// How many.
        count: usize,
        /// The largest offset less the smallest, nanoseconds.
        spread_ns: i64,
    },
    /// An estimate: slow decisions correlate best with bursts of faults at this offset.
    Bursts {
        /// The coefficient there.
        correlation: f64,
        /// The largest coefficient at an offset that would be let pass.
        otherwise: f64,
    },
    /// Nothing shows one: both files are taken to have the same clock.
    Assumed,
}

/// What is added to the desk's times to give the counters'.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offset {
    /// Nanoseconds.
    pub ns: i64,
    /// How it is known.
    pub known: Known,
}

/// The offset of one host's rows.
pub(super) fn offset(rows: &[Row], series: &Series, most: i64) -> Offset {
    let mut apart: Vec<i64> = rows
        .iter()
        .filter_map(|row| match row.what {
            What::Heartbeat { host_time_ns } => Some(host_time_ns.saturating_sub(row.at)),
            _ => None,
        })
        .collect();
    apart.sort_unstable();
    if let (Some(first), Some(last)) = (apart.first(), apart.last()) {
        let known = Known::Heartbeats { count: apart.len(), spread_ns: last.saturating_sub(*first) };
        return Offset { ns: apart[(apart.len() - 1) / 2], known };
    }
    bursts(rows, series, most).unwrap_or(Offset { ns: 0, known: Known::Assumed })
}

/// The offset at which slow decisions (or gaps between sends, where no decision has a length) follow bursts of faults.
///
/// An offset of a whole number of scan periods looks like none, which is why this is called an estimate and never applied.
fn bursts(rows: &[Row], series: &Series, most: i64) -> Option<Offset> {
    let width = BIN.max(series.spacing().div_euclid(BIN) * BIN);
    let bin = |at: i64| at.div_euclid(width);
    let readings = series.readings();
    let most_bins = |from: i64, until: i64| usize::try_from((until - from).min(2 * BINS_MOST)).unwrap_or(0);
    let (first, last) = (bin(rows.first()?.at), bin(rows.last()?.at).min(bin(rows.first()?.at) + BINS_MOST));
    let slow = slowness(rows, first, width, most_bins(first, last))?;
    let from = bin(readings[0].at).max(first - BINS_MOST / 2);
    let faults = bursts_of_faults(series, from, width, most_bins(from, bin(readings[readings.len() - 1].at)));
    let near = most.div_euclid(width);
    let inside_limit = |lag: i64| lag.abs() <= near.max(1);
    let reach = i64::try_from(faults.len() + slow.len()).expect("few bins");
    let correlations: Vec<(i64, Correlation)> = (-reach..=reach)
        .filter_map(|lag| Some((lag, correlation(&faults, &slow, lag + first - from)?)))
        .collect();
    let best_of = |inside: bool| {
        let some = correlations.iter().filter(|(lag, _)| inside_limit(*lag) == inside);
        some.copied().max_by(|(lag, one), (other_lag, other)| {
            one.coefficient.total_cmp(&other.coefficient).then(other_lag.abs().cmp(&lag.abs()))
        })
    };
    let otherwise = best_of(true)?;
    let enough = otherwise.1.coefficient + CORRELATION_MARGIN;
    let far = best_of(false).filter(|far| far.1.coefficient > enough);
    let (lag, best) = far.unwrap_or(otherwise);
    let deviations = best.coefficient * best.independent.max(0.0).sqrt();
    // The largest of so many draws of a normal distribution stays under this, but for one time in a thousand.
    let chance = (2.0 * libm::log(correlations.len() as f64 * 1_000.0)).sqrt();
    (best.coefficient >= CORRELATION_LEAST && deviations >= chance).then(|| {
        let known = Known::Bursts { correlation: best.coefficient, otherwise: otherwise.1.coefficient };
        // Bins that are wider than the limit cannot tell one bin from none.
        let lag = if near == 0 && lag.abs() <= 1 { 0 } else { lag };
        Offset { ns: lag * width, known }
    })
}

/// How much the faults and migrations of each bin grew, as a logarithm; growth counts where most of its time lies.
fn bursts_of_faults(series: &Series, first: i64, width: i64, bins: usize) -> Vec<f64> {
    let counters = ["numa_hint_faults", "numa_pages_migrated"]
        .map(|name| NAMES.iter().position(|known| *known == name).expect("a counter"));
    let mut grown = vec![0.0f64; bins];
    for (place, pair) in series.readings().windows(2).enumerate() {
        let middle = pair[0].at + (pair[1].at - pair[0].at) / 2;
        let bin = usize::try_from(middle.div_euclid(width) - first).ok();
        if let Some(bin) = bin.and_then(|bin| grown.get_mut(bin)) {
            let values = counters.map(|counter| series.growth(place, place + 1, counter).unwrap_or(0) as f64);
            *bin += values[0] + values[1];
        }
    }
    grown.iter().map(|count| libm::log1p(*count)).collect()
}

/// The longest decision, or gap between sends, that ended in each bin.
fn slowness(rows: &[Row], first: i64, width: i64, bins: usize) -> Option<Vec<f64>> {
    let mut slow = vec![0.0f64; bins];
    let timed = rows.iter().any(|row| matches!(row.what, What::Decision { latency_ns: Some(_), .. }));
    let mut before: Option<i64> = None;
    let mut any = false;
    for row in rows {
        let length = match row.what {
            What::Decision { latency_ns, .. } if timed => latency_ns,
            What::Send if !timed => before.replace(row.at).map(|before| row.at.abs_diff(before)),
            _ => None,
        };
        let bin = usize::try_from(row.at.div_euclid(width).saturating_sub(first)).ok();
        if let (Some(length), Some(bin)) = (length, bin.filter(|bin| *bin < bins)) {
            slow[bin] = slow[bin].max(libm::log1p(length as f64));
            any = true;
        }
    }
    any.then_some(slow)
}

/// A coefficient, and how many independent pairs it is worth.
#[derive(Clone, Copy)]
struct Correlation {
    coefficient: f64,
    independent: f64,
}

/// Pearson's coefficient of `faults[i + lag]` and `slow[i]`: the desk's time plus the lag is the counters'.
fn correlation(faults: &[f64], slow: &[f64], lag: i64) -> Option<Correlation> {
    let skip = usize::try_from(-lag).unwrap_or(0);
    let left = faults.get(usize::try_from(lag).unwrap_or(0)..)?;
    let right = slow.get(skip..)?;
    let count = left.len().min(right.len());
    if count < BINS_LEAST {
        return None;
    }
    let (left, right) = (Centred::of(&left[..count]), Centred::of(&right[..count]));
    let spread = left.squares * right.squares;
    let both: f64 = left.values.iter().zip(&right.values).map(|(left, right)| left * right).sum();
    // Neighbours that resemble each other, and bursts that are few, say less than as many bins drawn one by one.
    let alike = (left.neighbours() * right.neighbours()).clamp(0.0, 0.99);
    let rare = 4 * left.above().min(right.above());
    let independent = (count as f64 * (1.0 - alike) / (1.0 + alike)).min(rare as f64);
    (spread > 0.0).then(|| Correlation { coefficient: both / spread.sqrt(), independent })
}

/// Values less their mean, and the sum of their squares.
struct Centred {
    values: Vec<f64>,
    squares: f64,
}

impl Centred {
    fn of(values: &[f64]) -> Centred {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let values: Vec<f64> = values.iter().map(|value| value - mean).collect();
        let squares = values.iter().map(|value| value * value).sum();
        Centred { values, squares }
    }

    /// The correlation of each value with the next.
    fn neighbours(&self) -> f64 {
        let sum: f64 = self.values.windows(2).map(|pair| pair[0] * pair[1]).sum();
        if self.squares > 0.0 { sum / self.squares } else { 0.0 }
    }

    fn above(&self) -> usize {
        self.values.iter().filter(|value| **value > 0.0).count()
    }
}
