//! How far the desk's clock is from the counters' clock: known from heartbeats, or guessed from bursts.

use numashock_sim::counters::{Series, Slack};

use super::columns::{Row, What};

/// The width of the bins in which bursts are compared.
const BIN: i64 = 100_000_000;
/// Bins on either side within which another offset is looked for, at least.
const LAGS_LEAST: i64 = 20;
/// With fewer bins than this in common nothing can be told.
const BINS_LEAST: usize = 50;
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
    let buckets = series.buckets(width, Slack::MOST);
    let first = buckets.first()?.start.div_euclid(width);
    let value = |count: Option<u64>| count.unwrap_or(0) as f64;
    let faults: Vec<f64> = buckets
        .iter()
        .map(|bucket| {
            libm::log1p(value(bucket.of("numa_hint_faults")) + value(bucket.of("numa_pages_migrated")))
        })
        .collect();
    let slow = slowness(rows, first, width, faults.len())?;
    let near = most.div_euclid(width);
    let lags = LAGS_LEAST.max(near.saturating_mul(2)).min(faults.len() as i64 / 2);
    let correlations: Vec<(i64, f64)> =
        (-lags..=lags).filter_map(|lag| Some((lag, correlation(&faults, &slow, lag)?))).collect();
    let best_of = |inside: bool| {
        let some = correlations.iter().filter(|(lag, _)| (lag.abs() <= near.max(1)) == inside);
        some.copied().max_by(|one, other| one.1.total_cmp(&other.1).then(other.0.abs().cmp(&one.0.abs())))
    };
    let otherwise = best_of(true)?;
    let far = best_of(false).filter(|far| far.1 > otherwise.1 + CORRELATION_MARGIN);
    let (lag, correlation) = far.unwrap_or(otherwise);
    (correlation >= CORRELATION_LEAST).then(|| {
        let known = Known::Bursts { correlation, otherwise: otherwise.1 };
        Offset { ns: lag * width, known }
    })
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

/// Pearson's coefficient of `faults[i + lag]` and `slow[i]`: the desk's time plus the lag is the counters'.
fn correlation(faults: &[f64], slow: &[f64], lag: i64) -> Option<f64> {
    let pairs: Vec<(f64, f64)> = (0i64..)
        .zip(slow)
        .filter_map(|(bin, slow)| {
            let place = usize::try_from(bin + lag).ok()?;
            faults.get(place).map(|faults| (*faults, *slow))
        })
        .collect();
    if pairs.len() < BINS_LEAST {
        return None;
    }
    let count = pairs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / count;
    let (left, right) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let sum = |of: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>();
    let both = sum(&|pair| (pair.0 - left) * (pair.1 - right));
    let squares = |of: &dyn Fn(&(f64, f64)) -> f64| sum(&|pair| of(pair) * of(pair));
    let spread = squares(&|pair| pair.0 - left) * squares(&|pair| pair.1 - right);
    (spread > 0.0).then(|| both / spread.sqrt())
}
