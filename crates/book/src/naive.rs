//! The naive twin of the book: one sorted list, searched for everything.

use proptest::prelude::*;

use crate::book::OwnFirst;
use crate::{Ahead, Book, Fill, Lots, NewOrder, OrderId, OrderKind, Quote, Side, Stamp, Ticks};

#[derive(Clone, Copy, Debug)]
struct Resting {
    id: OrderId,
    side: Side,
    price: Ticks,
    lots: Lots,
    stamp: Stamp,
    /// What stood before it when it took its place.
    arrived: Ahead,
}

/// All orders of both sides; each side's in price-time priority.
#[derive(Default)]
struct Naive {
    orders: Vec<Resting>,
}

impl Naive {
    fn find(&self, id: OrderId) -> Option<usize> {
        self.orders.iter().position(|order| order.id == id)
    }

    fn limit(&mut self, order: Resting, fills: &mut Vec<Fill>) -> Lots {
        let left = self.take(order.id, order.side, order.lots, Some(order.price), fills);
        if left > Lots::ZERO {
            self.rest(Resting { lots: left, ..order });
        }
        left
    }

    fn rest(&mut self, order: Resting) {
        // Behind every order of its side that is better, or as good and not later.
        let behind = |other: &Resting| {
            other.side == order.side
                && (order.side.prefers(other.price, order.price)
                    || (other.price == order.price && other.stamp <= order.stamp))
        };
        let place = self.orders.iter().rposition(behind).map_or(0, |place| place + 1);
        self.orders.insert(place, order);
        self.orders[place].arrived = self.ahead(order.id).expect("it rests");
    }

    fn take(
        &mut self,
        taker: OrderId,
        side: Side,
        lots: Lots,
        limit: Option<Ticks>,
        fills: &mut Vec<Fill>,
    ) -> Lots {
        let mut left = lots;
        let before = Naive { orders: self.orders.clone() };
        while left > Lots::ZERO {
            let Some(first) = self.orders.iter().position(|order| order.side != side) else { break };
            if limit.is_some_and(|limit| !side.reaches(limit, self.orders[first].price)) {
                break;
            }
            left = self.hit(first, taker, left, &before, fills);
        }
        left
    }

    fn take_own(&mut self, taker: OrderId, victim: OrderId, lots: Lots, fills: &mut Vec<Fill>) -> Lots {
        let mut left = lots;
        let before = Naive { orders: self.orders.clone() };
        while left > Lots::ZERO {
            let Some(place) = self.find(victim) else { break };
            let side = self.orders[place].side;
            let own = |order: &Resting| order.side == side && order.id.is_own();
            let Some(own) = self.orders[..place].iter().position(own) else { break };
            left = self.hit(own, taker, left, &before, fills);
        }
        left
    }

    fn take_recorded(&mut self, taker: OrderId, victim: OrderId, lots: Lots, fills: &mut Vec<Fill>) -> Lots {
        let before = Naive { orders: self.orders.clone() };
        let left = self.take_own(taker, victim, lots, fills);
        match self.find(victim) {
            Some(place) if left > Lots::ZERO => self.hit(place, taker, left, &before, fills),
            _ => left,
        }
    }

    /// `before` is the book as the taker found it.
    fn hit(
        &mut self,
        place: usize,
        taker: OrderId,
        lots: Lots,
        before: &Naive,
        fills: &mut Vec<Fill>,
    ) -> Lots {
        let order = &mut self.orders[place];
        let part = lots.min(order.lots);
        order.lots -= part;
        let Resting { id: maker, side: maker_side, price, lots: maker_left, arrived, .. } = *order;
        let ahead_at_fill = before.ahead(maker).expect("the taker found it");
        let fill = Fill {
            maker,
            taker,
            maker_side,
            price,
            lots: part,
            maker_left,
            ahead_at_arrival: arrived,
            ahead_at_fill,
        };
        fills.push(fill);
        if maker_left == Lots::ZERO {
            self.orders.remove(place);
        }
        lots - part
    }

