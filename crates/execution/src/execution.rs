//! The schedule and tactic of every parent as one state machine over messages.

use numashock_book::{Lots, Side, Ticks};
use numashock_engine::{Nanos, Span};

use crate::ledger::Tally;
use crate::schedule::Shape;
use crate::{
    CancelReplace, CatchUp, ChildId, Command, LeftBehind, Message, OnExpiry, ParentId, ParentOrder,
    Placement, Policy, Request, Strategy, Tactic, TimeInForce,
};

/// Where a child stands, as far as the desk has heard.
///
/// ```text
///   Planned ──release──► Pending ◄──► Working ──► Done
///                           ▲ │ came back           ▲
///                           │ ▼                     │
///                         Waiting ──────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// The slice has not been released.
    Planned,
    /// A request is on its way or unanswered.
    Pending,
    /// The exchange has confirmed the child at its price.
    Working,
    /// It came back and enters again by itself.
    Waiting,
    /// Filled, given up or empty.
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Child {
    parent: ParentId,
    status: Status,
    /// What the schedule plans for it; from its release on, what is left of it.
    left: Lots,
    /// Where it was last sent to.
    price: Ticks,
    moved_at: Nanos,
    crossing: bool,
    /// A cancellation has been asked for.
    given_up: bool,
    /// Requests that the exchange has not answered.
    outstanding: u32,
}

#[derive(Clone, Debug)]
struct Parent {
    order: ParentOrder,
    first: u32,
    tally: Tally,
    /// Volume of the market when its first slice was due.
    volume_before: Option<Lots>,
    /// The child whose lots came back last: it carries open lots that no slice takes.
    last_back: Option<ChildId>,
    /// It has left its strategy's schedule.
    flattened: bool,
}

/// A symbol as the desk knows it from its feed, and the desk's children in it.
#[derive(Clone, Debug, Default)]
struct View {
    bid: Option<Ticks>,
    ask: Option<Ticks>,
    volume: Lots,
    /// What a participation cap of the policy leaves for the rest of the bucket.
    allowance: Option<Lots>,
    /// Children that are in the market or enter again by themselves, in order of release.
    active: Vec<ChildId>,
}

impl View {
    fn best(&self, side: Side) -> Option<Ticks> {
        match side {
            Side::Buy => self.bid,
            Side::Sell => self.ask,
        }
    }
}

/// All parents that one dispatch thread works, each by its strategy.
#[derive(Clone, Debug)]
pub struct Execution {
    strategies: Vec<Strategy>,
    policy: Policy,
    parents: Vec<Parent>,
    children: Vec<Child>,
    views: Vec<View>,
    /// When the next child of each strategy may leave.
    next_child_at: Vec<Nanos>,
    bucket: Span,
}

impl Execution {
    /// Nothing released yet; `bucket` is how long a slice waits that a participation cap holds back.
    ///
    /// Children are numbered through all parents, so that executions of several hosts over the same list agree.
    ///
    /// # Panics
    /// If a parent names a strategy that there is not, or one whose schedule is not valid for its horizon.
    #[must_use]
    pub fn new(strategies: Vec<Strategy>, orders: Vec<ParentOrder>, bucket: Span) -> Execution {
        let mut children = Vec::new();
        let mut parents = Vec::with_capacity(orders.len());
        let symbols = orders.iter().map(|order| usize::from(order.symbol.0) + 1).max().unwrap_or(0);
        for (number, order) in orders.into_iter().enumerate() {
            let parent = ParentId(small(number));
            let schedule = &strategies[usize::from(order.strategy.0)].schedule;
            let first = small(children.len());
            let released = schedule.released(&order);
            for index in 0..schedule.slices as usize {
                let planned = released.as_ref().map(|sums| sums[index + 1] - sums[index]);
                children.push(Child::planned(parent, planned.unwrap_or(Lots::ZERO)));
            }
            let tally = match released {
                Some(_) => Tally { unreleased: order.quantity, ..Tally::default() },
                None => Tally { open: order.quantity, ..Tally::default() },
            };
            parents.push(Parent {
                order,
                first,
                tally,
                volume_before: None,
                last_back: None,
                flattened: false,
            });
        }
        Execution {
            policy: Policy::OPEN,
            parents,
            children,
            views: vec![View::default(); symbols],
            next_child_at: vec![Nanos::ZERO; strategies.len()],
            strategies,
            bucket,
        }
    }

