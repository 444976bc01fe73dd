//! Orders from outside: every mistake a caller can make is an error that changes nothing.
//!
//! [`Book::limit`] and its neighbours trust their caller, who has made the ids and sizes; what is checked here, they
//! assert or do not notice. Whoever takes orders from a file or a user enters them here.

use crate::ids::LIMIT as ID_LIMIT;
use crate::{Book, Fill, Lots, OrderId, Side, Stamp, Ticks};

/// Prices lie within ± this many ticks, so that any two of them fit one price ladder.
pub const PRICE_MAX: i64 = 1 << 56;
/// The largest order, in lots.
pub const ORDER_LOTS_MAX: Lots = Lots(1 << 48);
/// The most that rests at one price, in lots. Sweeps add up values in 128 bits and no more lots than were asked for.
pub const LEVEL_LOTS_MAX: Lots = Lots(1 << 60);

/// What an order asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// Executes what crosses and rests the remainder.
    Limit(Ticks),
    /// Rests or is refused.
    PostOnly(Ticks),
    /// Executes no worse than this price; the remainder is dropped.
    ImmediateOrCancel(Ticks),
    /// Executes at any price; the remainder is dropped.
    Market,
}

/// An order to enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// An id that no resting order has, its number below 2^36.
    pub id: OrderId,
    /// Whether it buys or sells.
    pub side: Side,
    /// What it asks for.
    pub kind: OrderKind,
    /// From 1 to [`ORDER_LOTS_MAX`].
    pub lots: Lots,
    /// Its place among orders of its price, see [`Stamp`].
    pub stamp: Stamp,
}

/// What became of an order. The three sum to its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entered {
    /// Executed at once.
    pub executed: Lots,
    /// Resting.
    pub resting: Lots,
    /// Dropped: the remainder of an immediate-or-cancel or market order.
    pub dropped: Lots,
}

/// Why the book refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BookError {
    /// No such order rests.
    #[error("no order with the id {0} rests: it has never been entered, or is filled or cancelled")]
    UnknownId(OrderId),
    /// The id belongs to a resting order.
    #[error("an order with the id {0} rests: cancel it first, or choose another id")]
    IdInUse(OrderId),
    /// The id's number is too large.
    #[error("the id {0} is too large: number orders densely from zero, below {ID_LIMIT}")]
    IdTooLarge(OrderId),
    /// No lots.
    #[error("the order {0} has no lots: give at least one, or cancel it")]
    ZeroSize(OrderId),
    /// Too many lots.
    #[error("the order {id} has {lots} lots: give at most {ORDER_LOTS_MAX}")]
    SizeTooLarge {
        /// The order.
        id: OrderId,
        /// Its size.
        lots: Lots,
    },
    /// Too many lots at its price.
    #[error("with the order {id} more than {LEVEL_LOTS_MAX} lots would rest at {price}: cancel others first")]
    LevelFull {
        /// The order.
        id: OrderId,
        /// Its price.
        price: Ticks,
    },
    /// A price that the book has no place for.
    #[error("the price of {price} ticks of the order {id} lies outside ±{PRICE_MAX}: choose a coarser tick")]
    PriceOutOfRange {
        /// The order.
        id: OrderId,
        /// Its price.
        price: Ticks,
    },
    /// A post-only order that would execute.
    #[error(
        "the post-only order {id} at {price} would trade with {best}: price it behind, or send a limit order"
    )]
    WouldCross {
        /// The order.
        id: OrderId,
        /// Its price.
        price: Ticks,
        /// The best opposite price.
        best: Ticks,
    },
}

impl Book {
    /// Enters an order; its executions are appended to `fills`.
    ///
    /// # Errors
    /// If the order makes no sense or may not rest; then the book and `fills` are as before.
    pub fn enter(&mut self, order: &NewOrder, fills: &mut Vec<Fill>) -> Result<Entered, BookError> {
        let NewOrder { id, side, kind, lots, stamp } = *order;
        check_size(id, lots)?;
        if id.number() >= ID_LIMIT {
            return Err(BookError::IdTooLarge(id));
        }
        if self.rests(id) {
            return Err(BookError::IdInUse(id));
        }
        match kind {
            OrderKind::Limit(price) => {
                self.check_price(id, side, price, lots)?;
                let resting = self.limit(id, side, price, lots, stamp, fills);
                Ok(Entered { executed: lots - resting, resting, dropped: Lots::ZERO })
            }
            OrderKind::PostOnly(price) => {
                self.check_price(id, side, price, lots)?;
                if self.post_only(id, side, price, lots, stamp) {
                    return Ok(Entered { resting: lots, ..Entered::default() });
                }
                let best = self.best(!side).map_or(price, |best| best.price);
                Err(BookError::WouldCross { id, price, best })
            }
            OrderKind::ImmediateOrCancel(price) => {
                check_range(id, price)?;
                Ok(taken(lots, self.take(id, side, lots, Some(price), fills)))
            }
            OrderKind::Market => Ok(taken(lots, self.take(id, side, lots, None, fills))),
        }
    }

