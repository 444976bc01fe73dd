//! Lots are conserved whatever an exchange does: every tactic against one that acknowledges late, fills in parts,
//! refuses and expires at random, and keeps its own account as simply as possible.

use std::collections::{BTreeMap, VecDeque};

use numashock_book::{Lots, Side, Ticks};
use numashock_engine::{Nanos, Seed, Span, Stream};
use proptest::prelude::*;
use proptest::strategy::Strategy as _;

use crate::schedule::{Impact, Profile, Schedule, Shape};
use crate::{
    CancelReplace, CatchUp, ChildId, Command, Execution, LeftBehind, Message, OnExpiry, ParentId,
    ParentOrder, Placement, Policy, Request, Strategy, StrategyId, SymbolId, Tactic, TimeInForce,
};

const BUCKET: Span = Span(50);
const WINDOW: Span = Span(250);
const SYMBOLS: u16 = 2;

#[derive(Clone, Copy, Debug)]
enum Event {
    Ready(Message),
    Serve,
    Arrive(Request),
    Expire(ParentId),
    Trade(u16),
    Steer,
}

#[derive(Clone, Copy, Debug)]
struct Resting {
    price: i64,
    lots: u64,
}

/// What the exchange itself knows of a parent.
#[derive(Clone, Copy, Debug, Default)]
struct Truth {
    filled: u64,
    in_flight: u64,
    /// Volume of its symbol that the desk knew of at its first slice.
    volume_at_first: Option<u64>,
}

struct World {
    draws: Stream,
    /// Everything that crosses is filled in the last stretch before a deadline, and nothing is refused.
    liquid: bool,
    orders: Vec<ParentOrder>,
    strategies: Vec<Strategy>,
    execution: Execution,
    events: BTreeMap<(u64, u64), Event>,
    pushed: u64,
    inbox: VecDeque<Message>,
    bid: Vec<i64>,
    spread: Vec<i64>,
    volume: Vec<u64>,
    told_volume: Vec<u64>,
    resting: BTreeMap<ChildId, Resting>,
    truth: Vec<Truth>,
    last_arrival: u64,
    last_report: u64,
}

impl World {
    fn new(seed: u64, liquid: bool, strategies: Vec<Strategy>, orders: Vec<ParentOrder>) -> World {
        let execution = Execution::new(strategies.clone(), orders.clone(), BUCKET);
        let mut world = World {
            draws: Seed(seed).stream("conservation", 0),
            liquid,
            events: BTreeMap::new(),
            pushed: 0,
            inbox: VecDeque::new(),
            bid: vec![100; usize::from(SYMBOLS)],
            spread: vec![1; usize::from(SYMBOLS)],
            volume: vec![0; usize::from(SYMBOLS)],
            told_volume: vec![0; usize::from(SYMBOLS)],
            resting: BTreeMap::new(),
            truth: vec![Truth::default(); orders.len()],
            last_arrival: 0,
            last_report: 0,
            execution,
            orders,
            strategies,
        };
        for (at, message) in world.execution.timers(|_| true) {
            world.push(at.0, Event::Ready(message));
        }
        for number in 0..world.orders.len() {
            let at = world.orders[number].deadline().0;
            world.push(at, Event::Expire(ParentId(u32::try_from(number).unwrap())));
        }
        let last = world.orders.iter().map(|order| order.deadline().0).max().unwrap();
        for symbol in 0..SYMBOLS {
            let mut at = 1;
            while at < last + 100 {
                world.push(at, Event::Trade(symbol));
                at += 1 + world.draws.below(20);
            }
        }
        (0..last).step_by(170).for_each(|at| world.push(at, Event::Steer));
        world
    }

    fn push(&mut self, at: u64, event: Event) {
        self.pushed += 1;
        self.events.insert((at, self.pushed), event);
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.draws.below(many) == 0
    }

    fn report(&mut self, now: u64, message: Message) {
        self.last_report = self.last_report.max(now + self.draws.below(if self.liquid { 3 } else { 60 }));
        self.push(self.last_report, Event::Ready(message));
    }

    fn run(&mut self) {
        while let Some((&(now, number), &event)) = self.events.iter().next() {
            self.events.remove(&(now, number));
            match event {
                Event::Ready(message) => {
                    self.inbox.push_back(message);
                    if self.inbox.len() == 1 {
                        self.push(now, Event::Serve);
                    }
                }
                Event::Serve => self.serve(now),
                Event::Arrive(request) => self.arrive(now, request),
                Event::Expire(parent) => self.expire(now, parent),
                Event::Trade(symbol) => self.trade(now, symbol),
                Event::Steer => self.steer(),
            }
            self.check();
        }
        self.check_end();
    }

