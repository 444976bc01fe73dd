//! The state machine, message by message.

use numashock_book::{Lots, Side, Ticks};
use numashock_engine::{Nanos, Span};

use crate::schedule::{Profile, Schedule, Shape};
use crate::{
    CancelReplace, ChildId, Command, Execution, LeftBehind, Message, OnExpiry, ParentId, ParentOrder,
    Placement, Policy, Request, Strategy, StrategyId, SymbolId, Tactic, TimeInForce,
};

const TACTIC: Tactic = Tactic {
    placement: Placement::Join,
    post_only: false,
    immediate_or_cancel: false,
    on_left_behind: LeftBehind::Follow,
    reprice_ticks: 1,
    patience: Span(500),
    on_expiry: OnExpiry::Cross,
    catch_up: Span(100),
    cross_through: 0,
    child_spacing: Span::ZERO,
    participation_cap_ppm: None,
};

const TWAP: Strategy = Strategy { schedule: Schedule { slices: 4, shape: Shape::Twap }, tactic: TACTIC };

fn order() -> ParentOrder {
    ParentOrder {
        arrival: Nanos(0),
        side: Side::Buy,
        quantity: Lots(8),
        horizon: Span(1_000),
        symbol: SymbolId::default(),
        strategy: StrategyId::default(),
    }
}

fn execution() -> Execution {
    let mut execution = Execution::new(vec![TWAP], vec![order()], Span(50));
    execution.decide(Nanos(0), quote(100), &mut Vec::new());
    execution
}

fn quote(bid: i64) -> Message {
    Message::Quote { symbol: SymbolId(0), bid: Some(Ticks(bid)), ask: Some(Ticks(bid + 1)), volume: Lots(0) }
}

fn decide(execution: &mut Execution, now: u64, message: Message) -> Vec<Command> {
    let mut out = Vec::new();
    execution.decide(Nanos(now), message, &mut out);
    out
}

fn sent(commands: &[Command]) -> Vec<Request> {
    commands
        .iter()
        .filter_map(|command| match command {
            Command::Send(request) => Some(*request),
            Command::Timer(..) => None,
        })
        .collect()
}

const SLICE: Message = Message::Slice { parent: ParentId(0), index: 0 };
const CHILD: ChildId = ChildId(0);

#[test]
fn a_slice_joins_the_best_of_its_side() {
    let commands = decide(&mut execution(), 0, SLICE);
    let joined = Request::New {
        child: CHILD,
        side: Side::Buy,
        price: Ticks(100),
        lots: Lots(2),
        time_in_force: TimeInForce::Day,
    };
    assert_eq!(sent(&commands), [joined]);
    assert!(commands.contains(&Command::Timer(Nanos(500), Message::Patience { child: CHILD })));
}

#[test]
fn a_child_left_behind_is_moved_once_per_answer() {
    let mut execution = execution();
    decide(&mut execution, 0, SLICE);
    assert!(sent(&decide(&mut execution, 1, quote(101))).is_empty(), "unanswered: nothing to move yet");
    let moved = Request::Replace { child: CHILD, price: Ticks(101), time_in_force: TimeInForce::Day };
    let accepted = Message::Accepted { child: CHILD, price: Ticks(100) };
    assert_eq!(sent(&decide(&mut execution, 2, accepted)), [moved]);
    assert!(sent(&decide(&mut execution, 3, quote(102))).is_empty());
}

#[test]
fn a_child_is_not_moved_away_from_the_market() {
    let mut execution = execution();
    decide(&mut execution, 0, SLICE);
    decide(&mut execution, 1, Message::Accepted { child: CHILD, price: Ticks(100) });
    assert!(sent(&decide(&mut execution, 2, quote(99))).is_empty());
}

#[test]
fn patience_and_the_deadline_window_cross_once() {
    for message in [Message::Patience { child: CHILD }, Message::CatchUp { parent: ParentId(0) }] {
        let mut execution = execution();
        decide(&mut execution, 0, SLICE);
        decide(&mut execution, 1, Message::Accepted { child: CHILD, price: Ticks(100) });
        let crossed = Request::Replace { child: CHILD, price: Ticks(101), time_in_force: TimeInForce::Day };
        assert_eq!(sent(&decide(&mut execution, 2, message)), [crossed]);
        assert!(sent(&decide(&mut execution, 3, message)).is_empty());
    }
}

#[test]
fn gates_hold_back_moves_and_slices() {
    let mut execution = execution();
    let policy = Policy {
        cancel_replace: CancelReplace::Suppressed,
        participation_cap_ppm: Some(100_000),
        ..Policy::OPEN
    };
    execution.set_policy(policy, &[Lots(30)]);
    decide(&mut execution, 0, SLICE);
    decide(&mut execution, 1, Message::Accepted { child: CHILD, price: Ticks(100) });
    assert!(sent(&decide(&mut execution, 2, quote(105))).is_empty());
    // The cap leaves 3 lots a bucket: the first slice took 2, the second waits for the next bucket.
    let next = Message::Slice { parent: ParentId(0), index: 1 };
    assert_eq!(decide(&mut execution, 250, next), [Command::Timer(Nanos(300), next)]);
}

