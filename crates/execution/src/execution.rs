//! The schedule and tactic of every parent as one state machine over messages.

use numashock_book::{Lots, Side, Ticks};
use numashock_engine::{Nanos, Span};

use crate::schedule::twap_released;
use crate::{
    CancelReplace, CatchUp, ChildId, Command, Message, ParentId, ParentOrder, Policy, Request, TimeInForce,
};

/// The passive-join tactic of a TWAP.
///
/// Each slice becomes one child that joins the best price of its own side. A child that the best price has left
/// behind by `reprice_ticks` is moved to it by cancel/replace. A child that has rested for `patience`, and every
/// child once the deadline is `catch_up` away, crosses the spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tactic {
    /// Slices of a parent.
    pub slices: u32,
    /// How far behind the best a child may fall before it is moved.
    pub reprice_ticks: u64,
    /// How long a child rests before it crosses.
    pub patience: Span,
    /// Length of the deadline window.
    pub catch_up: Span,
    /// How far beyond the opposite best a crossing child's limit lies.
    pub cross_through: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// The slice has not been released.
    Planned,
    /// A request is on its way or unanswered.
    Pending,
    /// The exchange has confirmed the child at its price.
    Working,
    /// Filled, cancelled or empty.
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Child {
    status: Status,
    left: Lots,
    price: Ticks,
    moved_at: Nanos,
    crossing: bool,
    /// Requests that the exchange has not answered.
    outstanding: u32,
}

/// All parents of a run, worked by one tactic on the dispatch thread.
#[derive(Clone, Debug)]
pub struct Execution {
    tactic: Tactic,
    policy: Policy,
    parents: Vec<ParentOrder>,
    children: Vec<Child>,
    active: Vec<ChildId>,
    bid: Option<Ticks>,
    ask: Option<Ticks>,
    next_child_at: Nanos,
    bucket: Span,
    allowance: Option<Lots>,
}

impl Execution {
    /// Nothing released yet; `bucket` is how long a slice waits that a participation cap holds back.
    #[must_use]
    pub fn new(tactic: Tactic, parents: Vec<ParentOrder>, bucket: Span) -> Execution {
        let planned = Child {
            status: Status::Planned,
            left: Lots(0),
            price: Ticks(0),
            moved_at: Nanos::ZERO,
            crossing: false,
            outstanding: 0,
        };
        let children = vec![planned; parents.len() * tactic.slices as usize];
        Execution {
            tactic,
            policy: Policy::OPEN,
            parents,
            children,
            active: Vec::new(),
            bid: None,
            ask: None,
            next_child_at: Nanos::ZERO,
            bucket,
            allowance: None,
        }
    }

    /// The timers that start every parent.
    #[must_use]
    pub fn timers(&self) -> Vec<(Nanos, Message)> {
        let mut timers = Vec::new();
        for (number, parent) in self.parents.iter().enumerate() {
            let id = ParentId(u32::try_from(number).expect("fewer than 2^32 parents"));
            for index in 0..self.tactic.slices {
                let at =
                    parent.arrival + parent.horizon.scaled(u64::from(index), u64::from(self.tactic.slices));
                timers.push((at, Message::Slice { parent: id, index }));
            }
            let window = parent.horizon.0.min(self.tactic.catch_up.0);
            timers.push((parent.deadline() - Span(window), Message::CatchUp { parent: id }));
        }
        timers
    }

    /// The parent of a child.
    #[must_use]
    pub fn parent_of(&self, child: ChildId) -> ParentId {
        ParentId(child.0 / self.tactic.slices)
    }

    /// The children of a parent, released or not.
    pub fn children_of(&self, parent: ParentId) -> impl Iterator<Item = ChildId> + use<> {
        let slices = self.tactic.slices;
        (parent.0 * slices..(parent.0 + 1) * slices).map(ChildId)
    }

    /// Sets the tactic gates. With a participation cap, `market_lots` is what the market traded in the last bucket.
    pub fn set_policy(&mut self, policy: Policy, market_lots: Lots) {
        self.policy = policy;
        self.allowance = policy.participation_cap_ppm.map(|cap| {
            let wide = u128::from(market_lots.0) * u128::from(cap) / 1_000_000;
            Lots(u64::try_from(wide).expect("a share is no larger than the whole"))
        });
    }