    /// Changes a resting order to `lots` at `price`. A smaller or equal size at the same price keeps the place; another
    /// price or a larger size gives it up for the one of `stamp`, and executes what crosses.
    ///
    /// # Errors
    /// If the order does not rest, or the change makes no sense; then the book and `fills` are as before.
    pub fn modify(
        &mut self,
        id: OrderId,
        price: Ticks,
        lots: Lots,
        stamp: Stamp,
        fills: &mut Vec<Fill>,
    ) -> Result<Entered, BookError> {
        let (side, old_price, old_lots) = self.order(id).ok_or(BookError::UnknownId(id))?;
        check_size(id, lots)?;
        let added = if price == old_price { lots.saturating_sub(old_lots) } else { lots };
        self.check_price(id, side, price, added)?;
        let resting = self.replace(id, price, lots, stamp, fills).ok_or(BookError::UnknownId(id))?;
        Ok(Entered { executed: lots - resting, resting, dropped: Lots::ZERO })
    }

    /// Cancels a resting order and gives what it had left.
    ///
    /// # Errors
    /// If the order does not rest.
    pub fn withdraw(&mut self, id: OrderId) -> Result<Lots, BookError> {
        self.cancel(id).ok_or(BookError::UnknownId(id))
    }

    fn check_price(&self, id: OrderId, side: Side, price: Ticks, added: Lots) -> Result<(), BookError> {
        check_range(id, price)?;
        let room = LEVEL_LOTS_MAX.saturating_sub(self.lots_at(side, price));
        if added > room { Err(BookError::LevelFull { id, price }) } else { Ok(()) }
    }
}

fn check_size(id: OrderId, lots: Lots) -> Result<(), BookError> {
    match lots {
        Lots::ZERO => Err(BookError::ZeroSize(id)),
        lots if lots > ORDER_LOTS_MAX => Err(BookError::SizeTooLarge { id, lots }),
        _ => Ok(()),
    }
}

fn check_range(id: OrderId, price: Ticks) -> Result<(), BookError> {
    let within = price.0.unsigned_abs() <= PRICE_MAX.unsigned_abs();
    if within { Ok(()) } else { Err(BookError::PriceOutOfRange { id, price }) }
}