/// What the slices of a parent send when each is due, with the simplest schedule from slice `from` on and until before `until`.
fn slices_sent(shape: Shape, slices: u32, from: u32, until: u32) -> Vec<u64> {
    let strategy = Strategy { schedule: Schedule { slices, shape }, tactic: TACTIC };
    let order = ParentOrder { quantity: Lots(120), ..order() };
    let mut execution = Execution::new(vec![strategy], vec![order], Span(50));
    decide(&mut execution, 0, quote(100));
    let mut lots = Vec::new();
    for (index, at) in (0..slices).zip((0..).step_by(10)) {
        let simplest_schedule = (from..until).contains(&index);
        execution.set_policy(Policy { simplest_schedule, ..Policy::OPEN }, &[]);
        let requests = sent(&decide(&mut execution, at, Message::Slice { parent: ParentId(0), index }));
        lots.push(
            requests
                .iter()
                .map(|request| if let Request::New { lots, .. } = request { lots.0 } else { 0 })
                .sum(),
        );
        assert_eq!(execution.tally(ParentId(0)).total(), Lots(120));
    }
    lots
}

#[test]
fn the_simplest_schedule_spreads_what_is_left_evenly_and_for_good() {
    let front = || Shape::Vwap(Profile::Horizon(vec![6, 3, 2, 1]));
    assert_eq!(slices_sent(front(), 4, 9, 9), [60, 30, 20, 10], "the strategy's own");
    assert_eq!(slices_sent(front(), 4, 1, 9), [60, 20, 20, 20]);
    assert_eq!(slices_sent(front(), 4, 1, 2), [60, 20, 20, 20], "no way back to a plan that was left");
    assert_eq!(slices_sent(front(), 4, 3, 9), [60, 30, 20, 10], "one slice is even");
    // Nothing is traded, so a share of the volume is nothing until the last slice.
    let follows = || Shape::Pov { rate_ppm: 100_000 };
    assert_eq!(slices_sent(follows(), 5, 9, 9), [0, 0, 0, 0, 120]);
    assert_eq!(slices_sent(follows(), 5, 1, 9), [0, 30, 30, 30, 30]);
    assert_eq!(
        slices_sent(Shape::Twap, 7, 2, 9),
        slices_sent(Shape::Twap, 7, 9, 9),
        "a TWAP is the simplest"
    );
}

#[test]
fn gates_that_change_within_a_bucket_leave_a_used_allowance() {
    let cap = |cap| Policy { participation_cap_ppm: Some(cap), ..Policy::OPEN };
    let next = Message::Slice { parent: ParentId(0), index: 1 };
    for (then, waits) in [(cap(100_000), true), (cap(200_000), false), (Policy::OPEN, false)] {
        let mut execution = execution();
        execution.set_policy(cap(100_000), &[Lots(30)]);
        assert_eq!(sent(&decide(&mut execution, 0, SLICE)).len(), 1);
        let then = Policy { catch_up: crate::CatchUp::Paced, ..then };
        execution.change_policy(then, &[Lots(30)]);
        assert_eq!(sent(&decide(&mut execution, 250, next)).is_empty(), waits, "{then:?}");
    }
}

#[test]
fn the_deadline_window_releases_what_the_cap_held_back() {
    let mut execution = execution();
    execution.set_policy(Policy { participation_cap_ppm: Some(1), ..Policy::OPEN }, &[Lots(30)]);
    let retry = decide(&mut execution, 0, SLICE);
    assert_eq!(retry, [Command::Timer(Nanos(50), SLICE)]);
    let requests = sent(&decide(&mut execution, 900, Message::CatchUp { parent: ParentId(0) }));
    assert_eq!(requests.len(), 4, "every slice that is due: {requests:?}");
    assert!(sent(&decide(&mut execution, 901, SLICE)).is_empty(), "a slice is released once");
}

#[test]
fn a_filled_child_is_left_alone() {
    let mut execution = execution();
    decide(&mut execution, 0, SLICE);
    decide(&mut execution, 1, Message::Filled { child: CHILD, lots: Lots(2) });

    assert!(sent(&decide(&mut execution, 2, Message::Patience { child: CHILD })).is_empty());
}

