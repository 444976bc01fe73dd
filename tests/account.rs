//! The exact account of ten thousand parents of random scenarios, in all fifteen worlds.

use std::sync::atomic::AtomicU64;

use numashock_experiment::account::{AccountOptions, table, validate};

#[test]
fn ten_thousand_random_parents_have_exact_accounts() {
    let done = AtomicU64::new(0);
    let report = validate(AccountOptions { parents: 10_000, seed: 1, first: 0, jobs: 0, done: &done });
    assert!(report.passed(), "{}", table(&report));
    assert!(report.parents >= 10_000);
    // The checks are worth something only where balancing is felt, and by each of its mechanisms.
    let share = |name: &str| report.felt.get(name).copied().unwrap_or(0) * 100 / report.parents;
    assert!(share("C_numa") >= 15, "{}", table(&report));
    for part in ["part H", "part M", "part D", "part Q"] {
        assert!(share(part) >= 2, "{part}: {}", table(&report));
    }
    assert_eq!(report.nulls.len(), 4, "{}", table(&report));
    assert!(report.nulls.values().all(|parents| *parents >= 400), "{}", table(&report));
}
