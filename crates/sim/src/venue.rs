//! A symbol at the exchange: its book, its flow and what was last published of it.

use std::sync::Arc;

use numashock_book::flow::{Exogenous, Flow, FlowStats};
use numashock_book::{Book, Fill, HalfTicks, Lots, OrderId, Side, Stamp, Ticks};
use numashock_engine::{Nanos, Span};
use numashock_execution::{ChildId, Message, SymbolId, TimeInForce};

use crate::desk::Conditions;
use crate::journal::Journal;
use crate::paths::{Paths, SecondPaths};
use crate::scenario::config::{HostId, Symbol};
use crate::scenario::file::FeedName;
use crate::trail::MidHistory;

/// What a run gives of one symbol.
#[derive(Clone, Debug)]
pub struct SymbolResult {
    /// What the flow counted.
    pub flow: FlowStats,
    /// What happened in each second, as hashes.
    pub paths: Vec<SecondPaths>,
}

/// A symbol's market in one world.
#[derive(Debug)]
pub(crate) struct Venue {
    pub(crate) symbol: SymbolId,
    pub(crate) book: Book,
    pub(crate) flow: Flow,
    /// Fills that are not booked yet.
    pub(crate) fills: Vec<Fill>,
    pub(crate) last_mid: HalfTicks,
    pub(crate) mids: MidHistory,
    pub(crate) paths: Paths,
    pub(crate) journal: Journal,
    pub(crate) feed_latency: Span,
    /// Who is told of its quotes, in order of number.
    pub(crate) listeners: Vec<HostId>,
    feed: FeedName,
    /// The best prices and sizes as they are, for the paths.
    public: Quote,
    quote: Quote,
    /// Lots traded in the present bucket.
    pub(crate) market_lots: Lots,
    /// Lots traded since the start.
    pub(crate) volume: Lots,
    /// Squared changes of the mid in the present second.
    variation: u64,
    /// The same of the second before.
    last_variation: Option<u64>,
}

/// The best prices and sizes that were last published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Quote {
    price: [Option<Ticks>; 2],
    lots: [Lots; 2],
}

impl Venue {
    /// A market at its start; nothing is published yet.
    pub(crate) fn new(
        (symbol, config): (SymbolId, &Symbol),
        exogenous: Arc<Exogenous>,
        listeners: Vec<HostId>,
        late: bool,
    ) -> Venue {
        let mut book = Book::new();
        let flow = Flow::new(exogenous, &mut book);
        Venue {
            symbol,
            last_mid: book.mid().unwrap_or_default(),
            mids: MidHistory::new(book.mid().unwrap_or_default()),
            paths: Paths::new(),
            book,
            flow,
            fills: Vec::new(),
            journal: Journal::new(late),
            feed_latency: config.feed_latency,
            listeners,
            feed: config.feed,
            public: Quote::default(),
            quote: Quote::default(),
            market_lots: Lots(0),
            volume: Lots(0),
            variation: 0,
            last_variation: None,
        }
    }

    /// Keeps the mid while the book has one; no message waits that is older than `oldest`.
    pub(crate) fn keep_mid(&mut self, now: Nanos, oldest: Nanos) {
        if let Some(mid) = self.book.mid() {
            let change = mid.0.abs_diff(self.last_mid.0);
            self.variation = self.variation.saturating_add(change.saturating_mul(change));
            self.last_mid = mid;
            self.mids.record(now, mid, oldest);
        }
    }

    /// The market as a decision meets it.
    pub(crate) fn conditions(&self) -> Conditions {
        let [bid, ask] = Side::BOTH.map(|side| self.book.best(side).map(|level| level.price));
        let spread_ticks = bid.zip(ask).map(|(bid, ask)| ask.0.abs_diff(bid.0));
        Conditions { spread_ticks, variation: self.last_variation }
    }