    fn reduce(&mut self, id: OrderId, by: Lots) -> Option<Lots> {
        let place = self.find(id)?;
        let left = self.orders[place].lots.saturating_sub(by);
        self.orders[place].lots = left;
        if left == Lots::ZERO {
            self.orders.remove(place);
        }
        Some(left)
    }

    fn replace(&mut self, order: Resting, fills: &mut Vec<Fill>) -> Option<Lots> {
        let place = self.find(order.id)?;
        let old = self.orders[place];
        if order.price == old.price && order.lots <= old.lots {
            return self.reduce(order.id, old.lots - order.lots);
        }
        self.orders.remove(place);
        Some(self.limit(Resting { side: old.side, ..order }, fills))
    }

    fn at(&self, side: Side, price: Ticks) -> impl Iterator<Item = &Resting> {
        self.orders.iter().filter(move |order| order.side == side && order.price == price)
    }

    fn ahead(&self, id: OrderId) -> Option<Ahead> {
        let order = self.orders[self.find(id)?];
        let before = || self.at(order.side, order.price).take_while(|other| other.id != id);
        Some(Ahead { orders: before().count() as u64, lots: before().map(|other| other.lots).sum() })
    }

    fn levels(&self, side: Side) -> Vec<Quote> {
        let mut levels: Vec<Quote> = Vec::new();
        for order in self.orders.iter().filter(|order| order.side == side) {
            match levels.last_mut().filter(|last| last.price == order.price) {
                Some(last) => last.lots += order.lots,
                None => levels.push(Quote { price: order.price, lots: order.lots }),
            }
        }
        levels
    }

    fn sweep(&self, taker: Side, lots: Lots) -> (i128, Lots) {
        let mut left = lots;
        let mut value = 0;
        for order in self.orders.iter().filter(|order| order.side != taker) {
            let part = left.min(order.lots);
            value += 2 * i128::from(order.price.0) * i128::from(part.0);
            left -= part;
        }
        (value, left)
    }
}

#[derive(Clone, Copy, Debug)]
enum Command {
    Limit,
    PostOnly,
    Take,
    TakeLimited,
    TakeNamed,
    TakeOwn,
    TakeRecorded,
    Cancel,
    Reduce,
    Replace,
}

const COMMANDS: [Command; 13] = [
    Command::Limit,
    Command::Limit,
    Command::Limit,
    Command::Limit,
    Command::PostOnly,
    Command::Take,
    Command::TakeLimited,
    Command::TakeNamed,
    Command::TakeOwn,
    Command::TakeRecorded,
    Command::Cancel,
    Command::Reduce,
    Command::Replace,
];

#[derive(Clone, Copy, Debug)]
struct Step {
    command: Command,
    own: bool,
    side: Side,
    price: Ticks,
    lots: Lots,
    /// By how much the stamp lies before now.
    early: u64,
    /// Which earlier order is meant.
    which: u64,
}

fn step() -> impl Strategy<Value = Step> {
    // Mostly a narrow band, so that queues are long; sometimes far away.
    let price = prop_oneof![8 => 95i64..105, 1 => -2_000i64..2_000, 1 => -1_000_000i64..1_000_000];
    let early = prop_oneof![3 => Just(0u64), 1 => 0u64..30];
    let of = (0..COMMANDS.len(), any::<bool>(), any::<bool>(), price, 1u64..12, early, any::<u64>());
    of.prop_map(|(command, own, buy, price, lots, early, which)| Step {
        command: COMMANDS[command],
        own,
        side: if buy { Side::Buy } else { Side::Sell },
        price: Ticks(price),
        lots: Lots(lots),
        early,
        which,
    })
}

