//! A run's execution telemetry, in the columns that a desk's is imported from.

use std::fmt::Write as _;

use numashock_accounting::micro_basis_points;
use numashock_engine::Nanos;
use numashock_execution::ParentId;
use numashock_sim::scenario::config::{HostId, RunConfig};
use numashock_sim::{DeskEvent, DeskWhat, ParentResult, RunResult};

use super::columns::COLUMNS;
use crate::results::Side;
use crate::segments::{host_name, segment_at};

/// Writes what each host of a run kept ([`numashock_sim::Simulation::keep_telemetry`]), one host after the other.
#[must_use]
pub fn telemetry_csv(scenario: &str, config: &RunConfig, result: &RunResult) -> String {
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    let mut text = names.join(",") + "\n";
    for (number, host) in (0..).map(HostId).zip(&result.hosts) {
        let name = quoted(&host_name(scenario, config, number));
        for event in &host.telemetry {
            let mut line = Line(vec![String::new(); COLUMNS.len()]);
            line.set("time_ns", event.at.0);
            line.set("host", &name);
            line.fill(event, (scenario, config), &result.parents);
            writeln!(text, "{}", line.0.join(",")).expect("a text takes what is written");
        }
    }
    text
}

/// The cells of a row.
struct Line(Vec<String>);

impl Line {
    fn set(&mut self, column: &str, value: impl ToString) {
        let place = COLUMNS.iter().position(|(name, _)| *name == column).expect("a column of the list");
        self.0[place] = value.to_string();
    }

    fn fill(&mut self, event: &DeskEvent, of: (&str, &RunConfig), parents: &[ParentResult]) {
        let result = |parent: ParentId| &parents[parent.0 as usize];
        match event.what {
            DeskWhat::Decision { latency } => {
                self.set("event", "decision");
                self.set("latency_ns", latency.0);
            }
            DeskWhat::Send { parent, child, request, .. } => {
                self.set("event", "send");
                self.set("parent", parent.0);
                self.whose(of, result(parent), event.at);
                self.set("child", child.0);
                self.set("request", request.name());
            }
            DeskWhat::Ack { parent, child, ahead, lost, on_time, .. } => {
                self.set("event", "ack");
                self.set("parent", parent.0);
                self.whose(of, result(parent), event.at);
                self.set("child", child.0);
                self.set("ahead_lots", ahead);
                self.set("lost_lots", lost);
                self.set("on_time_lots", on_time);
            }
            DeskWhat::Fill { parent, child, lots } => {
                self.set("event", "fill");
                self.set("parent", parent.0);
                self.whose(of, result(parent), event.at);
                self.set("child", child.0);
                self.set("lots", lots);
            }
            DeskWhat::ParentEnd { parent, missed, .. } => {
                self.set("event", "parent");
                self.set("parent", parent.0);
                // A parent belongs to the phase in which it began.
                self.whose(of, result(parent), result(parent).order.arrival);
                self.ended(result(parent), missed);
            }
            DeskWhat::Heartbeat { host: Nanos(host) } => {
                self.set("event", "heartbeat");
                self.set("host_time_ns", host);
            }
        }
    }

    fn whose(&mut self, (scenario, config): (&str, &RunConfig), parent: &ParentResult, at: Nanos) {
        let order = &parent.order;
        let segment = segment_at(scenario, config, (order.strategy, order.symbol), config.phases.at(at));
        self.set("strategy", quoted(&segment.strategy));
        self.set("symbol_liquidity", quoted(&segment.symbol_liquidity));
        self.set("session_phase", quoted(&segment.session_phase));
    }

    fn ended(&mut self, parent: &ParentResult, missed: bool) {
        self.set("arrival_ns", parent.order.arrival.0);
        self.set("deadline_missed", u8::from(missed));
        self.set("side", side(parent.order.side).name());
        self.set("quantity_lots", parent.order.quantity.0);
        self.set("filled_lots", parent.filled.0);
        parent.conditions.spread_ticks.into_iter().for_each(|spread| self.set("spread_ticks", spread));
        parent.conditions.variation.into_iter().for_each(|variation| self.set("variation", variation));
        let cost = &parent.shortfalls.swept;
        let parts = [
            ("is_micro_bp", cost.is),
            ("delay_micro_bp", cost.delay),
            ("impact_micro_bp", cost.impact),
            ("miss_micro_bp", cost.miss),
        ];
        for (column, cost) in parts {
            if let Some(value) = micro_basis_points(cost, parent.order.quantity, parent.decision_mid) {
                self.set(column, value);
            }
        }
    }
}

fn side(side: numashock_book::Side) -> Side {
    match side {
        numashock_book::Side::Buy => Side::Buy,
        numashock_book::Side::Sell => Side::Sell,
    }
}

/// A name as one cell.
fn quoted(name: &str) -> String {
    if name.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", name.replace('"', "\"\"").replace(['\n', '\r'], " "))
    } else {
        name.to_owned()
    }
}
