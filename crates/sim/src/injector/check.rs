//! What a disturbance can have wrong, whether it was written in a scenario or read from a log.

use numashock_engine::Span;
use numashock_machine::{MachineConfig, NodeId};

use super::{Disturbance, KnobChange};
use crate::scenario::config::Host;

/// What is wrong: the part of the disturbance's table, empty for the whole, and the problem.
pub(crate) type Wrong = (&'static str, String);

/// Interrupts and thieves leave a CPU at least a tenth of its time.
const MOST_TAKEN_PPM: u64 = 900_000;
const HOUR: u64 = 3_600_000_000_000;
/// The longest length: that of the longest run.
const LONGEST: Span = Span(720 * HOUR);

/// Checks a disturbance and its length against the host it will meet.
pub(crate) fn check(disturbance: &Disturbance, length: Option<Span>, host: &Host) -> Result<(), Wrong> {
    check_length(disturbance, length)?;
    match disturbance {
        Disturbance::ClockStep { step_ns } => {
            if *step_ns == 0 || step_ns.unsigned_abs() > HOUR {
                return Err(("", "expected exactly one of forward and backward, of at most 1h".to_owned()));
            }
            Ok(())
        }
        Disturbance::TelemetryGap {} | Disturbance::GatewayDisconnect {} => Ok(()),
        Disturbance::GatewayThrottle { spacing_ns } => {
            let fits = (1_000..=HOUR).contains(spacing_ns);
            ok_if(fits, "rate", || "expected \"1/h\" to \"1000000/s\"".to_owned())
        }
        Disturbance::MarketDataBurst { messages } => {
            let room = length.map_or(0, |length| length.0 / 1_000);
            let most = room.min(1_000_000);
            ok_if((1..=most).contains(&u64::from(*messages)), "messages", || {
                format!("expected 1 to {most}: at most a million, and one a microsecond of the length")
            })
        }
        _ => match host {
            Host::Model(model) => check_machine(disturbance, &model.machine),
            Host::Recorded(_) => {
                Err(("", "needs [machine]: a recording of counters cannot be disturbed so".to_owned()))
            }
        },
    }
}

fn check_length(disturbance: &Disturbance, length: Option<Span>) -> Result<(), Wrong> {
    let needs_one = matches!(
        disturbance,
        Disturbance::Steal { .. }
            | Disturbance::IrqStorm { .. }
            | Disturbance::TelemetryGap {}
            | Disturbance::GatewayDisconnect {}
            | Disturbance::GatewayThrottle { .. }
            | Disturbance::MarketDataBurst { .. }
    );
    match length {
        None if needs_one => Err(("length", "missing: say how long it lasts, such as \"500ms\"".to_owned())),
        Some(Span::ZERO) => Err(("length", "must be longer than zero, such as \"500ms\"".to_owned())),
        Some(length) if length > LONGEST => Err(("length", "is too long: expected at most 720h".to_owned())),
        _ => Ok(()),
    }
}

fn check_machine(disturbance: &Disturbance, machine: &MachineConfig) -> Result<(), Wrong> {
    match disturbance {
        Disturbance::MoveThread { thread, cpu } => {
            let names: Vec<&str> = machine.threads.iter().map(|own| own.name.as_str()).collect();
            ok_if(names.contains(&thread.as_str()), "thread", || {
                format!("no thread \"{thread}\": one of {}", names.join(" "))
            })?;
            check_cpu(*cpu, machine)
        }
        Disturbance::SetKnobs(change) => check_knobs(change, machine),
        Disturbance::BatchLoad { cpu_node, memory_node, mbps } => {
            check_load(*cpu_node, *memory_node, *mbps, machine)
        }
        Disturbance::BatchJob { cpu_node, memory_node, mbps, pages } => {
            check_load(*cpu_node, *memory_node, *mbps, machine)?;
            check_pages(*pages, *memory_node, machine)
        }
        Disturbance::MemoryPressure { node, pages } => {
            check_node("node", *node, machine)?;
            check_pages(*pages, *node, machine)
        }
        Disturbance::Steal { share_ppm } => {
            ok_if((1..=MOST_TAKEN_PPM).contains(&u64::from(*share_ppm)), "share", || {
                "expected more than 0% and at most 90%".to_owned()
            })
        }
        Disturbance::IrqStorm { cpu, period_ns, busy_ns } => {
            check_cpu(*cpu, machine)?;
            let fits = (1_000..=HOUR).contains(period_ns);
            ok_if(fits, "rate", || "expected \"1/h\" to \"1000000/s\"".to_owned())?;
            let most = period_ns / 10 * 9;
            ok_if((1..=most).contains(busy_ns), "busy", || {
                format!("expected 1ns to {most}ns: at most nine tenths of the time between two interrupts")
            })
        }
        _ => Ok(()),
    }
}

fn ok_if(right: bool, part: &'static str, problem: impl FnOnce() -> String) -> Result<(), Wrong> {
    if right { Ok(()) } else { Err((part, problem())) }
}

fn check_cpu(cpu: u16, machine: &MachineConfig) -> Result<(), Wrong> {
    let all: Vec<u16> =
        machine.topology.nodes.iter().flat_map(|node| node.cpus.iter().map(|cpu| cpu.0)).collect();
    ok_if(all.contains(&cpu), "cpu", || {
        let all: Vec<String> = all.iter().map(u16::to_string).collect();
        format!("CPU {cpu} does not exist: the machine has {}", all.join(" "))
    })
}

fn check_node(part: &'static str, node: u8, machine: &MachineConfig) -> Result<(), Wrong> {
    let count = machine.topology.nodes.len();
    ok_if(NodeId(node).index() < count, part, || {
        format!("node {node} does not exist: the machine has nodes 0 to {}", count - 1)
    })
}

fn check_load(cpu_node: u8, memory_node: u8, mbps: u64, machine: &MachineConfig) -> Result<(), Wrong> {
    ok_if(mbps <= 10_000_000, "bandwidth", || "expected at most \"10000GB/s\"".to_owned())?;
    check_node("cpu_node", cpu_node, machine)?;
    check_node("memory_node", memory_node, machine)
}

fn check_pages(pages: u64, node: u8, machine: &MachineConfig) -> Result<(), Wrong> {
    let installed = machine.topology.nodes[NodeId(node).index()].memory_pages;
    ok_if((1..=installed).contains(&pages), "size", || {
        format!("expected more than nothing and at most the {} MiB of node {node}", installed / 256)
    })
}

fn check_knobs(change: &KnobChange, machine: &MachineConfig) -> Result<(), Wrong> {
    ok_if(*change != KnobChange::default(), "", || {
        "changes nothing: give it one of enabled, scan_delay, scan_period_min, scan_period_max and scan_size"
            .to_owned()
    })?;
    for (part, value) in [
        ("scan_delay", change.scan_delay_ms),
        ("scan_period_min", change.scan_period_min_ms),
        ("scan_period_max", change.scan_period_max_ms),
    ] {
        let fits = value.is_none_or(|value| (1..=3_600_000).contains(&value));
        ok_if(fits, part, || "expected 1ms to 1h".to_owned())?;
    }
    let fits = change.scan_size_mb.is_none_or(|value| (1..=65_536).contains(&value));
    ok_if(fits, "scan_size", || "expected 1MiB to 64GiB".to_owned())?;
    let changed = change.applied_to(machine.knobs);
    ok_if(changed.scan_period_min_ms <= changed.scan_period_max_ms, "", || {
        "scan_period_max is shorter than scan_period_min once it is in force".to_owned()
    })
}