    /// A second is over.
    pub(crate) fn close_second(&mut self) {
        self.paths.close();
        self.market_lots = Lots(0);
        self.last_variation = Some(std::mem::take(&mut self.variation));
    }

    /// The news of the best prices, if there is any that the feed tells.
    pub(crate) fn news(&mut self, now: Nanos) -> Option<Message> {
        let best = Side::BOTH.map(|side| self.book.best(side));
        let quote = Quote {
            price: best.map(|level| level.map(|level| level.price)),
            lots: best.map(|level| level.map_or(Lots(0), |level| level.lots)),
        };
        self.note_public(now, quote);
        let told = match self.feed {
            FeedName::BestPrice => quote.price != self.quote.price,
            FeedName::BestQuote => quote != self.quote,
        };
        if !told {
            return None;
        }
        self.quote = quote;
        Some(self.quote_message())
    }

    fn note_public(&mut self, now: Nanos, quote: Quote) {
        if quote == self.public {
            return;
        }
        for side in Side::BOTH {
            let at = side.index();
            let (price, lots) = (quote.price[at], quote.lots[at]);
            if (price, lots) != (self.public.price[at], self.public.lots[at]) {
                let price = price.map_or(u64::MAX, |price| u64::from_ne_bytes(price.0.to_ne_bytes()));
                self.paths.quoted(now, at as u16, [price, lots.0]);
            }
        }
        self.public = quote;
    }

    /// The best prices that were last published, as a message.
    pub(crate) fn quote_message(&self) -> Message {
        let [bid, ask] = self.quote.price;
        Message::Quote { symbol: self.symbol, bid, ask, volume: self.volume }
    }

    /// Enters a new order and gives what rests of it; `None` if the rest is cancelled or the whole refused.
    pub(crate) fn enter(
        &mut self,
        child: ChildId,
        (side, price, lots): (Side, Ticks, Lots),
        time_in_force: TimeInForce,
        stamp: Stamp,
    ) -> Option<Lots> {
        let id = own(child);
        match time_in_force {
            TimeInForce::Day => Some(self.book.limit(id, side, price, lots, stamp, &mut self.fills)),
            TimeInForce::ImmediateOrCancel => {
                let left = self.book.take(id, side, lots, Some(price), &mut self.fills);
                (left == Lots::ZERO).then_some(left)
            }
            TimeInForce::PostOnly => self.book.post_only(id, side, price, lots, stamp).then_some(lots),
        }
    }

    /// Moves an order and gives what rests of it; `None` if the rest is cancelled or the whole refused.
    pub(crate) fn move_to(
        &mut self,
        child: ChildId,
        (price, lots): (Ticks, Lots),
        time_in_force: TimeInForce,
        stamp: Stamp,
    ) -> Option<Lots> {
        let id = own(child);
        if time_in_force == TimeInForce::Day {
            return Some(self.book.replace(id, price, lots, stamp, &mut self.fills).unwrap_or(Lots(0)));
        }
        let (side, ..) = self.book.order(id)?;
        self.book.cancel(id);
        self.enter(child, (side, price, lots), time_in_force, stamp)
    }

    /// Where the book ends the rest is priced a tick beyond its last price.
    pub(crate) fn beyond_the_book(&self, side: Side) -> HalfTicks {
        match self.book.levels(side).last() {
            Some(quote) => HalfTicks::from(quote.price.behind(side, 1)),
            None => self.last_mid,
        }
    }

    /// What is left at the end.
    pub(crate) fn into_result(self) -> SymbolResult {
        SymbolResult { flow: self.flow.stats(), paths: self.paths.into_seconds() }
    }
}

/// The order that a child is at the exchange.
pub(crate) fn own(child: ChildId) -> OrderId {
    OrderId::own(u64::from(child.0))
}

/// The child that an own order is.
pub(crate) fn child_of(id: OrderId) -> ChildId {
    ChildId(u32::try_from(id.number()).expect("own orders are numbered by child"))
}