/// A desk of one parent of 8 lots over 1,000 ns in four slices, at 100 to 103, by this strategy.
fn desk(shape: Shape, tactic: Tactic) -> Execution {
    let order = order();
    let strategy = Strategy { schedule: Schedule { slices: 4, shape }, tactic };
    let mut execution = Execution::new(vec![strategy], vec![order], Span(50));
    execution.decide(Nanos(0), market(100, 103, 0), &mut Vec::new());
    execution
}

fn market(bid: i64, ask: i64, volume: u64) -> Message {
    Message::Quote { symbol: SymbolId(0), bid: Some(Ticks(bid)), ask: Some(Ticks(ask)), volume: Lots(volume) }
}

fn slice(index: u32) -> Message {
    Message::Slice { parent: ParentId(0), index }
}

fn new(child: u32, price: i64, lots: u64, time_in_force: TimeInForce) -> Request {
    Request::New {
        child: ChildId(child),
        side: Side::Buy,
        price: Ticks(price),
        lots: Lots(lots),
        time_in_force,
    }
}

fn accepted(child: u32, price: i64) -> Message {
    Message::Accepted { child: ChildId(child), price: Ticks(price) }
}

#[test]
fn improving_children_do_not_outbid_each_other() {
    let mut desk = desk(Shape::Twap, Tactic { placement: Placement::Improve, ..TACTIC });
    assert_eq!(sent(&decide(&mut desk, 0, slice(0))), [new(0, 101, 2, TimeInForce::Day)]);
    // The first child is not in the quote yet, and then is the quote: the second one joins it.
    assert_eq!(sent(&decide(&mut desk, 1, slice(1))), [new(1, 101, 2, TimeInForce::Day)]);
    decide(&mut desk, 2, market(101, 103, 0));
    assert_eq!(sent(&decide(&mut desk, 3, slice(2))), [new(2, 101, 2, TimeInForce::Day)]);
    // Somebody else stands at 102: there is no room left to improve.
    decide(&mut desk, 4, accepted(0, 101));
    let moved = Request::Replace { child: CHILD, price: Ticks(102), time_in_force: TimeInForce::Day };
    assert_eq!(sent(&decide(&mut desk, 5, market(102, 103, 0))), [moved]);
}

#[test]
fn a_crossing_child_comes_back_and_is_sent_again() {
    let tactic =
        Tactic { placement: Placement::Cross, immediate_or_cancel: true, cross_through: 1, ..TACTIC };
    let mut desk = desk(Shape::Twap, tactic);
    let cross = |price, lots| new(0, price, lots, TimeInForce::ImmediateOrCancel);
    assert_eq!(sent(&decide(&mut desk, 0, slice(0))), [cross(104, 2)]);
    decide(&mut desk, 1, Message::Filled { child: CHILD, lots: Lots(1) });
    let back = Message::Cancelled { child: CHILD };
    assert!(sent(&decide(&mut desk, 2, back)).is_empty(), "the market is as it was");
    assert_eq!(sent(&decide(&mut desk, 3, market(100, 105, 0))), [cross(106, 1)]);
    // The quote moves while the request is on its way: what comes back leaves at once.
    decide(&mut desk, 4, market(100, 104, 0));
    assert_eq!(sent(&decide(&mut desk, 5, back)), [cross(105, 1)]);
}

#[test]
fn a_refused_child_enters_again_where_it_rests() {
    let mut desk = desk(Shape::Twap, Tactic { post_only: true, ..TACTIC });
    assert_eq!(sent(&decide(&mut desk, 0, slice(0))), [new(0, 100, 2, TimeInForce::PostOnly)]);
    let back = Message::Cancelled { child: CHILD };
    assert!(sent(&decide(&mut desk, 1, back)).is_empty());
    assert_eq!(sent(&decide(&mut desk, 2, market(99, 100, 0))), [new(0, 99, 2, TimeInForce::PostOnly)]);
    // Its lifetime ends it like any other.
    decide(&mut desk, 3, back);
    assert_eq!(
        sent(&decide(&mut desk, 4, Message::Patience { child: CHILD })),
        [new(0, 100, 2, TimeInForce::Day)]
    );
}

#[test]
fn what_is_left_behind_follows_crosses_or_stays() {
    let replaced =
        |price| Request::Replace { child: CHILD, price: Ticks(price), time_in_force: TimeInForce::Day };
    for (rule, requests) in [
        (LeftBehind::Follow, vec![replaced(101)]),
        (LeftBehind::Cross, vec![replaced(103)]),
        (LeftBehind::Stay, vec![]),
    ] {
        let mut desk = desk(Shape::Twap, Tactic { on_left_behind: rule, ..TACTIC });
        decide(&mut desk, 0, slice(0));
        decide(&mut desk, 1, accepted(0, 100));
        assert_eq!(sent(&decide(&mut desk, 2, market(101, 103, 0))), requests, "{rule:?}");
    }
}