/// Applies one command to both books and compares what they answer.
fn apply(book: &mut Book, naive: &mut Naive, fresh: OrderId, now: u64, step: Step) {
    let Step { command, side, price, lots, which, .. } = step;
    let id = match naive.orders.len() as u64 {
        0 => fresh,
        len => naive.orders[(which % len) as usize].id,
    };
    let stamp = Stamp(now.saturating_sub(step.early));
    let order = Resting { id: fresh, side, price, lots, stamp, arrived: Ahead::default() };
    let (mut fills, mut twin) = (Vec::new(), Vec::new());
    match command {
        Command::Limit => {
            // Every other order comes through the checks.
            let left = if which % 2 == 0 {
                book.limit(fresh, side, price, lots, stamp, &mut fills)
            } else {
                let kind = OrderKind::Limit(price);
                let entered = book.enter(&NewOrder { id: fresh, side, kind, lots, stamp }, &mut fills);
                entered.expect("nothing is wrong with it").resting
            };
            assert_eq!(left, naive.limit(order, &mut twin));
        }
        Command::PostOnly => {
            let crosses = naive.levels(!side).first().is_some_and(|best| side.reaches(price, best.price));
            assert_eq!(book.post_only(fresh, side, price, lots, stamp), !crosses);
            if !crosses {
                naive.rest(order);
            }
        }
        Command::Take | Command::TakeLimited => {
            let limit = matches!(command, Command::TakeLimited).then_some(price);
            let left = book.take(fresh, side, lots, limit, &mut fills);
            assert_eq!(left, naive.take(fresh, side, lots, limit, &mut twin));
        }
        Command::TakeNamed => {
            let place = naive.find(id);
            let before = Naive { orders: naive.orders.clone() };
            let expected = place.map_or(lots, |place| naive.hit(place, fresh, lots, &before, &mut twin));
            assert_eq!(book.take_named(fresh, id, lots, &mut fills), expected);
        }
        Command::TakeOwn => {
            let taker = naive.find(id).map_or(side, |place| !naive.orders[place].side);
            let left = book.take_own(fresh, taker, lots, OwnFirst::Before(id), &mut fills);
            assert_eq!(left, naive.take_own(fresh, id, lots, &mut twin));
        }
        Command::TakeRecorded => {
            let taker = naive.find(id).map_or(side, |place| !naive.orders[place].side);
            let left = book.take_own(fresh, taker, lots, OwnFirst::Before(id), &mut fills);
            let left = book.take_named(fresh, id, left, &mut fills);
            assert_eq!(left, naive.take_recorded(fresh, id, lots, &mut twin));
        }
        Command::Cancel => {
            let expected = naive.find(id).map(|place| naive.orders.remove(place).lots);
            assert_eq!(book.cancel(id), expected);
        }
        Command::Reduce => assert_eq!(book.reduce(id, lots), naive.reduce(id, lots)),
        Command::Replace => {
            let left = if which % 2 == 0 {
                book.replace(id, price, lots, stamp, &mut fills)
            } else {
                book.modify(id, price, lots, stamp, &mut fills).ok().map(|entered| entered.resting)
            };
            assert_eq!(left, naive.replace(Resting { id, ..order }, &mut twin));
        }
    }
    assert_eq!(fills, twin);
}

fn compare(book: &Book, naive: &Naive, step: Step) {
    book.check();
    for side in Side::BOTH {
        let levels = naive.levels(side);
        assert_eq!(book.best(side), levels.first().copied());
        assert_eq!(book.levels(side).collect::<Vec<_>>(), levels);
        assert_eq!(book.orders_at(side, step.price), naive.at(side, step.price).count() as u64);
        assert_eq!(book.lots_at(side, step.price), naive.at(side, step.price).map(|order| order.lots).sum());
        let stamp = Stamp(step.which % 250);
        let earlier = naive.at(side, step.price).filter(|order| order.stamp <= stamp);
        assert_eq!(book.ahead_of_stamp(side, step.price, stamp), earlier.map(|order| order.lots).sum());
        assert_eq!(book.sweep(side, step.lots), naive.sweep(side, step.lots));
    }
    for order in &naive.orders {
        assert_eq!(book.order(order.id), Some((order.side, order.price, order.lots)));
        assert_eq!(book.ahead(order.id), naive.ahead(order.id));
    }
}

