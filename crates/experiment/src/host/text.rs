//! A host report as text.

use std::fmt::Write;

use numashock_sim::scenario::expect::Unit;

use super::{Class, HostReport, SecondRow, ThreadReport};

/// The report of a variant for a reader.
#[must_use]
pub fn table(report: &HostReport) -> String {
    let mut text = String::new();
    let passes = &report.passes;
    let _ = writeln!(text, "{}   {} s measured   events {}", report.name, report.seconds, report.event_hash);
    let _ = writeln!(
        text,
        "\npasses          {} in all, {:.2}/s, {:.2}/s on the busiest CPU, {:.2} % of the time",
        passes.count,
        passes.per_second,
        passes.per_second_on_a_cpu,
        passes.time_share * 100.0
    );
    if let Some([least, mean, most]) = passes.interval_ms {
        let _ = writeln!(text, "  every         {least:.0} to {most:.0} ms, mean {mean:.0} ms");
    }
    if passes.count > 0 {
        let [mean, median, p99, max] = passes.length_ms;
        let _ = writeln!(
            text,
            "  length        mean {mean:.2} ms, median {median:.2}, p99 {p99:.2}, max {max:.2}"
        );
        let [mean, most] = passes.pages;
        let _ = writeln!(text, "  pages marked  mean {mean}, most {most}");
        let _ = writeln!(text, "  interrupts    {:.1} threads/s", passes.interrupts_per_second);
        text += &histogram(&passes.lengths);
    }
    let stalled: u64 = report.outliers.iter().map(|class| class.count).sum();
    let _ = writeln!(
        text,
        "\noutliers        {:.2} stalls/s of 0.5 ms or more",
        stalled as f64 / report.seconds as f64
    );
    if stalled > 0 {
        text += &histogram(&report.outliers);
    }
    let counters = &report.counters;
    let local = 100.0 * counters.numa_hint_faults_local / counters.numa_hint_faults.max(f64::MIN_POSITIVE);
    let _ = writeln!(text, "\ncounters, a second");
    for (name, value) in [
        ("numa_pte_updates", counters.numa_pte_updates),
        ("numa_huge_pte_updates", counters.numa_huge_pte_updates),
        ("numa_hint_faults", counters.numa_hint_faults),
        ("numa_hint_faults_local", counters.numa_hint_faults_local),
        ("numa_pages_migrated", counters.numa_pages_migrated),
    ] {
        let note = if name == "numa_hint_faults_local" { format!("   {local:.1} %") } else { String::new() };
        let _ = writeln!(text, "  {name:<24} {value:>12.1}{note}");
    }
    text += &threads(&report.threads);
    let _ = writeln!(text, "\nregion          pages on each node");
    for region in &report.regions {
        let _ = writeln!(text, "  {:<13} {:?}", region.name, region.pages);
    }
    text + &verdicts(report)
}

fn histogram(classes: &[Class]) -> String {
    let most = classes.iter().map(|class| class.count).max().unwrap_or(0).max(1);
    let mut text = String::new();
    for class in classes {
        let to = class.to_ns.map_or("...".to_owned(), |to| format!("{}", to as f64 / 1e6));
        let bar = "*".repeat((class.count * 40).div_ceil(most) as usize);
        let _ = writeln!(text, "  {:>4} - {to:<4} ms {:>9}  {bar}", class.from_ns as f64 / 1e6, class.count);
    }
    text
}

fn threads(threads: &[ThreadReport]) -> String {
    let mut text = format!(
        "\n{:<16} {:>7}  {:>13} {:>13} {:>15}  {:<9} {}\n",
        "thread",
        "passes",
        "period, ms",
        "before",
        "bounds",
        "prefers",
        "stalls: per second, ms in all, p50/p99/max us"
    );
    let range = |[least, most]: [u32; 2]| {
        if least == most { least.to_string() } else { format!("{least}-{most}") }
    };
    for thread in threads {
        let name = if thread.threads > 1 {
            format!("{} x{}", thread.name, thread.threads)
        } else {
            thread.name.clone()
        };
        let prefers: Vec<String> = thread.preferred.iter().map(u8::to_string).collect();
        let prefers = if prefers.is_empty() { "none".to_owned() } else { prefers.join(",") };
        let _ = writeln!(
            text,
            "  {name:<14} {:>7}  {:>13} {:>13} {:>15}  {prefers:<9}",
            thread.passes,
            range(thread.scan_period_ms),
            range(thread.scan_period_start_ms),
            range(thread.scan_period_bounds_ms),
        );
        for (owner, stalls) in ["faults", "migrations", "passes, IPIs"].into_iter().zip(&thread.stalls) {
            if stalls.total_ms > 0.0 {
                let _ = writeln!(
                    text,
                    "    {owner:<13} {:>11.1}/s {:>12.1} ms   {:.1} / {:.1} / {:.1}",
                    stalls.per_second, stalls.total_ms, stalls.p50_us, stalls.p99_us, stalls.max_us
                );
            }
        }
    }
    text
}

fn verdicts(report: &HostReport) -> String {
    if report.verdicts.is_empty() {
        return String::new();
    }
    let mut text = String::from("\ntarget\n");
    for verdict in &report.verdicts {
        let met = if verdict.met { "met" } else { "MISSED" };
        let _ = writeln!(
            text,
            "  {met:<7} {:<28} {:<24} expected {}",
            verdict.target, verdict.measured, verdict.expected
        );
    }
    text
}

/// `[least, most]` in words; one number where they are equal.
pub(super) fn range(least: u64, most: u64, unit: Unit) -> String {
    if least == most {
        return value(least, unit);
    }
    format!("{} to {}", value(least, unit), value(most, unit))
}

fn value(value: u64, unit: Unit) -> String {
    match unit {
        Unit::Rate => format!("{}/s", short(value as f64 / 1e9)),
        Unit::Time if value < 1_000_000 => format!("{}us", short(value as f64 / 1e3)),
        Unit::Time => format!("{}ms", short(value as f64 / 1e6)),
        Unit::Share => format!("{}%", short(value as f64 / 1e4)),
        Unit::Count => value.to_string(),
    }
}

/// Three decimals at most.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A row a second, under the names that the kernel gives its counters.
#[must_use]
pub fn csv(rows: &[SecondRow]) -> String {
    let mut text = String::from(
        "second,numa_pte_updates,numa_huge_pte_updates,numa_hint_faults,numa_hint_faults_local,\
         numa_pages_migrated,pgmigrate_success,pgmigrate_fail,passes,interrupts,\
         stalled_fault_ns,stalled_migration_ns,stalled_pass_ns\n",
    );
    for row in rows {
        let [fault, migration, pass] = row.stalled_ns;
        let _ = writeln!(
            text,
            "{},{},{},{},{},{},{},{},{},{},{fault},{migration},{pass}",
            row.second,
            row.numa_pte_updates,
            row.numa_huge_pte_updates,
            row.numa_hint_faults,
            row.numa_hint_faults_local,
            row.numa_pages_migrated,
            row.pgmigrate_success,
            row.pgmigrate_fail,
            row.passes,
            row.interrupts
        );
    }
    text
}
