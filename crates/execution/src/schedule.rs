//! Schedules: how much of a parent should have been released by when.

use numashock_book::Lots;

/// Lots that a TWAP of `slices` equal steps has released after `released` of them, by cumulative rounding, so that
/// the last step reaches `quantity` exactly.
///
/// # Panics
/// If `slices` is zero or less than `released`.
#[must_use]
pub fn twap_released(quantity: Lots, released: u32, slices: u32) -> Lots {
    assert!(0 < slices && released <= slices, "slice {released} of {slices}");
    let wide = u128::from(quantity.0) * u128::from(released) / u128::from(slices);
    Lots(u64::try_from(wide).expect("a part is no larger than the whole"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_differ_by_at_most_one_lot_and_sum_to_the_parent() {
        for (quantity, slices) in [(10, 4), (3, 7), (1_000, 3), (0, 5)] {
            let released: Vec<u64> =
                (0..=slices).map(|k| twap_released(Lots(quantity), k, slices).0).collect();
            assert_eq!((released[0], released[slices as usize]), (0, quantity));
            let sizes: Vec<u64> = released.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(most - least <= 1, "{quantity} in {slices}: {sizes:?}");
        }
    }
}
