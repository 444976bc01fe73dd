//! Counting without keeping: lengths by class and by quantile in memory that does not grow with time.

/// Sub-buckets of an octave: quantiles are known to 1/64.
const FINE: u32 = 6;

/// Lengths in nanoseconds, to a quantile; count, sum and maximum are exact.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lengths {
    buckets: Vec<u64>,
    pub(crate) count: u64,
    pub(crate) total: u64,
    pub(crate) max: u64,
}

impl Lengths {
    pub(crate) fn add(&mut self, length: u64) {
        let bucket = bucket(length);
        if bucket >= self.buckets.len() {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        self.total += length;
        self.max = self.max.max(length);
    }

    /// The longest length of the bucket in which the quantile lies, and at most the maximum; 0 of nothing.
    pub(crate) fn quantile(&self, percent: u64) -> u64 {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return longest(index).min(self.max);
            }
        }
        self.max
    }

    pub(crate) fn mean(&self) -> u64 {
        self.total.checked_div(self.count).unwrap_or(0)
    }
}

/// Below 64 one bucket a value, then 64 buckets an octave.
fn bucket(length: u64) -> usize {
    let shift = (64 - length.leading_zeros()).saturating_sub(FINE + 1);
    ((u64::from(shift) << FINE) + (length >> shift)) as usize
}

fn longest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 1 << (FINE + 1) {
        return bucket;
    }
    let shift = (bucket >> FINE) - 1;
    let first = ((bucket & ((1 << FINE) - 1)) | 1 << FINE) << shift;
    first + ((1 << shift) - 1)
}

/// Lengths between edges, exactly.
#[derive(Clone, Debug)]
pub(crate) struct Classes {
    edges: Vec<u64>,
    counts: Vec<u64>,
}

impl Classes {
    /// Classes between these edges; what is shorter or longer than all of them is counted too.
    pub(crate) fn new(mut edges: Vec<u64>) -> Classes {
        edges.sort_unstable();
        edges.dedup();
        Classes { counts: vec![0; edges.len() + 1], edges }
    }

    pub(crate) fn add(&mut self, length: u64) {
        self.counts[self.edges.partition_point(|edge| *edge <= length)] += 1;
    }

    /// How many lengths lie in `from..to`, which are edges, 0 or `u64::MAX`.
    pub(crate) fn between(&self, from: u64, to: u64) -> u64 {
        let place = |at: u64| self.edges.partition_point(|edge| *edge <= at);
        let (from, to) = (place(from), if to == u64::MAX { self.counts.len() } else { place(to) });
        self.counts[from..to].iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The naive twin: a sorted vector.
    #[test]
    fn quantiles_are_those_of_a_sorted_list_to_a_64th() {
        let mut lengths = Lengths::default();
        let mut list: Vec<u64> = (0..5_000u64).map(|k| k * k * 37 % 9_000_011).collect();
        list.iter().for_each(|length| lengths.add(*length));
        list.sort_unstable();
        for percent in [1, 10, 50, 90, 99, 100] {
            let exact = list[(list.len() as u64 * percent).div_ceil(100) as usize - 1];
            let found = lengths.quantile(percent);
            assert!(exact <= found && found <= exact + exact / 64, "{percent}: {found} for {exact}");
        }
        assert_eq!((lengths.count, lengths.max, lengths.total), (5_000, list[4_999], list.iter().sum()));
        assert_eq!(lengths.mean(), list.iter().sum::<u64>() / 5_000);
        assert_eq!((Lengths::default().quantile(50), Lengths::default().mean()), (0, 0));
    }

    #[test]
    fn buckets_follow_each_other_without_gaps() {
        let mut last = 0;
        for length in (0..100_000).chain([1 << 40, u64::MAX]) {
            let found = bucket(length);
            assert!(length > 100_000 || found == last || found == last + 1, "{length}");
            assert!(longest(found) >= length && (found == 0 || longest(found - 1) < length), "{length}");
            last = found;
        }
    }

    #[test]
    fn classes_hold_their_lower_edge() {
        let mut classes = Classes::new(vec![20, 10, 20]);
        [0, 9, 10, 19, 20, 500].into_iter().for_each(|length| classes.add(length));
        assert_eq!(classes.between(10, 20), 2);
        assert_eq!(classes.between(0, 10), 2);
        assert_eq!(classes.between(20, u64::MAX), 2);
        assert_eq!(classes.between(0, u64::MAX), 6);
    }
}