    /// The timers that start the parents that this dispatch thread works.
    pub fn timers(&self, hosted: impl Fn(ParentId) -> bool) -> Vec<(Nanos, Message)> {
        let mut timers = Vec::new();
        for (number, parent) in self.parents.iter().enumerate() {
            let id = ParentId(small(number));
            if !hosted(id) {
                continue;
            }
            let order = &parent.order;
            let Strategy { schedule, tactic } = &self.strategies[usize::from(order.strategy.0)];
            for index in 0..schedule.slices {
                let at = schedule.due(order, index, tactic.catch_up);
                timers.push((at, Message::Slice { parent: id, index }));
            }
            let window = order.horizon.0.min(tactic.catch_up.0);
            timers.push((order.deadline() - Span(window), Message::CatchUp { parent: id }));
        }
        timers
    }

    /// The parent of a child.
    #[must_use]
    pub fn parent_of(&self, child: ChildId) -> ParentId {
        self.children[child.0 as usize].parent
    }

    /// The children of a parent, released or not.
    pub fn children_of(&self, parent: ParentId) -> impl Iterator<Item = ChildId> + use<> {
        let next = self.parents.get(parent.0 as usize + 1);
        let end = next.map_or(small(self.children.len()), |next| next.first);
        (self.parents[parent.0 as usize].first..end).map(ChildId)
    }

    /// Where the lots of a parent are, as far as the desk has heard.
    #[must_use]
    pub fn tally(&self, parent: ParentId) -> Tally {
        self.parents[parent.0 as usize].tally
    }

    /// Whether a parent has left its strategy's schedule for the simplest one.
    #[must_use]
    pub fn is_flattened(&self, parent: ParentId) -> bool {
        self.parents[parent.0 as usize].flattened
    }

    /// Sets the tactic gates. With a participation cap, `market_lots` is what the market of each symbol traded in the
    /// last bucket.
    pub fn set_policy(&mut self, policy: Policy, market_lots: &[Lots]) {
        self.policy = policy;
        for (number, view) in self.views.iter_mut().enumerate() {
            let traded = market_lots.get(number).copied().unwrap_or(Lots::ZERO);
            view.allowance = policy.participation_cap_ppm.map(|cap| share_of(traded, cap));
        }
    }

    /// Sets the tactic gates within a bucket. What is left of an allowance stays unless the cap itself changes.
    pub fn change_policy(&mut self, policy: Policy, market_lots: &[Lots]) {
        if policy.participation_cap_ppm == self.policy.participation_cap_ppm {
            self.policy = policy;
        } else {
            self.set_policy(policy, market_lots);
        }
    }

