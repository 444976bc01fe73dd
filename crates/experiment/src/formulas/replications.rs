//! Independent replications: means, control variates and functions of means with their standard errors.

use super::{Origin, Quantity};

/// What each replication gave: a row of figures, and a row of control variates whose expectations are known.
#[derive(Clone, Debug)]
pub(super) struct Replications {
    /// One row a replication.
    figures: Vec<Vec<f64>>,
    /// One row a replication; may be rows of nothing.
    controls: Vec<Vec<f64>>,
    /// By how much the fitted slopes of controls make standard errors too small.
    inflation: f64,
}

impl Replications {
    pub(super) fn new(figures: Vec<Vec<f64>>, controls: Vec<Vec<f64>>) -> Replications {
        Replications { figures, controls, inflation: 1.0 }
    }

    /// Takes from each figure what the controls explain: y − β (c − E c) with β by least squares over the replications. The
    /// expectation stays what it is, whatever β is; only the spread shrinks.
    pub(super) fn control(&mut self, expected: &[f64]) {
        let count = self.figures.len();
        let mut basis: Vec<Control> = Vec::new();
        for (index, expected) in expected.iter().enumerate() {
            let column: Vec<f64> = self.controls.iter().map(|row| row[index]).collect();
            let mean = column.iter().sum::<f64>() / count as f64;
            let mut control = Control {
                centred: column.iter().map(|value| value - mean).collect(),
                shift: mean - expected,
            };
            let before = dot(&control.centred, &control.centred);
            for other in &basis {
                control.remove(other);
            }
            // A control that never varies, or is a multiple of others, explains nothing.
            if dot(&control.centred, &control.centred) > 1e-9 * before.max(f64::MIN_POSITIVE) {
                basis.push(control);
            }
        }
        for figure in 0..self.figures.first().map_or(0, Vec::len) {
            for control in &basis {
                let slope = self
                    .figures
                    .iter()
                    .zip(&control.centred)
                    .map(|(row, centred)| row[figure] * centred)
                    .sum::<f64>()
                    / dot(&control.centred, &control.centred);
                for (row, centred) in self.figures.iter_mut().zip(&control.centred) {
                    row[figure] -= slope * (centred + control.shift);
                }
            }
        }
        let (count, used) = (count as f64, basis.len() as f64);
        self.inflation = ((count - 1.0) / (count - 1.0 - used) * (1.0 + used / count)).sqrt();
    }

    /// The mean of each figure over the replications without the one of that number.
    fn means(&self, without: Option<usize>) -> Vec<f64> {
        let mut sums = vec![0.0; self.figures.first().map_or(0, Vec::len)];
        for (index, row) in self.figures.iter().enumerate() {
            if Some(index) != without {
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
        }
        let count = (self.figures.len() - usize::from(without.is_some())) as f64;
        sums.into_iter().map(|sum| sum / count).collect()
    }

    /// A function of the means of the figures with its standard error by the jackknife: each replication is left out once.
    pub(super) fn estimate(&self, function: impl Fn(&[f64]) -> f64) -> (f64, f64) {
        let whole = function(&self.means(None));
        let count = self.figures.len() as f64;
        let parts: Vec<f64> =
            (0..self.figures.len()).map(|index| function(&self.means(Some(index)))).collect();
        let mean = parts.iter().sum::<f64>() / count;
        let spread: f64 = parts.iter().map(|part| (part - mean) * (part - mean)).sum();
        (whole, self.inflation * (spread * (count - 1.0) / count).sqrt())
    }

    /// A function of the means as a figure of a case; `samples` says what stands behind it.
    pub(super) fn quantity(
        &self,
        name: impl Into<String>,
        function: impl Fn(&[f64]) -> f64,
        reference: Option<f64>,
        samples: u64,
    ) -> Quantity {
        let (simulated, standard_error) = self.estimate(function);
        Quantity {
            name: name.into(),
            origin: if reference.is_some() { Origin::Formula } else { Origin::None },
            reference,
            reference_error: 0.0,
            simulated,
            standard_error,
            samples,
        }
    }
}

/// A control variate less what the ones before it explain.
struct Control {
    centred: Vec<f64>,
    /// Its mean less its expectation.
    shift: f64,
}

impl Control {
    fn remove(&mut self, other: &Control) {
        let slope = dot(&self.centred, &other.centred) / dot(&other.centred, &other.centred);
        self.centred.iter_mut().zip(&other.centred).for_each(|(value, part)| *value -= slope * part);
        self.shift -= slope * other.shift;
    }
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use numashock_engine::{Seed, sample};

    fn uniform(stream: &mut numashock_engine::Stream) -> f64 {
        stream.below(1 << 40) as f64 / (1u64 << 40) as f64
    }

    #[test]
    fn controls_keep_the_expectation_and_take_the_spread() {
        // y = 3 a + 5 b + noise with a, b uniform: E y = 4. The third control is twice the first, the fourth constant.
        let (mut inside, mut shrunk) = (0, 0);
        for entity in 0..200 {
            let mut stream = Seed(3).stream("controls", entity);
            let mut replications = Replications::new(Vec::new(), Vec::new());
            for _ in 0..60 {
                let (a, b, noise) = (uniform(&mut stream), uniform(&mut stream), uniform(&mut stream) - 0.5);
                replications.figures.push(vec![3.0 * a + 5.0 * b + 0.2 * noise]);
                replications.controls.push(vec![a, b, 2.0 * a, 7.0]);
            }
            let (_, raw) = replications.estimate(|means| means[0]);
            replications.control(&[0.5, 0.5, 1.0, 7.0]);
            let (mean, error) = replications.estimate(|means| means[0]);
            inside += u32::from((mean - 4.0).abs() <= 1.96 * error);
            shrunk += u32::from(20.0 * error < raw);
        }
        assert!((180..=199).contains(&inside), "{inside} of 200 within 95 %");
        assert_eq!(shrunk, 200);
    }

    #[test]
    fn the_jackknife_of_a_mean_is_its_standard_error_and_of_a_deviation_holds() {
        let mut stream = Seed(3).stream("jackknife", 0);
        let mut replications = Replications::new(Vec::new(), Vec::new());
        for _ in 0..400 {
            let value = sample::unit_exponential(&mut stream) as f64 / (1u64 << 40) as f64;
            replications.figures.push(vec![value, value * value]);
        }
        let mut moments = super::super::Moments::default();
        replications.figures.iter().for_each(|row| moments.add(row[0]));
        let (mean, error) = replications.estimate(|means| means[0]);
        assert!((mean - moments.mean()).abs() < 1e-12 && (error - moments.standard_error()).abs() < 1e-12);
        // The deviation of a unit exponential is 1, with a standard error of √(8/4/n) = √2 / 20 or so.
        let (deviation, error) = replications.estimate(|means| (means[1] - means[0] * means[0]).sqrt());
        assert!(
            (deviation - 1.0).abs() < 4.0 * error && (0.03..0.15).contains(&error),
            "{deviation} {error}"
        );
    }
}
