//! Hand-worked tapes, and the identities over random ones.

use numashock_book::{HalfTicks, Lots, Side};
use proptest::prelude::*;

use crate::*;

/// Buy 10 at a decision mid of 1000; the mid is 1004 at the first arrival; 4 at 1005 and 3 at 1007; fee 5; end mid 1010,
/// the last 3 lots cost 1011 each from the book.
fn worked_example() -> (ParentTape, End) {
    let mut tape = ParentTape::new(Side::Buy, Lots(10), HalfTicks(1_000));
    tape.record_arrival(HalfTicks(1_004));
    tape.record_fill(HalfTicks(1_005), Lots(4));
    tape.record_arrival(HalfTicks(1_006));
    tape.record_fill(HalfTicks(1_007), Lots(3));
    tape.record_fee(5);
    (tape, End { mid: HalfTicks(1_010), cleanup_cost: 3 * 1_011 })
}

#[test]
fn a_worked_example_gives_the_parts_by_hand() {
    let (tape, end) = worked_example();
    let Shortfalls { swept, marked } = tape.close(end);
    // 4·5 + 3·7 + 3·11 + 5; delay 10·4; impact 4·1 + 3·3; miss 3·7.
    assert_eq!(swept, Shortfall { mark: Mark::Swept, is: 79, delay: 40, impact: 13, miss: 21, fees: 5 });
    assert_eq!(marked, Shortfall { mark: Mark::Mid, is: 76, delay: 40, impact: 13, miss: 18, fees: 5 });
}

#[test]
fn an_order_that_never_reached_the_market_has_only_a_miss() {
    let tape = ParentTape::new(Side::Sell, Lots(10), HalfTicks(1_000));
    let Shortfalls { swept, marked } = tape.close(End { mid: HalfTicks(990), cleanup_cost: 9_880 });
    assert_eq!(swept, Shortfall { mark: Mark::Swept, is: 120, delay: 0, impact: 0, miss: 120, fees: 0 });
    assert_eq!(marked, Shortfall { mark: Mark::Mid, is: 100, delay: 0, impact: 0, miss: 100, fees: 0 });
}

#[test]
fn a_finished_order_does_not_depend_on_the_mark() {
    let mut tape = ParentTape::new(Side::Buy, Lots(2), HalfTicks(100));
    tape.record_arrival(HalfTicks(100));
    tape.record_fill(HalfTicks(99), Lots(2));
    let Shortfalls { swept, marked } = tape.close(End { mid: HalfTicks(700), cleanup_cost: 0 });
    assert_eq!((swept.is, swept.miss), (-2, 0));
    assert_eq!(Shortfall { mark: Mark::Swept, ..marked }, swept);
}

#[test]
#[should_panic(expected = "fills stay within the order")]
fn more_is_never_filled_than_ordered() {
    let (mut tape, _) = worked_example();
    tape.record_fill(HalfTicks(1_000), Lots(4));
}

#[test]
#[should_panic(expected = "a fill follows an arrival")]
fn nothing_fills_before_it_arrives() {
    ParentTape::new(Side::Buy, Lots(1), HalfTicks(1)).record_fill(HalfTicks(1), Lots(1));
}

#[test]
#[should_panic(expected = "only unfinished lots are cleaned up")]
fn a_finished_order_is_not_cleaned_up() {
    let mut tape = ParentTape::new(Side::Buy, Lots(1), HalfTicks(1));
    tape.record_arrival(HalfTicks(1));
    tape.record_fill(HalfTicks(1), Lots(1));
    let _ = tape.close(End { mid: HalfTicks(1), cleanup_cost: 1 });
}

#[test]
fn basis_points_round_half_away_from_zero() {
    let points = |cost, quantity, mid| micro_basis_points(cost, Lots(quantity), HalfTicks(mid));
    assert_eq!(points(1, 1, 10_000), Some(1_000_000));
    assert_eq!(points(79, 10, 1_000), Some(79_000_000));
    // 10^10 / 3 and 2·10^10 / 3.
    assert_eq!(points(1, 3, 1), Some(3_333_333_333));
    assert_eq!(points(2, 3, 1), Some(6_666_666_667));
    // 10^10 / 2^11 = 4 882 812.5.
    assert_eq!(points(1, 2_048, 1), Some(4_882_813));
    assert_eq!(points(-1, 2_048, 1), Some(-4_882_813));
    assert_eq!(points(0, 7, 3), Some(0));
    assert_eq!(points(1, 1, 0), None);
    assert_eq!(points(1, 0, 1), None);
}

#[test]
fn a_childs_path_is_split_where_the_mid_moved() {
    let mids = ChildMids {
        decision: HalfTicks(100),
        decide: HalfTicks(103),
        dispatch: HalfTicks(102),
        arrive: HalfTicks(106),
    };
    let path = ChildPath::of(Side::Buy, mids, HalfTicks(107), Lots(5));
    assert_eq!(path, ChildPath { schedule: 15, host: -5, wire: 20, spread_and_impact: 5 });
    let sold = ChildPath::of(Side::Sell, mids, HalfTicks(107), Lots(5));
    assert_eq!(sold.total(), -path.total());
}

#[test]
fn balancing_that_helps_placement_shows_a_negative_net() {
    let shortfall =
        |is, delay| Shortfall { mark: Mark::Swept, is, delay, impact: is - delay, miss: 0, fees: 0 };
    let (real, free, off) = (shortfall(70, 30), shortfall(50, 20), shortfall(90, 60));
    let attribution = Attribution::from_worlds(&real, &free, &off);
    assert_eq!((attribution.c_numa, attribution.c_placement, attribution.net), (20, -40, -20));
    assert_eq!((attribution.observed.delay, attribution.reference.delay), (30, 20));
}

