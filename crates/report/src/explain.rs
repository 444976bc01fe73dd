//! The chain of a parent order as text for a terminal.

use std::fmt::Write;

use numashock_experiment::explain::{Cause, Chain, Child, ChildRequest, Fill, Owner, Pass, Stall};

/// How much of long lists is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The longest, so many a list, with a line that says what the rest holds.
    Longest(usize),
    /// Everything.
    All,
}

impl Shown {
    fn of(self, length: usize) -> usize {
        match self {
            Shown::Longest(most) => most.min(length),
            Shown::All => length,
        }
    }
}

/// The five steps, the stalls with their sum and the four costs.
#[must_use]
pub fn chain(chain: &Chain, shown: Shown) -> String {
    let mut text = head(chain);
    text += &passes(chain, shown);
    text += &faults(chain, shown);
    text += &copies(chain, shown);
    text += &dispatch(chain, shown);
    text += &children(chain, shown);
    text += &sums(chain);
    text += &costs(chain);
    text
}

fn head(chain: &Chain) -> String {
    let order = &chain.order;
    let symbol = if order.symbol.is_empty() { String::new() } else { format!(" of {}", order.symbol) };
    format!(
        "Parent {}/{}/{}: {} {} lots{symbol} on {}, from {} to {}, {} filled, mid {} half-ticks at the decision\n",
        order.choice,
        order.seed,
        order.number,
        order.side.name(),
        order.quantity_lots,
        order.host,
        seconds(order.arrival_ns),
        seconds(order.deadline_ns),
        order.filled_lots,
        order.decision_mid_half_ticks,
    )
}

fn passes(chain: &Chain, shown: Shown) -> String {
    let mut text = "\n1  Scan passes that marked what faulted, or held the dispatch thread up\n".to_owned();
    let mut list: Vec<&Pass> = chain.passes.iter().collect();
    list.sort_by_key(|pass| (std::cmp::Reverse(pass.fault_ns + pass.stalled_ns), pass.begun_ns));
    let rest = list.split_off(shown.of(list.len()));
    list.sort_by_key(|pass| pass.begun_ns);
    if list.is_empty() {
        text += "   none\n";
    }
    for pass in list {
        let _ = writeln!(
            text,
            "   pass {:<4} by {:<10} sequence {:<4} at {}  {}  marked {} pages, {} interrupts  => {} faults, {} ns; held up {} ns",
            pass.number,
            pass.thread,
            pass.sequence,
            seconds(pass.begun_ns),
            pass.ended_ns.map_or("not over".to_owned(), |end| format!("{} ns", grouped(end - pass.begun_ns))),
            pass.marked_pages.map_or("?".to_owned(), grouped),
            pass.interrupts.map_or("?".to_owned(), grouped),
            grouped(pass.faults),
            grouped(pass.fault_ns),
            grouped(pass.stalled_ns),
        );
    }
    if !rest.is_empty() {
        let held: u64 = rest.iter().map(|pass| pass.fault_ns + pass.stalled_ns).sum();
        let _ = writeln!(text, "   {} more passes hold {} ns", rest.len(), grouped(held));
    }
    text
}

/// Stalls of an owner: the longest in order of time, then what the rest holds, and the sum.
fn stalls(chain: &Chain, owner: Owner, shown: Shown) -> String {
    let mut list: Vec<&Stall> = chain.stalls.iter().filter(|stall| stall.owner == owner).collect();
    let (count, total): (usize, u64) = (list.len(), list.iter().map(|stall| stall.ns).sum());
    list.sort_by_key(|stall| (std::cmp::Reverse(stall.ns), stall.at_ns));
    let rest = list.split_off(shown.of(list.len()));
    list.sort_by_key(|stall| stall.at_ns);
    let mut text = String::new();
    for stall in list {
        let page = match (&stall.region, stall.page) {
            (Some(region), Some(page)) => format!("  {region} page {page}"),
            _ => String::new(),
        };
        let pass = stall.pass.map(|place| &chain.passes[place]);
        let pass = pass.map_or(String::new(), |pass| format!("  pass {} by {}", pass.number, pass.thread));
        let _ = writeln!(
            text,
            "   {}  {:>12} ns  {}{page}{pass}{}",
            seconds(stall.at_ns),
            grouped(stall.ns),
            stall.cause.name(),
            cut(chain, stall)
        );
    }
    if !rest.is_empty() {
        let held: u64 = rest.iter().map(|stall| stall.ns).sum();
        let _ =
            writeln!(text, "   {} more, none longer, hold {} ns", grouped(rest.len() as u64), grouped(held));
    }
    let _ = writeln!(text, "   sum of {} stalls: {} ns", grouped(count as u64), grouped(total));
    text
}