    /// The decision that a message leads to.
    pub fn decide(&mut self, now: Nanos, message: Message, out: &mut Vec<Command>) {
        match message {
            Message::Slice { parent, index } => self.release(now, parent, index, out),
            Message::Quote { bid, ask, .. } => {
                (self.bid, self.ask) = (bid, ask);
                for position in 0..self.active.len() {
                    self.reprice(now, self.active[position], out);
                }
            }
            Message::Accepted { child, price } => {
                let state = self.child(child);
                if state.status == Status::Pending {
                    state.price = price;
                    state.outstanding -= 1;
                    if state.outstanding == 0 {
                        state.status = Status::Working;
                        self.reprice(now, child, out);
                    }
                }
            }
            Message::Filled { child, lots } => {
                let state = self.child(child);
                assert!(lots <= state.left, "a fill is no larger than what is left");
                state.left = Lots(state.left.0 - lots.0);
                if state.left == Lots(0) {
                    self.finish(child);
                }
            }
            Message::Cancelled { child } => self.finish(child),
            Message::Patience { child } => {
                if !self.policy.cross_only_at_deadline {
                    self.cross(now, child, out);
                }
            }
            Message::CatchUp { parent } => self.catch_up(now, parent, out),
        }
    }

    fn child(&mut self, child: ChildId) -> &mut Child {
        &mut self.children[child.0 as usize]
    }

    fn best(&self, side: Side) -> Option<Ticks> {
        match side {
            Side::Buy => self.bid,
            Side::Sell => self.ask,
        }
    }

    fn side_of(&self, child: ChildId) -> Side {
        self.parents[self.parent_of(child).0 as usize].side
    }

    fn release(&mut self, now: Nanos, parent: ParentId, index: u32, out: &mut Vec<Command>) {
        let order = self.parents[parent.0 as usize];
        let slices = self.tactic.slices;
        let before = twap_released(order.quantity, index, slices);
        let lots = Lots(twap_released(order.quantity, index + 1, slices).0 - before.0);
        let child = ChildId(parent.0 * slices + index);
        if self.child(child).status != Status::Planned {
            return;
        }
        if lots == Lots(0) || now >= order.deadline() {
            self.child(child).status = Status::Done;
            return;
        }
        let in_window = order.deadline().saturating_since(now) <= self.tactic.catch_up;
        let Some(price) = self.best(order.side) else {
            out.push(Command::Timer(now + self.bucket, Message::Slice { parent, index }));
            return;
        };
        if now < self.next_child_at && !in_window {
            out.push(Command::Timer(self.next_child_at, Message::Slice { parent, index }));
            return;
        }
        match &mut self.allowance {
            // A deadline about to be missed overrides the cap.
            _ if in_window => {}
            Some(allowance) if *allowance < lots => {
                out.push(Command::Timer(now + self.bucket, Message::Slice { parent, index }));
                return;
            }
            Some(allowance) => *allowance = Lots(allowance.0 - lots.0),
            None => {}
        }
        self.next_child_at = now + self.policy.child_spacing;
        *self.child(child) = Child {
            status: Status::Pending,
            left: lots,
            price,
            moved_at: now,
            crossing: false,
            outstanding: 1,
        };
        self.active.push(child);
        let price = if in_window { self.crossing_price(child).unwrap_or(price) } else { price };
        self.child(child).crossing = in_window;
        let time_in_force = TimeInForce::Day;
        out.push(Command::Send(Request::New { child, side: order.side, price, lots, time_in_force }));
        out.push(Command::Timer(now + self.tactic.patience, Message::Patience { child }));
    }

    fn reprice(&mut self, now: Nanos, child: ChildId, out: &mut Vec<Command>) {
        let state = self.children[child.0 as usize];
        if state.status != Status::Working {
            return;
        }
        let side = self.side_of(child);
        let target = if state.crossing { self.crossing_price(child) } else { self.best(side) };
        let Some(target) = target else { return };
        let behind = side.sign() * (target.0 - state.price.0);
        if state.crossing {
            // What the opposite side did not fill follows it: the deadline gates do not apply to it.
            if behind > 0 {
                self.replace(now, child, target, out);
            }
            return;
        }
        let tolerance = match self.policy.cancel_replace {
            CancelReplace::Normal => self.tactic.reprice_ticks,
            CancelReplace::OnlyIfPriceMoved => self.tactic.reprice_ticks + 1,
            CancelReplace::Suppressed => return,
        };
        let rested = now.saturating_since(state.moved_at);
        if i128::from(behind) >= i128::from(tolerance) && rested >= self.policy.min_reprice_interval {
            self.replace(now, child, target, out);
        }
    }