    fn serve(&mut self, now: u64) {
        let message = self.inbox.pop_front().expect("a message is served");
        if let Message::Quote { symbol, volume, .. } = message {
            self.told_volume[usize::from(symbol.0)] = volume.0;
        }
        if let Message::Slice { parent, .. } = message {
            let order = &self.orders[parent.0 as usize];
            let told = self.told_volume[usize::from(order.symbol.0)];
            self.truth[parent.0 as usize].volume_at_first.get_or_insert(told);
        }
        let before: Vec<u64> = self.committed();
        let mut out = Vec::new();
        self.execution.decide(Nanos(now), message, &mut out);
        self.check_limits(now, &before);
        for command in out {
            match command {
                Command::Timer(at, message) => {
                    assert!(at > Nanos(now), "a timer that rings at once rings for ever");
                    self.push(at.0, Event::Ready(message));
                }
                Command::Send(request) => {
                    if let Request::New { child, lots, .. } = request {
                        assert!(lots > Lots(0), "an order has a size");
                        self.truth[self.execution.parent_of(child).0 as usize].in_flight += lots.0;
                    }
                    let latency = self.draws.below(if self.liquid { 3 } else { 60 });
                    self.last_arrival = self.last_arrival.max(now + 1 + latency);
                    self.push(self.last_arrival, Event::Arrive(request));
                }
            }
        }
        if !self.inbox.is_empty() {
            let stall = if !self.liquid && self.one_in(40) { 150 } else { 0 };
            self.push(now + stall, Event::Serve);
        }
    }

    fn committed(&self) -> Vec<u64> {
        let parents = 0..u32::try_from(self.orders.len()).unwrap();
        parents
            .map(|parent| self.execution.tally(ParentId(parent)))
            .map(|tally| tally.working.0 + tally.filled.0)
            .collect()
    }

    /// Outside the deadline window no parent takes more than its share of the volume.
    fn check_limits(&self, now: u64, before: &[u64]) {
        for (number, after) in self.committed().into_iter().enumerate() {
            let order = &self.orders[number];
            let Strategy { schedule, tactic } = &self.strategies[usize::from(order.strategy.0)];
            if after <= before[number] || order.deadline().0 - now <= tactic.catch_up.0 {
                continue;
            }
            let traded = self.told_volume[usize::from(order.symbol.0)]
                - self.truth[number].volume_at_first.expect("a parent begins with a slice");
            let follows = match schedule.shape {
                Shape::Pov { rate_ppm } if !self.execution.is_flattened(ParentId(number as u32)) => {
                    Some(rate_ppm)
                }
                _ => None,
            };
            for share in [tactic.participation_cap_ppm, follows].into_iter().flatten() {
                let most = u128::from(traded) * u128::from(share) / 1_000_000;
                assert!(u128::from(after) <= most, "parent {number}: {after} of {traded} traded");
            }
        }
    }

    fn ask(&self, symbol: usize) -> i64 {
        self.bid[symbol] + self.spread[symbol]
    }

    /// Lots that an order takes on arrival; zero if it is not marketable.
    fn taken(&mut self, order: &ParentOrder, price: i64, lots: u64) -> Option<u64> {
        let symbol = usize::from(order.symbol.0);
        let marketable = match order.side {
            Side::Buy => price >= self.ask(symbol),
            Side::Sell => price <= self.bid[symbol],
        };
        marketable.then(|| if self.liquid { lots } else { self.draws.below(lots + 1) })
    }

    fn arrive(&mut self, now: u64, request: Request) {
        let child = request.child();
        let parent = self.execution.parent_of(child).0 as usize;
        if let Request::New { lots, .. } = request {
            self.truth[parent].in_flight -= lots.0;
        }
        if now >= self.orders[parent].deadline().0 {
            assert!(!self.resting.contains_key(&child), "expired");
            self.report(now, Message::Cancelled { child });
            return;
        }
        match request {
            Request::New { price, lots, time_in_force, .. } => {
                assert!(!self.resting.contains_key(&child), "a child is in the market once");
                if !self.liquid && self.one_in(12) {
                    self.report(now, Message::Cancelled { child });
                } else {
                    self.place(now, child, Resting { price: price.0, lots: lots.0 }, time_in_force);
                }
            }
            Request::Cancel { .. } => {
                if self.resting.remove(&child).is_some() {
                    self.report(now, Message::Cancelled { child });
                }
            }
            Request::Replace { price, time_in_force, .. } => {
                if let Some(Resting { lots, .. }) = self.resting.remove(&child) {
                    self.place(now, child, Resting { price: price.0, lots }, time_in_force);
                }
            }
        }
    }

