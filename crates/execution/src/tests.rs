//! The state machine, message by message.

use numashock_book::{Lots, Side, Ticks};
use numashock_engine::{Nanos, Span};

use crate::schedule::{Schedule, Shape};
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

fn execution() -> Execution {
    let parent = ParentOrder {
        arrival: Nanos(0),
        side: Side::Buy,
        quantity: Lots(8),
        horizon: Span(1_000),
        symbol: SymbolId::default(),
        strategy: StrategyId::default(),
    };
    let mut execution = Execution::new(vec![TWAP], vec![parent], Span(50));
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