#[test]
fn an_expired_child_hands_its_lots_to_the_next_slice_or_the_window() {
    let mut desk = desk(Shape::Twap, Tactic { on_expiry: OnExpiry::Return, ..TACTIC });
    decide(&mut desk, 0, slice(0));
    decide(&mut desk, 1, accepted(0, 100));
    let expired = Message::Patience { child: CHILD };
    assert_eq!(sent(&decide(&mut desk, 2, expired)), [Request::Cancel { child: CHILD }]);
    assert!(
        sent(&decide(&mut desk, 3, market(102, 103, 0))).is_empty(),
        "what is being cancelled is not moved"
    );
    decide(&mut desk, 4, Message::Filled { child: CHILD, lots: Lots(1) });
    assert!(sent(&decide(&mut desk, 5, Message::Cancelled { child: CHILD })).is_empty());
    assert_eq!(desk.tally(ParentId(0)).open, Lots(1));
    assert_eq!(sent(&decide(&mut desk, 250, slice(1))), [new(1, 102, 3, TimeInForce::Day)]);
    // The last slice expires: nothing is left to take its lots but the deadline window.
    decide(&mut desk, 251, Message::Patience { child: ChildId(1) });
    decide(&mut desk, 252, Message::Cancelled { child: ChildId(1) });
    for index in [2, 3] {
        decide(&mut desk, 500, slice(index));
        decide(&mut desk, 501, Message::Patience { child: ChildId(index) });
        decide(&mut desk, 502, Message::Cancelled { child: ChildId(index) });
    }
    let late = sent(&decide(&mut desk, 900, Message::CatchUp { parent: ParentId(0) }));
    assert_eq!(late, [new(3, 103, 7, TimeInForce::Day)]);
}

#[test]
fn participation_follows_the_volume_and_ends_in_the_window() {
    let mut desk = desk(Shape::Pov { rate_ppm: 250_000 }, TACTIC);
    let due: Vec<Nanos> = desk.timers(|_| true).iter().map(|(at, _)| *at).collect();
    assert_eq!(due, [0, 300, 600, 900, 900].map(Nanos));
    assert!(sent(&decide(&mut desk, 0, slice(0))).is_empty(), "counting begins");
    decide(&mut desk, 10, market(100, 103, 11));
    assert_eq!(sent(&decide(&mut desk, 300, slice(1))), [new(1, 100, 2, TimeInForce::Day)]);
    assert!(sent(&decide(&mut desk, 600, slice(2))).is_empty(), "no volume since");
    assert_eq!(sent(&decide(&mut desk, 900, slice(3))), [new(3, 103, 6, TimeInForce::Day)]);
}

#[test]
fn a_share_of_the_volume_limits_any_schedule() {
    let mut desk = desk(Shape::Twap, Tactic { participation_cap_ppm: Some(100_000), ..TACTIC });
    assert_eq!(decide(&mut desk, 0, slice(0)), [Command::Timer(Nanos(50), slice(0))]);
    decide(&mut desk, 10, market(100, 103, 20));
    assert_eq!(sent(&decide(&mut desk, 50, slice(0))), [new(0, 100, 2, TimeInForce::Day)]);
    assert_eq!(decide(&mut desk, 250, slice(1)), [Command::Timer(Nanos(300), slice(1))]);
}

#[test]
fn parents_keep_to_their_symbol_their_strategy_and_their_host() {
    let order = order();
    let twap = |slices| Strategy { schedule: Schedule { slices, shape: Shape::Twap }, tactic: TACTIC };
    let other = ParentOrder { symbol: SymbolId(1), strategy: StrategyId(1), ..order };
    let mut desk = Execution::new(vec![twap(4), twap(2)], vec![other, order, other], Span(50));
    let children: Vec<Vec<u32>> =
        (0..3).map(|parent| desk.children_of(ParentId(parent)).map(|child| child.0).collect()).collect();
    assert_eq!(children, [vec![0, 1], vec![2, 3, 4, 5], vec![6, 7]]);
    assert_eq!([1, 5, 6].map(|child| desk.parent_of(ChildId(child)).0), [0, 1, 2]);
    let hosted = desk.timers(|parent| parent != ParentId(1));
    assert_eq!(hosted.len(), 6, "two slices and a window for each of two parents");
    // A quote of one symbol says nothing of the other.
    decide(&mut desk, 0, quote(100));
    assert_eq!(decide(&mut desk, 1, slice(0)), [Command::Timer(Nanos(51), slice(0))]);
    assert_eq!(sent(&decide(&mut desk, 1, Message::Slice { parent: ParentId(1), index: 0 })).len(), 1);
    let silent = Message::Quote { symbol: SymbolId(7), bid: None, ask: None, volume: Lots(0) };
    assert!(decide(&mut desk, 2, silent).is_empty());
}