    fn place(&mut self, now: u64, child: ChildId, order: Resting, time_in_force: TimeInForce) {
        let parent = self.orders[self.execution.parent_of(child).0 as usize];
        let Resting { price, lots } = order;
        let taken = self.taken(&parent, price, lots);
        if time_in_force == TimeInForce::PostOnly && taken.is_some() {
            self.report(now, Message::Cancelled { child });
            return;
        }
        self.fill(now, child, taken.unwrap_or(0));
        let left = lots - taken.unwrap_or(0);
        if left == 0 {
            return;
        }
        if time_in_force == TimeInForce::ImmediateOrCancel {
            self.report(now, Message::Cancelled { child });
        } else {
            self.resting.insert(child, Resting { price, lots: left });
            self.report(now, Message::Accepted { child, price: Ticks(price) });
        }
    }

    fn fill(&mut self, now: u64, child: ChildId, lots: u64) {
        if lots > 0 {
            let parent = self.execution.parent_of(child).0 as usize;
            self.truth[parent].filled += lots;
            self.volume[usize::from(self.orders[parent].symbol.0)] += lots;
            self.report(now, Message::Filled { child, lots: Lots(lots) });
        }
    }

    fn expire(&mut self, now: u64, parent: ParentId) {
        for child in self.execution.children_of(parent) {
            if self.resting.remove(&child).is_some() {
                self.report(now, Message::Cancelled { child });
            }
        }
    }

    /// The market moves, somebody trades, and a part of one own order is filled.
    fn trade(&mut self, now: u64, symbol: u16) {
        let s = usize::from(symbol);
        let calm = self.liquid
            && self
                .orders
                .iter()
                .any(|order| order.deadline().0.saturating_sub(WINDOW.0) <= now && now <= order.deadline().0);
        if !calm {
            self.bid[s] += i64::try_from(self.draws.below(3)).unwrap() - 1;
            self.spread[s] = 1 + i64::try_from(self.draws.below(3)).unwrap();
        }
        self.volume[s] += self.draws.below(30);
        let here: Vec<ChildId> =
            self.resting.keys().copied().filter(|child| self.symbol_of(*child) == symbol).collect();
        if let Some(child) = here.get(self.draws.below(here.len() as u64 + 1) as usize).copied() {
            let resting = self.resting.get_mut(&child).expect("it rests");
            let lots = 1 + self.draws.below(resting.lots);
            resting.lots -= lots;
            if resting.lots == 0 {
                self.resting.remove(&child);
            }
            self.fill(now, child, lots);
        }
        let side_is_empty = !self.liquid && self.one_in(20);
        let bid = (!side_is_empty).then_some(Ticks(self.bid[s]));
        let (ask, volume) = (Some(Ticks(self.ask(s))), Lots(self.volume[s]));
        self.push(now + 2, Event::Ready(Message::Quote { symbol: SymbolId(symbol), bid, ask, volume }));
    }

    fn symbol_of(&self, child: ChildId) -> u16 {
        self.orders[self.execution.parent_of(child).0 as usize].symbol.0
    }

    fn steer(&mut self) {
        let policy = Policy {
            participation_cap_ppm: self.one_in(3).then_some(400_000),
            child_spacing_ppm: 1_000_000 + 500_000 * u32::from(self.one_in(2)),
            min_reprice_interval: Span(self.draws.below(2) * 30),
            cancel_replace: [
                CancelReplace::Normal,
                CancelReplace::OnlyIfPriceMoved,
                CancelReplace::Suppressed,
            ][self.draws.below(3) as usize],
            catch_up: if self.one_in(2) { CatchUp::Paced } else { CatchUp::Burst },
            cross_only_at_deadline: self.one_in(3),
            simplest_schedule: self.one_in(6),
        };
        if self.one_in(2) {
            self.execution.set_policy(policy, &[Lots(100), Lots(40)]);
        } else {
            self.execution.change_policy(policy, &[Lots(100), Lots(40)]);
        }
    }

