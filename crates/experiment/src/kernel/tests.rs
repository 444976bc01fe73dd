//! A small folder of traces made here, and the recorded ones where they are at hand.

use std::path::PathBuf;

use super::*;

const HEADER: &str = "time_ms,numa_pte_updates,numa_huge_pte_updates,numa_hint_faults,numa_hint_faults_local,\
numa_pages_migrated,mm_numa_scan_seq,mm_numa_scan_offset_mb,mm_next_scan_in_ms,t0_touches,t0_runtime_ms,\
t0_node_stamp_ms,t0_scan_period_ms,t0_scan_period_max_ms,t0_preferred_nid";

/// A folder of its own for one test.
fn folder(name: &str, manifest: &str, csv: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("numashock-kernel-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("manifest.json"), manifest).unwrap();
    std::fs::write(path.join("small.csv"), csv).unwrap();
    path
}

fn manifest(args: &str) -> String {
    format!(
        r#"[{{"name": "small", "csv": "small.csv", "kernel": "Linux 6.12.95+deb12-amd64 #1 SMP",
        "info": ["worker pid=195"],
        "sysctls": {{"scan_delay_ms": "1000", "scan_period_max_ms": "60000", "scan_period_min_ms": "1000",
                     "scan_size_mb": "256", "numa_balancing": "1"}},
        "nodes": {{"node0": {{"cpus": "0-1", "distance": "10,20", "memfree_kb": "1480336"}},
                   "node1": {{"cpus": "2-3", "distance": "20,10", "memfree_kb": "1455360"}}}},
        "spec": {{"accel": "icount", "args": {args}}}}}]"#
    )
}

/// Rows each 100 ms of a run in which the kernel marked `pages` at 700 ms and took a fault a touch from then on.
fn csv(seconds: u64, pages: u64) -> String {
    let mut text = format!("{HEADER}\n-5.0,0,0,0,0,0,0,0.000,-200,0,337.1,0.000,1000,0,-1\n");
    for row in 1..=seconds * 10 {
        let time = row * 100;
        let (marked, faults) = if time < 700 { (0, 0) } else { (pages, (time - 672) * 2) };
        let faults = faults.min(pages);
        let period = if time < 700 { 1000 } else { 2000 };
        text += &format!(
            "{time}.1,{marked},0,{faults},0,{faults},{},0,0,0,0,0,{period},0,-1\n",
            u64::from(time >= 700)
        );
    }
    text
}

const ARGS: &str =
    r#"{"pattern": "seq", "size_mb": 8, "cpus": "2", "rate": 2000, "secs": 2, "idle_threads": 1}"#;

#[test]
fn a_small_run_agrees_and_its_json_has_the_counters_on_top() {
    let path = folder("agrees", &manifest(ARGS), &csv(2, 2048));
    let report = validate(&path).unwrap();
    let run = &report.runs[0];
    assert_eq!((run.modelled, run.verdict.as_str()), (true, "exact"), "{run:?}");
    assert_eq!((run.numa_pte_updates, run.scan_periods.len()), (2048, 1));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["runs"][0]["numa_pte_updates"], 2048);
    assert!(json["runs"][0]["numa_pages_migrated"].is_u64());
    assert_eq!(json["runs"][0]["kernel_numa_pte_updates"], 2048);
    assert!(table(&report).lines().nth(1).unwrap().contains("2048/2048 0.00%"));
}

#[test]
fn a_run_that_differs_is_called_so() {
    let path = folder("differs", &manifest(ARGS), &csv(2, 1000));
    assert_eq!(validate(&path).unwrap().runs[0].verdict, "deviates");
}

#[test]
fn what_is_not_modelled_is_said_and_not_faked() {
    let args = r#"{"size_mb": 8, "cpus": "2", "secs": 2, "aux_bind": 0}"#;
    let path = folder("others", &manifest(args), &csv(2, 2048));
    let report = validate(&path).unwrap();
    assert!(!report.runs[0].modelled && report.runs[0].numa_pte_updates == 0);
    assert!(report.runs[0].why_not.as_deref().is_some_and(|why| why.contains("aux_bind=0")));
    assert!(table(&report).contains("not modelled yet: mappings of the process"));
}

#[test]
fn later_rows_never_reach_the_model() {
    let (full, cut) = (csv(2, 2048), csv(2, 7));
    let model = |name, text: &str| {
        let run = validate(&folder(name, &manifest(ARGS), text)).unwrap().runs.remove(0);
        (run.numa_pte_updates, run.numa_hint_faults, run.scan_periods)
    };
    assert_eq!(model("later-a", &full), model("later-b", &cut));
}

#[test]
fn errors_name_the_file_the_line_and_what_was_expected() {
    let message =
        |name, manifest: &str, csv: &str| validate(&folder(name, manifest, csv)).unwrap_err().to_string();
    let good = manifest(ARGS);
    let rows = csv(2, 2048);
    for (name, found, expected) in [
        ("empty", message("empty", "[]", &rows), "no run is listed"),
        ("json", message("json", "[{]", &rows), "line 1, column 3"),
        (
            "pattern",
            message("pattern", &good.replace("\"seq\"", "\"zigzag\""), &rows),
            "pattern is zigzag; expected one of seq",
        ),
        (
            "rate",
            message("rate", &good.replace("2000", "\"fast\""), &rows),
            "rate is fast; expected a whole number",
        ),
        (
            "column",
            message("column", &good, &rows.replace("numa_hint_faults_local", "other")),
            "column numa_hint_faults_local is missing",
        ),
        ("cut", message("cut", &good, &rows[..rows.len() - 20]), "expected 15 values"),
        (
            "order",
            message("order", &good, &rows.replace("\n300.1", "\n150.1")),
            "line 5: time_ms 150.1 does not follow",
        ),
        (
            "number",
            message("number", &good, &rows.replace("700.1,2048", "700.1,many")),
            "numa_pte_updates is \"many\"",
        ),
    ] {
        assert!(found.contains(expected), "{name}: {found}");
    }
    let whole_rows = rows.lines().take(12).collect::<Vec<_>>().join("\n");
    let short = message("short", &good, &whole_rows);
    assert!(short.contains("ends after 11 rows") && short.contains("expected 21 rows"), "{short}");
    let missing = validate(std::path::Path::new("/nonexistent/traces")).unwrap_err().to_string();
    assert!(missing.contains("/nonexistent/traces") && missing.contains("cannot be read"), "{missing}");
}

/// The recorded kernels: every run that the machine models must agree within its bounds, most of them exactly.
#[test]
fn the_recorded_kernels_agree() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/kernel");
    if !path.exists() {
        println!("skipped: no recorded kernels at {}", path.display());
        return;
    }
    let report = validate(&path).unwrap();
    print!("{}", table(&report));
    for run in report.runs.iter().filter(|run| run.modelled) {
        assert_ne!(run.verdict, "deviates", "{}", run.name);
    }
    let exact = report.runs.iter().filter(|run| run.verdict == "exact").count();
    assert!(exact >= 29, "only {exact} runs agree exactly");
}