    /// The decision that a message leads to.
    pub fn decide(&mut self, now: Nanos, message: Message, out: &mut Vec<Command>) {
        match message {
            Message::Slice { parent, index } => self.release(now, parent, index, out),
            Message::Quote { symbol, bid, ask, volume } => {
                // A symbol without parents is nobody's business.
                let Some(view) = self.views.get_mut(usize::from(symbol.0)) else { return };
                (view.bid, view.ask, view.volume) = (bid, ask, volume);
                let symbol = usize::from(symbol.0);
                let mut position = 0;
                while let Some(child) = self.views[symbol].active.get(position).copied() {
                    match self.state(child).status {
                        Status::Waiting => self.enter(now, child, out),
                        _ => self.reprice(now, child, out),
                    }
                    position += usize::from(self.state(child).status != Status::Done);
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
                state.left -= lots;
                let (parent, left) = (state.parent, state.left);
                self.parent(parent).tally.fill(lots);
                if left == Lots::ZERO {
                    self.finish(child);
                }
            }
            Message::Cancelled { child } => self.come_back(now, child, out),
            Message::Patience { child } => self.expire(now, child, out),
            Message::CatchUp { parent } => self.catch_up(now, parent, out),
        }
    }

    fn child(&mut self, child: ChildId) -> &mut Child {
        &mut self.children[child.0 as usize]
    }

    fn state(&self, child: ChildId) -> &Child {
        &self.children[child.0 as usize]
    }

    fn parent(&mut self, parent: ParentId) -> &mut Parent {
        &mut self.parents[parent.0 as usize]
    }

    fn order_of(&self, child: ChildId) -> &ParentOrder {
        &self.parents[self.state(child).parent.0 as usize].order
    }

    fn tactic(&self, order: &ParentOrder) -> &Tactic {
        &self.strategies[usize::from(order.strategy.0)].tactic
    }

    fn view(&self, order: &ParentOrder) -> &View {
        &self.views[usize::from(order.symbol.0)]
    }

    fn in_window(&self, now: Nanos, order: &ParentOrder) -> bool {
        order.deadline().saturating_since(now) <= self.tactic(order).catch_up
    }

    fn release(&mut self, now: Nanos, parent: ParentId, index: u32, out: &mut Vec<Command>) {
        let Parent { order, first, .. } = self.parents[parent.0 as usize];
        let child = ChildId(first + index);
        if self.state(child).status != Status::Planned {
            return;
        }
        if self.policy.simplest_schedule {
            self.flatten(parent);
        }
        let volume = self.view(&order).volume;
        let before = *self.parent(parent).volume_before.get_or_insert(volume);
        let planned = self.state(child).left;
        let open = self.open_for(now, parent, index, Lots(volume.0.saturating_sub(before.0)));
        let lots = planned + open;
        if lots == Lots::ZERO || now >= order.deadline() {
            self.child(child).status = Status::Done;
            return;
        }
        let crosses = self.crosses(now, &order);
        if self.terms(child, crosses).is_none() {
            out.push(Command::Timer(now + self.bucket, Message::Slice { parent, index }));
            return;
        }
        if !self.in_window(now, &order) {
            if let Some(later) = self.held_back_until(now, parent, lots) {
                out.push(Command::Timer(later, Message::Slice { parent, index }));
                return;
            }
        }
        self.parent(parent).tally.release(planned, open);
        let tactic = *self.tactic(&order);
        let spacing = tactic.child_spacing.scaled(u64::from(self.policy.child_spacing_ppm), 1_000_000);
        self.next_child_at[usize::from(order.strategy.0)] = now + spacing;
        self.child(child).left = lots;
        self.child(child).crossing = crosses;
        self.views[usize::from(order.symbol.0)].active.push(child);
        self.enter(now, child, out);
        out.push(Command::Timer(now + tactic.patience, Message::Patience { child }));
    }

    /// Spreads what has not left evenly over the slices that have not; a TWAP is spread so from the start.
    fn flatten(&mut self, parent: ParentId) {
        let Parent { order, tally, flattened, .. } = self.parents[parent.0 as usize];
        let shape = &self.strategies[usize::from(order.strategy.0)].schedule.shape;
        if flattened || *shape == Shape::Twap {
            return;
        }
        let children = self.children_of(parent);
        let planned: Vec<ChildId> = children.filter(|c| self.state(*c).status == Status::Planned).collect();
        let left = tally.unreleased + tally.open;
        let count = planned.len() as u64;
        for (place, child) in (0..).zip(planned) {
            let until =
                |slices: u64| u64::try_from(u128::from(left.0) * u128::from(slices) / u128::from(count));
            let until = |slices| until(slices).expect("a part is no larger than the whole");
            self.child(child).left = Lots(until(place + 1) - until(place));
        }
        let parent = self.parent(parent);
        parent.tally = Tally { unreleased: left, open: Lots::ZERO, ..tally };
        parent.flattened = true;
    }

    /// How many open lots leave with a slice.
    fn open_for(&self, now: Nanos, parent: ParentId, index: u32, traded: Lots) -> Lots {
        let Parent { order, tally, flattened, .. } = &self.parents[parent.0 as usize];
        let schedule = &self.strategies[usize::from(order.strategy.0)].schedule;
        match schedule.participation().filter(|_| !flattened) {
            Some(rate) if index + 1 < schedule.slices && !self.in_window(now, order) => {
                let target = share_of(traded, rate);
                Lots(target.0.saturating_sub(tally.committed().0)).min(tally.open)
            }
            _ => tally.open,
        }
    }

    /// When a slice that may not leave now is to be looked at again. A used allowance is noted.
    fn held_back_until(&mut self, now: Nanos, parent: ParentId, lots: Lots) -> Option<Nanos> {
        let Parent { order, tally, volume_before, .. } = &self.parents[parent.0 as usize];
        let (symbol, strategy) = (usize::from(order.symbol.0), usize::from(order.strategy.0));
        if now < self.next_child_at[strategy] {
            return Some(self.next_child_at[strategy]);
        }
        if let Some(cap) = self.tactic(order).participation_cap_ppm {
            let before = volume_before.map_or(0, |before| before.0);
            let traded = Lots(self.view(order).volume.0.saturating_sub(before));
            if share_of(traded, cap) < tally.committed() + lots {
                return Some(now + self.bucket);
            }
        }
        if let Some(allowance) = &mut self.views[symbol].allowance {
            if *allowance < lots {
                return Some(now + self.bucket);
            }
            *allowance -= lots;
        }
        None
    }

    /// Whether a child that enters now crosses the spread.
    fn crosses(&self, now: Nanos, order: &ParentOrder) -> bool {
        let crosses = self.tactic(order).placement == Placement::Cross;
        (crosses && !self.policy.cross_only_at_deadline) || self.in_window(now, order)
    }

    /// Price and time in force of a child that enters or moves; `None` while there is nothing to orient it by.
    fn terms(&self, child: ChildId, crossing: bool) -> Option<(Ticks, TimeInForce)> {
        let tactic = self.tactic(self.order_of(child));
        if crossing {
            if let Some(price) = self.crossing_price(child) {
                return Some((price, tactic.taking()));
            }
            if tactic.immediate_or_cancel {
                return None;
            }
        }
        self.resting_price(child).map(|price| (price, tactic.resting()))
    }

    fn crossing_price(&self, child: ChildId) -> Option<Ticks> {
        let order = self.order_of(child);
        let through = i64::try_from(self.tactic(order).cross_through).expect("a few ticks");
        let best = self.view(order).best(!order.side)?;
        Some(Ticks(best.0 + order.side.sign() * through))
    }

    fn resting_price(&self, child: ChildId) -> Option<Ticks> {
        let order = self.order_of(child);
        let (side, view) = (order.side, self.view(order));
        let best = view.best(side)?;
        let Some(opposite) = view.best(!side) else { return Some(best) };
        if self.tactic(order).placement != Placement::Improve {
            return Some(best);
        }
        let inside = |price: Ticks| side.sign() * (opposite.0 - price.0) > 0;
        let at_least_best = |price: Ticks| side.sign() * (price.0 - best.0) >= 0;
        // Children of the desk do not outbid each other.
        let siblings = view.active.iter().filter(|other| {
            let state = self.state(**other);
            let rests = matches!(state.status, Status::Pending | Status::Working) && !state.crossing;
            **other != child && rests && self.order_of(**other).side == side
        });
        let places = siblings.map(|other| self.state(*other).price).filter(|price| at_least_best(*price));
        let own = places.filter(|price| inside(*price)).max_by_key(|price| side.sign() * price.0);
        let improved = Ticks(best.0 + side.sign());
        Some(own.unwrap_or(if inside(improved) { improved } else { best }))
    }

    /// Sends a child that is off the book if there is a price for it; one whose parent is over is given up.
    fn enter(&mut self, now: Nanos, child: ChildId, out: &mut Vec<Command>) {
        let order = *self.order_of(child);
        self.child(child).status = Status::Waiting;
        if now >= order.deadline() {
            self.give_up(child);
            return;
        }
        let crossing = self.state(child).crossing;
        if crossing && self.policy.cross_only_at_deadline && !self.in_window(now, &order) {
            return;
        }
        let Some((price, time_in_force)) = self.terms(child, crossing) else { return };
        let state = self.child(child);
        let lots = state.left;
        state.status = Status::Pending;
        state.price = price;
        state.moved_at = now;
        state.outstanding = 1;
        out.push(Command::Send(Request::New { child, side: order.side, price, lots, time_in_force }));
    }

    fn reprice(&mut self, now: Nanos, child: ChildId, out: &mut Vec<Command>) {
        let state = *self.state(child);
        if state.status != Status::Working {
            return;
        }
        let order = self.order_of(child);
        let (side, tactic) = (order.side, *self.tactic(order));
        let behind = |target: Ticks| side.sign() * (target.0 - state.price.0);
        if state.crossing {
            // What the opposite side did not fill follows it: the deadline gates do not apply to it.
            if self.crossing_price(child).is_some_and(|target| behind(target) > 0) {
                self.replace(now, child, true, out);
            }
            return;
        }
        let tolerance = match self.policy.cancel_replace {
            CancelReplace::Normal => tactic.reprice_ticks,
            CancelReplace::OnlyIfPriceMoved => tactic.reprice_ticks + 1,
            CancelReplace::Suppressed => return,
        };
        let Some(best) = self.view(order).best(side) else { return };
        let rested = now.saturating_since(state.moved_at);
        if i128::from(behind(best)) < i128::from(tolerance) || rested < self.policy.min_reprice_interval {
            return;
        }
        match tactic.on_left_behind {
            LeftBehind::Follow => self.replace(now, child, false, out),
            LeftBehind::Cross if !self.policy.cross_only_at_deadline => self.cross(now, child, out),
            LeftBehind::Cross | LeftBehind::Stay => {}
        }
    }

    /// Makes a child cross that was to rest.
    fn cross(&mut self, now: Nanos, child: ChildId, out: &mut Vec<Command>) {
        let state = *self.state(child);
        match state.status {
            Status::Planned | Status::Done => {}
            Status::Waiting => {
                self.child(child).crossing = true;
                self.enter(now, child, out);
            }
            Status::Pending | Status::Working => {
                if state.crossing || self.crossing_price(child).is_none() {
                    return;
                }
                self.child(child).crossing = true;
                // What is being cancelled enters again when it is back.
                if !state.given_up {
                    self.replace(now, child, true, out);
                }
            }
        }
    }

    fn replace(&mut self, now: Nanos, child: ChildId, crossing: bool, out: &mut Vec<Command>) {
        let Some((price, time_in_force)) = self.terms(child, crossing) else { return };
        let state = self.child(child);
        state.status = Status::Pending;
        state.price = price;
        state.moved_at = now;
        state.outstanding += 1;
        out.push(Command::Send(Request::Replace { child, price, time_in_force }));
    }

    /// A child's lifetime is over.
    fn expire(&mut self, now: Nanos, child: ChildId, out: &mut Vec<Command>) {
        let order = *self.order_of(child);
        if self.tactic(&order).on_expiry == OnExpiry::Cross {
            if !self.policy.cross_only_at_deadline {
                self.cross(now, child, out);
            }
            return;
        }
        let state = self.child(child);
        if state.crossing {
            return;
        }
        match state.status {
            Status::Planned | Status::Done => {}
            Status::Waiting => self.give_up(child),
            Status::Pending | Status::Working => {
                state.status = Status::Pending;
                state.given_up = true;
                state.outstanding += 1;
                out.push(Command::Send(Request::Cancel { child }));
            }
        }
    }

    /// What was left of a child is off the book.
    fn come_back(&mut self, now: Nanos, child: ChildId, out: &mut Vec<Command>) {
        let order = *self.order_of(child);
        let in_window = self.in_window(now, &order);
        let state = self.child(child);
        if state.status == Status::Done {
            return;
        }
        let given_up = std::mem::replace(&mut state.given_up, false);
        if now >= order.deadline() || (given_up && !in_window) {
            self.give_up(child);
            return;
        }
        let sent_to = state.price;
        state.status = Status::Waiting;
        let crossing = state.crossing;
        // The same request would fare the same until the market is heard to have changed.
        if given_up || self.terms(child, crossing).is_some_and(|(price, _)| price != sent_to) {
            self.enter(now, child, out);
        }
    }

    /// Hands the lots of a child that is off the book back to its parent.
    fn give_up(&mut self, child: ChildId) {
        let state = self.child(child);
        let (parent, left) = (state.parent, state.left);
        state.left = Lots::ZERO;
        let parent = self.parent(parent);
        parent.tally.come_back(left);
        parent.last_back = Some(child);
        self.finish(child);
    }

    /// Crosses what rests and releases what a gate held back, all at once or one at a time.
    fn catch_up(&mut self, now: Nanos, parent: ParentId, out: &mut Vec<Command>) {
        let order = self.parents[parent.0 as usize].order;
        if now >= order.deadline() {
            return;
        }
        let Strategy { schedule, tactic } = &self.strategies[usize::from(order.strategy.0)];
        let (slices, window) = (schedule.slices, tactic.catch_up);
        let mut waiting: Vec<(u32, ChildId)> = (0..slices)
            .zip(self.children_of(parent))
            .filter(|(index, child)| {
                let state = self.state(*child);
                match state.status {
                    Status::Planned => schedule.due(&order, *index, window) <= now,
                    Status::Pending | Status::Working => !state.crossing,
                    Status::Waiting => true,
                    Status::Done => false,
                }
            })
            .collect();
        let releases = waiting.iter().any(|(_, child)| self.state(*child).status == Status::Planned);
        let Parent { first, tally, last_back, .. } = self.parents[parent.0 as usize];
        if let Some(carrier) = last_back.filter(|_| !releases && tally.open > Lots::ZERO) {
            waiting.push((carrier.0 - first, carrier));
        }
        let (at_once, again) = match self.policy.catch_up {
            CatchUp::Burst => (waiting.len(), None),
            CatchUp::Paced => {
                (1, (waiting.len() > 1).then(|| (window / (2 * u64::from(slices))).max(Span(1))))
            }
        };
        for (index, child) in waiting.into_iter().take(at_once) {
            match self.state(child).status {
                Status::Planned => self.release(now, parent, index, out),
                Status::Done => self.send_open(now, parent, child, out),
                _ => self.cross(now, child, out),
            }
        }
        if let Some(spacing) = again {
            out.push(Command::Timer(now + spacing, Message::CatchUp { parent }));
        }
    }

    /// Sends open lots that no slice is left to take, under the name of a child that is over.
    fn send_open(&mut self, now: Nanos, parent: ParentId, child: ChildId, out: &mut Vec<Command>) {
        let Parent { order, ref mut tally, .. } = self.parents[parent.0 as usize];
        let lots = tally.open;
        if lots == Lots::ZERO || now >= order.deadline() {
            return;
        }
        tally.release(Lots::ZERO, lots);
        self.child(child).left = lots;
        self.child(child).crossing = true;
        self.views[usize::from(order.symbol.0)].active.push(child);
        self.enter(now, child, out);
    }

    fn finish(&mut self, child: ChildId) {
        self.child(child).status = Status::Done;
        let symbol = usize::from(self.order_of(child).symbol.0);
        self.views[symbol].active.retain(|active| *active != child);
    }
}

impl Child {
    fn planned(parent: ParentId, lots: Lots) -> Child {
        Child {
            parent,
            status: Status::Planned,
            left: lots,
            price: Ticks(0),
            moved_at: Nanos::ZERO,
            crossing: false,
            given_up: false,
            outstanding: 0,
        }
    }
}

fn share_of(lots: Lots, ppm: u32) -> Lots {
    let wide = u128::from(lots.0) * u128::from(ppm) / 1_000_000;
    Lots(u64::try_from(wide).expect("a share is no larger than the whole"))
}

fn small(number: usize) -> u32 {
    u32::try_from(number).expect("fewer than 2^32 parents and children")
}