proptest! {
    #[test]
    fn the_book_agrees_with_a_sorted_list(steps in prop::collection::vec(step(), 1..250)) {
        let (mut book, mut naive) = (Book::new(), Naive::default());
        for (now, step) in steps.into_iter().enumerate() {
            let now = now as u64;
            let fresh = if step.own { OrderId::own(now) } else { OrderId(now) };
            apply(&mut book, &mut naive, fresh, now, step);
            compare(&book, &naive, step);
        }
    }
}

/// Own orders before the price of an order that no longer rests (attribution: A9).
#[test]
fn own_orders_are_taken_down_to_a_limit() {
    let mut book = Book::new();
    let mut fills = Vec::new();
    for (number, price) in [(1, 101), (2, 100), (3, 99)] {
        assert!(book.post_only(OrderId(number), Side::Buy, Ticks(price), Lots(5), Stamp(number)));
        assert!(book.post_only(OrderId::own(number), Side::Buy, Ticks(price), Lots(2), Stamp(number)));
    }
    let left = book.take_own(OrderId(9), Side::Sell, Lots(10), OwnFirst::DownTo(Ticks(100)), &mut fills);
    assert_eq!(left, Lots(6));
    let makers: Vec<_> = fills.iter().map(|fill| (fill.maker, fill.price)).collect();
    assert_eq!(makers, [(OrderId::own(1), Ticks(101)), (OrderId::own(2), Ticks(100))]);
    book.check();
}

#[test]
fn a_late_own_order_takes_the_place_of_its_stamp_and_gets_no_fill_in_retrospect() {
    let mut book = Book::new();
    let mut fills = Vec::new();
    for at in [10, 20, 30] {
        book.limit(OrderId(at), Side::Buy, Ticks(100), Lots(at), Stamp(at), &mut fills);
    }
    book.limit(OrderId::own(0), Side::Buy, Ticks(100), Lots(1), Stamp(15), &mut fills);
    assert!(fills.is_empty());
    assert_eq!(book.ahead(OrderId::own(0)), Some(Ahead { orders: 1, lots: Lots(10) }));
    assert_eq!(book.ahead_of_stamp(Side::Buy, Ticks(100), Stamp(20)), Lots(31));
    book.take(OrderId(40), Side::Sell, Lots(12), None, &mut fills);
    let makers: Vec<_> = fills.iter().map(|fill| fill.maker).collect();
    assert_eq!(makers, [OrderId(10), OrderId::own(0), OrderId(20)]);
    // Marketable by now: it executes as arriving now.
    book.limit(OrderId(50), Side::Sell, Ticks(101), Lots(4), Stamp(50), &mut fills);
    fills.clear();
    let resting = book.limit(OrderId::own(1), Side::Buy, Ticks(101), Lots(6), Stamp(5), &mut fills);
    assert_eq!((fills.len(), resting), (1, Lots(2)));
    book.check();
}

/// More departures than a level notes at once, and no own order arrives in between.
#[test]
fn positions_hold_while_a_long_queue_departs() {
    let mut book = Book::new();
    let id = |number| if number % 10 == 5 { OrderId::own(number) } else { OrderId(number) };
    for number in 0..200 {
        assert!(book.post_only(id(number), Side::Sell, Ticks(100), Lots(2 + number), Stamp(number)));
    }
    for step in 0..200u64 {
        // Prime to their number, so that it comes to each order once.
        let number = step * 37 % 200;
        if book.reduce(id(number), Lots(1)).is_some() && step % 4 != 0 {
            assert!(book.cancel(id(number)).is_some());
        }
        if step % 5 == 0 {
            book.take(OrderId(1_000 + step), Side::Buy, Lots(90), None, &mut Vec::new());
        }
        book.check();
    }
}

#[test]
#[should_panic(expected = "an order has a size")]
fn an_order_without_lots_is_refused() {
    Book::new().limit(OrderId(0), Side::Buy, Ticks(1), Lots::ZERO, Stamp(0), &mut Vec::new());
}

#[test]
#[should_panic(expected = "is in use")]
fn an_id_that_rests_is_refused() {
    let mut book = Book::new();
    for price in [1, 2] {
        book.limit(OrderId(7), Side::Buy, Ticks(price), Lots(1), Stamp(0), &mut Vec::new());
    }
}