/// Why a stall that begins after the deadline is the order's.
fn cut(chain: &Chain, stall: &Stall) -> String {
    match stall.unit_ns {
        Some(unit) if stall.at_ns >= chain.order.deadline_ns => {
            format!("  after the deadline, in a unit begun at {}", seconds(unit))
        }
        _ => String::new(),
    }
}

fn faults(chain: &Chain, shown: Shown) -> String {
    let mut text = "\n2  Hinting faults and service time\n".to_owned();
    let service = &chain.service;
    let or_none = |value: Option<u64>| value.map_or("-".to_owned(), |value| format!("{} ns", grouped(value)));
    let _ = writeln!(
        text,
        "   {} units of work, {} held up; service q50 {} (undisturbed {}), q95 {}, q99 {}, longest {}",
        grouped(service.units),
        grouped(service.stalled_units),
        or_none(service.q50_ns),
        or_none(service.undisturbed_q50_ns),
        or_none(service.q95_ns),
        or_none(service.q99_ns),
        or_none(service.max_ns),
    );
    text + &stalls(chain, Owner::HintFault, shown)
}

fn copies(chain: &Chain, shown: Shown) -> String {
    let count = |cause| chain.stalls.iter().filter(|stall| stall.cause == cause).count() as u64;
    let mut text = "\n3  Migration copies\n".to_owned();
    let _ = writeln!(
        text,
        "   {} pages copied, {} migrations refused",
        grouped(count(Cause::Copy)),
        grouped(count(Cause::RefusedMigration))
    );
    text + &stalls(chain, Owner::MigrationCopy, shown)
}

fn dispatch(chain: &Chain, shown: Shown) -> String {
    let at = &chain.dispatch;
    let mut text = "\n4  Dispatch\n".to_owned();
    let _ = writeln!(
        text,
        "   {} messages of its own waited {} ns, at most {} ns; the host's messages {} ns, at most {} in the queue",
        grouped(at.own_messages),
        grouped(at.own_wait_ns),
        grouped(at.own_wait_max_ns),
        grouped(at.queue_wait_ns),
        at.queue_max
    );
    let late: u64 = at.own_releases.iter().map(|release| release.late_ns).sum();
    let _ = writeln!(
        text,
        "   {} requests of the host left, {} micro-clusters of two or more, the largest of {}",
        grouped(at.releases),
        grouped(at.clusters),
        at.cluster_max
    );
    let _ = writeln!(
        text,
        "   {} of its own left {} ns late in all, against a thread that nothing stalls",
        grouped(at.own_releases.len() as u64),
        grouped(late)
    );
    let mut list: Vec<_> = at.own_releases.iter().collect();
    list.sort_by_key(|release| (std::cmp::Reverse(release.late_ns), release.at_ns));
    let rest = list.split_off(shown.of(list.len()));
    list.sort_by_key(|release| release.at_ns);
    for release in list {
        let cluster = if release.cluster > 1 {
            format!(", in a cluster of {}", release.cluster)
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "   {}  {:<7} child {:<5} {:>12} ns late{cluster}",
            seconds(release.at_ns),
            release.kind,
            release.child,
            grouped(release.late_ns)
        );
    }
    if !rest.is_empty() {
        let late: u64 = rest.iter().map(|release| release.late_ns).sum();
        let _ = writeln!(text, "   {} more, none later, are {} ns late in all", rest.len(), grouped(late));
    }
    text += "   stalls by passes, interrupts and locks:\n";
    text + &stalls(chain, Owner::DispatchJitter, shown)
}

fn lateness(child: &Child) -> u64 {
    child.requests.iter().map(|request| request.arrived_ns - request.on_time_ns).sum()
}

fn children(chain: &Chain, shown: Shown) -> String {
    let mut text = "\n5  Children: decided -> dispatched -> on time -> arrived, queue, fills\n".to_owned();
    let mut list: Vec<&Child> = chain.children.iter().collect();
    list.sort_by_key(|child| (std::cmp::Reverse(lateness(child)), child.number));
    let rest = list.split_off(shown.of(list.len()));
    list.sort_by_key(|child| child.number);
    if list.is_empty() {
        text += "   none\n";
    }
    for child in list {
        let requests = shown.of(child.requests.len());
        for request in &child.requests[..requests] {
            text += &request_line(child.number, request);
        }
        if child.requests.len() > requests {
            let more = &child.requests[requests..];
            let late: u64 = more.iter().map(|request| request.arrived_ns - request.on_time_ns).sum();
            let _ = writeln!(text, "      {} more requests, {} ns late in all", more.len(), grouped(late));
        }
        for fill in &child.fills {
            text += &fill_line(fill);
        }
    }
    if !rest.is_empty() {
        let late: u64 = rest.iter().map(|child| lateness(child)).sum();
        let filled: u64 = rest.iter().flat_map(|child| &child.fills).map(|fill| fill.lots).sum();
        let _ = writeln!(
            text,
            "   {} more children, none later, are {} ns late in all; {} lots filled",
            rest.len(),
            grouped(late),
            grouped(filled)
        );
    }
    text
}