    fn cross(&mut self, now: Nanos, child: ChildId, out: &mut Vec<Command>) {
        let state = self.children[child.0 as usize];
        if state.crossing || !matches!(state.status, Status::Pending | Status::Working) {
            return;
        }
        if let Some(price) = self.crossing_price(child) {
            self.child(child).crossing = true;
            self.replace(now, child, price, out);
        }
    }

    fn crossing_price(&self, child: ChildId) -> Option<Ticks> {
        let side = self.side_of(child);
        let through = i64::try_from(self.tactic.cross_through).expect("a few ticks");
        self.best(!side).map(|best| Ticks(best.0 + side.sign() * through))
    }

    fn replace(&mut self, now: Nanos, child: ChildId, price: Ticks, out: &mut Vec<Command>) {
        let state = self.child(child);
        state.status = Status::Pending;
        state.moved_at = now;
        state.outstanding += 1;
        out.push(Command::Send(Request::Replace { child, price }));
    }

    /// Crosses what rests and releases what a gate held back, all at once or one at a time.
    fn catch_up(&mut self, now: Nanos, parent: ParentId, out: &mut Vec<Command>) {
        let order = self.parents[parent.0 as usize];
        let slices = self.tactic.slices;
        let waiting: Vec<(u32, ChildId)> = (0..slices)
            .zip(self.children_of(parent))
            .filter(|(index, child)| {
                let state = &self.children[child.0 as usize];
                match state.status {
                    Status::Planned => {
                        order.arrival + order.horizon.scaled(u64::from(*index), u64::from(slices)) <= now
                    }
                    Status::Pending | Status::Working => !state.crossing,
                    Status::Done => false,
                }
            })
            .collect();
        let (at_once, again) = match self.policy.catch_up {
            CatchUp::Burst => (waiting.len(), None),
            CatchUp::Paced(spacing) => (1, (waiting.len() > 1).then_some(spacing)),
        };
        for (index, child) in waiting.into_iter().take(at_once) {
            if self.children[child.0 as usize].status == Status::Planned {
                self.release(now, parent, index, out);
            } else {
                self.cross(now, child, out);
            }
        }
        if let Some(spacing) = again {
            out.push(Command::Timer(now + spacing, Message::CatchUp { parent }));
        }
    }

    fn finish(&mut self, child: ChildId) {
        self.child(child).status = Status::Done;
        self.active.retain(|active| *active != child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{StrategyId, SymbolId};

    const TACTIC: Tactic =
        Tactic { slices: 4, reprice_ticks: 1, patience: Span(500), catch_up: Span(100), cross_through: 0 };

    fn execution() -> Execution {
        let parent = ParentOrder {
            arrival: Nanos(0),
            side: Side::Buy,
            quantity: Lots(8),
            horizon: Span(1_000),
            symbol: SymbolId::default(),
            strategy: StrategyId::default(),
        };
        let mut execution = Execution::new(TACTIC, vec![parent], Span(50));
        execution.decide(Nanos(0), quote(100), &mut Vec::new());
        execution
    }

    fn quote(bid: i64) -> Message {
        Message::Quote {
            symbol: SymbolId(0),
            bid: Some(Ticks(bid)),
            ask: Some(Ticks(bid + 1)),
            volume: Lots(0),
        }
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
        let moved = Request::Replace { child: CHILD, price: Ticks(101) };
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
            let crossed = Request::Replace { child: CHILD, price: Ticks(101) };
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
        execution.set_policy(policy, Lots(30));
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
        execution.set_policy(Policy { participation_cap_ppm: Some(1), ..Policy::OPEN }, Lots(30));
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
        assert!(execution.active.is_empty());
        assert!(sent(&decide(&mut execution, 2, Message::Patience { child: CHILD })).is_empty());
    }
}