    fn check(&self) {
        for (number, order) in self.orders.iter().enumerate() {
            let tally = self.execution.tally(ParentId(u32::try_from(number).unwrap()));
            let truth = self.truth[number];
            assert_eq!(tally.total(), order.quantity, "parent {number}: {tally:?}");
            assert!(tally.filled.0 <= truth.filled, "nothing is filled before it is: {tally:?} {truth:?}");
            let children = self.execution.children_of(ParentId(u32::try_from(number).unwrap()));
            let live: u64 =
                children.filter_map(|child| self.resting.get(&child)).map(|order| order.lots).sum();
            let all = live + truth.in_flight + truth.filled;
            assert!(
                all <= tally.working.0 + tally.filled.0,
                "parent {number}: {all} are out, {tally:?} known"
            );
        }
    }

    fn check_end(&self) {
        assert!(self.resting.is_empty(), "every order ends");
        for (number, order) in self.orders.iter().enumerate() {
            let tally = self.execution.tally(ParentId(u32::try_from(number).unwrap()));
            assert_eq!((tally.filled.0, tally.working), (self.truth[number].filled, Lots(0)), "{tally:?}");
            assert_eq!(self.truth[number].in_flight, 0);
            let window = self.strategies[usize::from(order.strategy.0)].tactic.catch_up;
            if self.liquid && window >= WINDOW {
                assert_eq!(tally.filled, order.quantity, "parent {number} is done by its deadline");
            }
        }
    }
}

fn tactics() -> impl proptest::strategy::Strategy<Value = Tactic> {
    let placement = prop_oneof![Just(Placement::Join), Just(Placement::Improve), Just(Placement::Cross)];
    let left = prop_oneof![Just(LeftBehind::Follow), Just(LeftBehind::Cross), Just(LeftBehind::Stay)];
    let expiry = prop_oneof![Just(OnExpiry::Cross), Just(OnExpiry::Return)];
    let times = (1u64..400, prop_oneof![Just(0), Just(80), Just(WINDOW.0)], 0u64..20);
    let cap = prop::option::of(50_000u32..1_000_000);
    (placement, any::<(bool, bool)>(), left, 1u64..3, expiry, times, 0u64..3, cap).prop_map(
        |(
            placement,
            (post_only, immediate_or_cancel),
            on_left_behind,
            reprice_ticks,
            on_expiry,
            times,
            cross_through,
            participation_cap_ppm,
        )| {
            let (patience, catch_up, spacing) = times;
            Tactic {
                placement,
                post_only,
                immediate_or_cancel,
                on_left_behind,
                reprice_ticks,
                patience: Span(patience),
                on_expiry,
                catch_up: Span(catch_up),
                cross_through,
                child_spacing: Span(spacing),
                participation_cap_ppm,
            }
        },
    )
}

fn schedules() -> impl proptest::strategy::Strategy<Value = Schedule> {
    let impact = Impact { volatility: 1e5, temporary: 1.0, permanent: 0.0, fixed: 0.0, risk_aversion: 1e3 };
    let shape = prop_oneof![
        Just(Shape::Twap),
        Just(Shape::Vwap(Profile::Horizon(vec![3, 0, 1]))),
        (50_000u32..1_000_000).prop_map(|rate_ppm| Shape::Pov { rate_ppm }),
        Just(Shape::AlmgrenChriss(impact)),
        Just(Shape::ImplementationShortfall { half_life: Span(600) }),
    ];
    (2u32..12, shape).prop_map(|(slices, shape)| Schedule { slices, shape })
}

fn orders() -> impl proptest::strategy::Strategy<Value = Vec<ParentOrder>> {
    let order = (0u64..1_500, any::<bool>(), 1u64..60, 300u64..2_500, 0..SYMBOLS, 0u16..2).prop_map(
        |(arrival, buys, quantity, horizon, symbol, strategy)| ParentOrder {
            arrival: Nanos(arrival),
            side: if buys { Side::Buy } else { Side::Sell },
            quantity: Lots(quantity),
            horizon: Span(horizon),
            symbol: SymbolId(symbol),
            strategy: StrategyId(strategy),
        },
    );
    prop::collection::vec(order, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]
    #[test]
    fn no_lot_is_lost_or_sent_twice(
        seed in any::<u64>(),
        strategies in prop::collection::vec((schedules(), tactics()), 2),
        orders in orders(),
    ) {
        let strategies: Vec<Strategy> =
            strategies.into_iter().map(|(schedule, tactic)| Strategy { schedule, tactic }).collect();
        for liquid in [false, true] {
            World::new(seed, liquid, strategies.clone(), orders.clone()).run();
        }
    }
}
