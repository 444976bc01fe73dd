//! What a recording holds, counted.

use std::fmt;

/// What is in a recording and what had to be made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Messages read.
    pub rows: u64,
    /// Lines of column names.
    pub headers: u64,
    /// New limit orders.
    pub limits: u64,
    /// Partial cancels.
    pub reductions: u64,
    /// Deletions.
    pub deletions: u64,
    /// Modifications (Databento).
    pub modifications: u64,
    /// Executions of visible orders.
    pub executions: u64,
    /// Executions of the first order at the best price.
    pub executions_at_head: u64,
    /// Executions of another order.
    pub executions_not_at_head: u64,
    /// Those that pass over better prices: what rests there and is never named again has left without a message and is
    /// dropped.
    pub passed_over_rows: u64,
    /// Executions of hidden orders: no effect on the visible book.
    pub hidden: u64,
    /// Auction trades: no effect on the visible book.
    pub auctions: u64,
    /// Trading halted.
    pub halts: u64,
    /// Quoting resumed after a halt.
    pub quoting_resumed: u64,
    /// Trading resumed after a halt.
    pub trading_resumed: u64,
    /// Executions between a halt and the next resumption of trading.
    pub executions_in_halt: u64,
    /// Messages that clear the book (Databento).
    pub clears: u64,
    /// Trades and fills that say what a cancel then does (Databento): no effect of their own.
    pub trade_records: u64,
    /// Records without an action (Databento).
    pub idle_records: u64,
    /// Messages that name an order that none has added.
    pub unknown_rows: u64,
    /// Those among them that concern a recovered order; the others are skipped.
    pub recovered_rows: u64,
    /// Recovered orders that rest from the start.
    pub opening_orders: u64,
    /// Recovered orders that came to rest later.
    pub later_orders: u64,
    /// Orders that could have been recovered, had other messages not contradicted them.
    pub contradicted_orders: u64,
    /// Messages that take more than the named order has left.
    pub oversized_rows: u64,
    /// Messages with another price or side than the order they name.
    pub disagreeing_rows: u64,
    /// New orders that cross resting ones. What they cross has left the market without a message and is dropped.
    pub crossed_rows: u64,
    /// Orders dropped because a crossing order or an execution beyond them shows that they had left.
    pub dropped_orders: u64,
    /// Rows written: changes of a best price or its size.
    pub quote_changes: u64,
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let always = [
            ("rows", self.rows),
            ("new limit orders", self.limits),
            ("partial cancels", self.reductions),
            ("deletions", self.deletions),
            ("visible executions", self.executions),
            ("  of the first order at the best price", self.executions_at_head),
            ("  of another order", self.executions_not_at_head),
            ("hidden executions", self.hidden),
            ("auction trades", self.auctions),
            ("halts", self.halts),
            ("rows that name an unknown order", self.unknown_rows),
            ("  of an order that could be recovered", self.recovered_rows),
            ("orders recovered at the opening", self.opening_orders),
            ("orders recovered later", self.later_orders),
            ("rows that take more than is left", self.oversized_rows),
            ("new orders that cross", self.crossed_rows),
            ("changes of the best quotes", self.quote_changes),
        ];
        let sometimes = [
            ("header lines", self.headers),
            ("modifications", self.modifications),
            ("book clears", self.clears),
            ("trade and fill records", self.trade_records),
            ("records without action", self.idle_records),
            ("quoting resumed", self.quoting_resumed),
            ("trading resumed", self.trading_resumed),
            ("executions during a halt", self.executions_in_halt),
            ("unknown orders that contradict the rest", self.contradicted_orders),
            ("rows at odds with their order", self.disagreeing_rows),
            ("executions beyond a better price", self.passed_over_rows),
            ("orders dropped as gone", self.dropped_orders),
        ];
        let seen = sometimes.into_iter().filter(|(_, count)| *count > 0);
        for (what, count) in always.into_iter().chain(seen) {
            writeln!(f, "{what:<40} {count:>12}")?;
        }
        Ok(())
    }
}