fn taken(lots: Lots, left: Lots) -> Entered {
    Entered { executed: lots - left, resting: Lots::ZERO, dropped: left }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(number: u64, side: Side, kind: OrderKind, lots: u64) -> NewOrder {
        NewOrder { id: OrderId(number), side, kind, lots: Lots(lots), stamp: Stamp(number) }
    }

    /// Two bids at 99, an ask at 101.
    fn book() -> Book {
        let mut book = Book::new();
        for (number, side, price) in [(0, Side::Buy, 99), (1, Side::Buy, 99), (2, Side::Sell, 101)] {
            let order = order(number, side, OrderKind::PostOnly(Ticks(price)), 10);
            assert_eq!(book.enter(&order, &mut Vec::new()).map(|entered| entered.resting), Ok(Lots(10)));
        }
        book
    }

    fn state(book: &Book) -> Vec<(OrderId, Lots)> {
        let queues = Side::BOTH.map(|side| {
            book.levels(side).flat_map(|quote| book.queue(side, quote.price)).collect::<Vec<_>>()
        });
        queues.concat()
    }

    #[test]
    fn each_kind_does_what_it_says() {
        let (mut book, mut fills) = (book(), Vec::new());
        let entered = |executed, resting, dropped| {
            Ok(Entered { executed: Lots(executed), resting: Lots(resting), dropped: Lots(dropped) })
        };
        let ioc = order(3, Side::Buy, OrderKind::ImmediateOrCancel(Ticks(100)), 4);
        assert_eq!(book.enter(&ioc, &mut fills), entered(0, 0, 4));
        let ioc = order(3, Side::Buy, OrderKind::ImmediateOrCancel(Ticks(101)), 4);
        assert_eq!(book.enter(&ioc, &mut fills), entered(4, 0, 0));
        let limit = order(4, Side::Buy, OrderKind::Limit(Ticks(101)), 9);
        assert_eq!(book.enter(&limit, &mut fills), entered(6, 3, 0));
        let market = order(5, Side::Sell, OrderKind::Market, 30);
        assert_eq!(book.enter(&market, &mut fills), entered(23, 0, 7));
        assert_eq!(fills.len(), 5);
        assert!(state(&book).is_empty());
    }

    #[test]
    fn a_smaller_size_keeps_the_place_and_a_larger_one_or_another_price_loses_it() {
        let (mut book, mut fills) = (book(), Vec::new());
        let (first, second) = (OrderId(0), OrderId(1));
        book.modify(first, Ticks(99), Lots(4), Stamp(9), &mut fills).unwrap();
        assert_eq!(book.ahead(second).unwrap().lots, Lots(4));
        book.modify(first, Ticks(99), Lots(5), Stamp(10), &mut fills).unwrap();
        assert_eq!(book.ahead(first).unwrap().lots, Lots(10));
        book.modify(second, Ticks(98), Lots(10), Stamp(11), &mut fills).unwrap();
        book.modify(second, Ticks(99), Lots(10), Stamp(12), &mut fills).unwrap();
        assert_eq!(book.ahead(second).unwrap().lots, Lots(5));
        let moved = book.modify(second, Ticks(101), Lots(12), Stamp(13), &mut fills).unwrap();
        assert_eq!((moved.executed, moved.resting), (Lots(10), Lots(2)));
        assert_eq!(book.withdraw(second), Ok(Lots(2)));
        book.check();
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_changes_nothing() {
        use OrderKind::{ImmediateOrCancel, Limit, Market, PostOnly};
        let (mut book, mut fills) = (book(), Vec::new());
        let before = state(&book);
        let (id, far) = (OrderId(7), Ticks(PRICE_MAX + 1));
        let huge = Lots(ORDER_LOTS_MAX.0 + 1);
        let crossing = BookError::WouldCross { id, price: Ticks(101), best: Ticks(101) };
        for (order, error) in [
            (order(7, Side::Buy, PostOnly(Ticks(101)), 1), crossing),
            (order(7, Side::Buy, Limit(Ticks(99)), 0), BookError::ZeroSize(id)),
            (order(7, Side::Buy, Market, huge.0), BookError::SizeTooLarge { id, lots: huge }),
            (order(7, Side::Buy, Limit(far), 1), BookError::PriceOutOfRange { id, price: far }),
            (order(7, Side::Sell, ImmediateOrCancel(far), 1), BookError::PriceOutOfRange { id, price: far }),
            (order(1, Side::Buy, Market, 1), BookError::IdInUse(OrderId(1))),
            (order(ID_LIMIT, Side::Buy, Market, 1), BookError::IdTooLarge(OrderId(ID_LIMIT))),
        ] {
            assert_eq!(book.enter(&order, &mut fills), Err(error));
        }
        let price = Ticks(i64::MIN);
        for (order, price, lots, error) in [
            (OrderId(7), Ticks(99), Lots(1), BookError::UnknownId(id)),
            (OrderId(0), Ticks(99), Lots::ZERO, BookError::ZeroSize(OrderId(0))),
            (OrderId(0), Ticks(99), huge, BookError::SizeTooLarge { id: OrderId(0), lots: huge }),
            (OrderId(0), price, Lots(1), BookError::PriceOutOfRange { id: OrderId(0), price }),
        ] {
            assert_eq!(book.modify(order, price, lots, Stamp(9), &mut fills), Err(error));
        }
        assert_eq!(book.withdraw(id), Err(BookError::UnknownId(id)));
        assert_eq!((state(&book), fills.len()), (before, 0));
        assert!(crossing.to_string().contains("would trade with 101"));
    }

    #[test]
    fn a_level_holds_so_much_and_no_more() {
        let (mut book, mut fills) = (Book::new(), Vec::new());
        let most = |number, side| order(number, side, OrderKind::Limit(Ticks(PRICE_MAX)), ORDER_LOTS_MAX.0);
        let orders = LEVEL_LOTS_MAX.0 / ORDER_LOTS_MAX.0;
        for number in 0..orders {
            book.enter(&most(number, Side::Sell), &mut fills).unwrap();
        }
        let one = order(orders, Side::Sell, OrderKind::Limit(Ticks(PRICE_MAX)), 1);
        let full = BookError::LevelFull { id: OrderId(orders), price: Ticks(PRICE_MAX) };
        assert_eq!(book.enter(&one, &mut fills), Err(full));
        let low = order(orders, Side::Buy, OrderKind::Limit(Ticks(-PRICE_MAX)), 1);
        book.enter(&low, &mut fills).unwrap();
        let (value, left) = book.sweep(Side::Buy, Lots(u64::MAX));
        assert_eq!(value, 2 * i128::from(PRICE_MAX) * i128::from(LEVEL_LOTS_MAX.0));
        assert_eq!(left, Lots(u64::MAX - LEVEL_LOTS_MAX.0));
        book.check();
    }
}