#[test]
#[should_panic(expected = "compared under one mark")]
fn worlds_under_different_marks_are_not_compared() {
    let (tape, end) = worked_example();
    let Shortfalls { swept, marked } = tape.close(end);
    let _ = Attribution::from_worlds(&swept, &swept, &marked);
}

/// Quantity, decision mid, mid at the first arrival if any child arrived, fills (price, lots), fee, end mid, clean-up price.
type Story = (u64, i64, Option<i64>, Vec<(i64, u64)>, i64, i64, i64);

fn any_story() -> impl Strategy<Value = Story> {
    let price = || 1i64..2_000_000_000;
    let fills = prop::collection::vec((price(), 1u64..1_000_000), 0..12);
    (
        1u64..4_000_000,
        price(),
        prop::option::weighted(0.9, price()),
        fills,
        -1_000i64..1_000_000,
        price(),
        price(),
    )
}

/// Plays a story on a side; `mirror` reflects every price, so that a sell meets the market a buy met.
fn play(story: &Story, side: Side, mirror: bool) -> (ParentTape, Shortfalls) {
    const TOP: i64 = 2_000_000_001;
    let (quantity, decision, arrival, fills, fee, end, cleanup) = story;
    let price = |price: &i64| HalfTicks(if mirror { TOP - price } else { *price });
    let mut tape = ParentTape::new(side, Lots(*quantity), price(decision));
    if let Some(arrival) = arrival {
        tape.record_arrival(price(arrival));
        for (at, lots) in fills {
            let lots = Lots(*lots.min(&tape.unfinished().0));
            if lots.0 > 0 {
                tape.record_fill(price(at), lots);
            }
        }
    }
    tape.record_fee(i128::from(*fee));
    let cleanup_cost = i128::from(tape.unfinished().0) * i128::from(price(cleanup).0);
    let shortfalls = tape.close(End { mid: price(end), cleanup_cost });
    (tape, shortfalls)
}

proptest! {
    #[test]
    fn the_shortfall_is_the_difference_of_paper_and_real_portfolio(story in any_story(), buy: bool) {
        let side = if buy { Side::Buy } else { Side::Sell };
        let (tape, shortfalls) = play(&story, side, false);
        // Perold's sum, fill by fill against the decision mid, then the rest (market: 4.1, first line).
        let sign = if buy { 1i128 } else { -1 };
        let (_, decision, arrival, fills, fee, end, cleanup) = story;
        let (mut is, mut left) = (i128::from(fee), i128::from(tape.quantity().0));
        for (price, lots) in fills.into_iter().filter(|_| arrival.is_some()) {
            let lots = i128::from(lots).min(left);
            is += sign * lots * i128::from(price - decision);
            left -= lots;
        }
        prop_assert_eq!(left, i128::from(tape.unfinished().0));
        prop_assert_eq!(shortfalls.marked.is, is + sign * left * i128::from(end - decision));
        prop_assert_eq!(shortfalls.swept.is, is + sign * left * i128::from(cleanup - decision));
        for shortfall in [shortfalls.swept, shortfalls.marked] {
            prop_assert_eq!(shortfall.is, shortfall.delay + shortfall.impact + shortfall.miss + shortfall.fees);
        }
    }

    #[test]
    fn a_sell_in_the_mirrored_market_costs_what_the_buy_costs(story in any_story()) {
        prop_assert_eq!(play(&story, Side::Buy, false).1, play(&story, Side::Sell, true).1);
    }

    #[test]
    fn children_add_up_to_the_filled_part_of_the_shortfall(
        decision in 1i64..1_000_000,
        children in prop::collection::vec((prop::array::uniform4(1i64..1_000_000), 1u64..1_000), 1..10),
        buy: bool,
    ) {
        let side = if buy { Side::Buy } else { Side::Sell };
        let quantity = children.iter().map(|(_, lots)| lots).sum();
        let mut tape = ParentTape::new(side, Lots(quantity), HalfTicks(decision));
        let mut sum = 0;
        for ([decide, dispatch, arrive, price], lots) in children {
            let [decision, decide, dispatch, arrive, price] = [decision, decide, dispatch, arrive, price].map(HalfTicks);
            tape.record_arrival(arrive);
            tape.record_fill(price, Lots(lots));
            sum += ChildPath::of(side, ChildMids { decision, decide, dispatch, arrive }, price, Lots(lots)).total();
        }
        prop_assert_eq!(tape.close(End { mid: HalfTicks(1), cleanup_cost: 0 }).swept.is, sum);
    }

    #[test]
    fn attribution_is_exact_and_a_null_comparison_gives_zero(stories in prop::array::uniform3(any_story())) {
        let [real, free, off] = [0, 1, 2].map(|world| play(&stories[world], Side::Buy, false).1.swept);
        let attribution = Attribution::from_worlds(&real, &free, &off);
        let reference = attribution.reference;
        prop_assert_eq!(
            real.is,
            reference.delay + reference.impact + reference.miss + reference.fees + attribution.c_numa
        );
        let null = Attribution::from_worlds(&real, &real, &real);
        prop_assert_eq!((null.c_numa, null.c_placement, null.net), (0, 0, 0));
    }

    #[test]
    fn basis_points_are_the_nearest_integer(cost in -1_000_000_000_000i128..1_000_000_000_000, quantity in 1u64..1_000_000, mid in 1i64..1_000_000) {
        let points = micro_basis_points(cost, Lots(quantity), HalfTicks(mid)).unwrap();
        let notional = i128::from(quantity) * i128::from(mid);
        let error = (cost * 10_000_000_000 - points * notional).abs() * 2;
        prop_assert!(error <= notional);
        prop_assert_eq!(points, -micro_basis_points(-cost, Lots(quantity), HalfTicks(mid)).unwrap());
    }
}