fn request_line(child: u32, request: &ChildRequest) -> String {
    let limit = request.limit_ticks.map_or(String::new(), |ticks| format!(" at {ticks}"));
    let queue = match (request.ahead_lots, request.ahead_on_time_lots) {
        (Some(ahead), Some(on_time)) => format!("; {ahead} lots ahead, {on_time} had it been on time"),
        _ => String::new(),
    };
    format!(
        "   child {child:<5} {:<7}{limit}  {} -> +{} -> +{} -> +{} ns ({} ns late){queue}\n",
        request.kind,
        seconds(request.decided_ns),
        grouped(request.dispatched_ns - request.decided_ns),
        grouped(request.on_time_ns - request.decided_ns),
        grouped(request.arrived_ns - request.decided_ns),
        grouped(request.arrived_ns - request.on_time_ns),
    )
}

fn fill_line(fill: &Fill) -> String {
    format!(
        "      filled {} lots at {} half-ticks at {}, {}; mark-out {:+} half-ticks a second later\n",
        fill.lots,
        fill.price_half_ticks,
        seconds(fill.at_ns),
        if fill.passive { "resting" } else { "taking" },
        fill.markout_half_ticks
    )
}

fn sums(chain: &Chain) -> String {
    let stalled = &chain.stalled;
    format!(
        "\nStalls of its life: hinting faults {} + migration copies {} + dispatch jitter {} = {} ns, as parents.parquet has them\n",
        grouped(stalled.hint_fault_ns),
        grouped(stalled.migration_copy_ns),
        grouped(stalled.dispatch_jitter_ns),
        grouped(stalled.total())
    )
}

fn costs(chain: &Chain) -> String {
    let costs = &chain.costs;
    let mut text = "\nCosts, in half-tick-lots, from the fifteen worlds\n".to_owned();
    let parts = &costs.parts_sixths;
    for (name, value) in [
        ("C_hint_fault", parts.hint_fault),
        ("C_migration_copy", parts.migration_copy),
        ("C_dispatch_jitter", parts.dispatch_jitter),
        ("C_queue_decay", parts.queue_decay),
    ] {
        let _ = writeln!(text, "   {name:<18} {:>16}", sixths(value));
    }
    let _ = writeln!(
        text,
        "   {:<18} {:>16}   the sum of the four ({} bp)",
        "C_numa",
        costs.c_numa,
        basis_points(costs.c_numa_micro_bp)
    );
    let _ = writeln!(
        text,
        "   {:<18} {:>16}   = {} without the cost of balancing + C_numa ({} bp)",
        "IS",
        costs.is,
        costs.reference,
        basis_points(costs.is_micro_bp)
    );
    let _ = writeln!(
        text,
        "   {:<18} {:>16}   what balancing does to placement, beside",
        "C_placement", costs.c_placement
    );
    text += "   Costs are differences between whole runs, so none belongs to a single fault, pass or child above.\n";
    text
}

/// Sixths as a mixed number.
fn sixths(value: i64) -> String {
    let (whole, part) = (value.unsigned_abs() / 6, value.unsigned_abs() % 6);
    let sign = if value < 0 { "-" } else { "" };
    if part == 0 { format!("{sign}{whole}    ") } else { format!("{sign}{whole} {part}/6") }
}

fn basis_points(micro: i64) -> String {
    let sign = if micro < 0 { "-" } else { "" };
    let size = micro.unsigned_abs();
    format!("{sign}{}.{:06}", size / 1_000_000, size % 1_000_000)
}

/// A time of the run to the nanosecond.
fn seconds(ns: u64) -> String {
    format!("{}.{:09} s", ns / 1_000_000_000, ns % 1_000_000_000)
}

/// Digits in groups of three.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_exact() {
        assert_eq!([0, 7, 999, 1_000, 1_234_567].map(grouped), ["0", "7", "999", "1,000", "1,234,567"]);
        assert_eq!([12, -13, 5, -1].map(sixths), ["2    ", "-2 1/6", "0 5/6", "-0 1/6"]);
        assert_eq!(basis_points(-1_500_000), "-1.500000");
        assert_eq!(seconds(12_000_000_034), "12.000000034 s");
    }
}
