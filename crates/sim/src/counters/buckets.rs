//! Growth per bucket of one or five seconds.
//!
//! A bucket takes the growth between the readings nearest to its two ends. Counters are integers that somebody read, so
//! nothing is divided: each bucket begins with the reading that the one before ended with, and growth is neither lost nor
//! counted twice. A bucket without a reading near both of its ends is missing.

use super::{NAMES, Series};

/// How far from the end of a bucket its reading may lie: parts per million of the bucket's length, at most half of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slack(pub u32);

impl Slack {
    /// A tenth.
    pub const DEFAULT: Slack = Slack(100_000);
    /// A half: in a second, the nearest reading wherever it lies.
    pub const MOST: Slack = Slack(500_000);

    /// However long the bucket, no reading may lie further away than this, nanoseconds.
    pub const CAP: i64 = 500_000_000;

    /// Nanoseconds for buckets of this length.
    #[must_use]
    pub fn of(self, length: i64) -> i64 {
        let ppm = i128::from(self.0.min(Self::MOST.0));
        let share = i64::try_from(i128::from(length) * ppm / 1_000_000).expect("less than the length");
        share.min(Self::CAP)
    }
}

/// What the counters grew by over a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterBucket {
    /// Its beginning: a multiple of its length.
    pub start: i64,
    /// Times of the readings at its ends, where there are both.
    pub readings: Option<[i64; 2]>,
    /// The growth of each of [`NAMES`]; `None` where it is missing, or the counter fell.
    pub grown: [Option<u64>; NAMES.len()],
}

impl CounterBucket {
    /// The growth of a counter by its name.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<u64> {
        self.grown[NAMES.iter().position(|known| *known == name)?]
    }

    fn missing(start: i64) -> CounterBucket {
        CounterBucket { start, readings: None, grown: [None; NAMES.len()] }
    }
}

impl Series {
    /// Every whole bucket of `length` nanoseconds between the first reading and the last.
    ///
    /// # Panics
    /// If the length is not positive.
    #[must_use]
    pub fn buckets(&self, length: i64, slack: Slack) -> Vec<CounterBucket> {
        assert!(length > 0, "a bucket has a length");
        let slack = slack.of(length);
        let readings = self.readings();
        let (first, last) = (readings[0].at, readings[readings.len() - 1].at);
        let from = (first - slack).div_euclid(length) + i64::from((first - slack).rem_euclid(length) != 0);
        let until = (last + slack).div_euclid(length);
        (from..until)
            .map(|number| {
                let start = number * length;
                let ends = [start, start + length].map(|at| self.nearest(at, slack));
                let [Some(begin), Some(end)] = ends else { return CounterBucket::missing(start) };
                let grown = |counter| self.growth(begin, end, counter);
                CounterBucket {
                    start,
                    readings: Some([readings[begin].at, readings[end].at]),
                    grown: std::array::from_fn(grown),
                }
            })
            .collect()
    }

    /// The reading nearest to `at`, of two the earlier, if it lies within `slack`.
    fn nearest(&self, at: i64, slack: i64) -> Option<usize> {
        let readings = self.readings();
        let after = readings.partition_point(|reading| reading.at < at);
        let candidates = [after.checked_sub(1), Some(after)];
        let distance = |place: &usize| readings[*place].at.abs_diff(at);
        let inside = candidates.into_iter().flatten().filter(|place| *place < readings.len());
        inside.min_by_key(distance).filter(|place| distance(place) <= slack.unsigned_abs())
    }
}
