//! A few worlds that nobody has seen before.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::Command;

use sim::world::Size;

use crate::run;

const WORLDS: u64 = 16;

/// Another one with each commit; the same for all runs of one.
fn seed_base() -> u64 {
    let commit = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .map_or_else(|_| Vec::new(), |output| output.stdout);
    let mut hasher = DefaultHasher::new();
    commit.hash(&mut hasher);
    // Short enough to be typed.
    hasher.finish() % 1_000_000_000
}

#[test]
fn worlds_of_seeds_that_vary_with_the_commit_hold() {
    let base = seed_base();
    println!("seeds {base} to {}", base + WORLDS - 1);
    let reports = run(Size::Small, base..base + WORLDS);
    let crashes: u32 = reports.iter().map(|report| report.crashes).sum();
    let durable: u64 = reports.iter().map(|report| report.tally.durable).sum();
    assert!(crashes > 0 && durable > 100, "{crashes} crashes, {durable} events: nothing happened");
}

#[test]
fn the_same_seed_is_the_same_world() {
    let reports = run(Size::Small, [7, 7, 8]);
    assert_eq!(reports[0], reports[1]);
    assert_ne!(reports[0].fingerprint, reports[2].fingerprint);
}
