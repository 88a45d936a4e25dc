//! Worlds in virtual time, from seeds (`docs/testing.md`).

mod regressions;
mod seeds;

use sim::world::{self, Failure, Report, Size};

/// Runs the worlds of these seeds side by side; the first one that does not hold fails the test.
fn run(size: Size, seeds: impl IntoIterator<Item = u64>) -> Vec<Report> {
    let worlds: Vec<_> = seeds.into_iter().map(|seed| move || world::run(seed, size)).collect();
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = worlds.into_iter().map(|world| scope.spawn(world)).collect();
        threads.into_iter().map(|thread| thread.join().expect("panics are failures")).collect()
    });
    results
        .into_iter()
        .map(|result| result.unwrap_or_else(|failure| fail(&failure, size)))
        .collect()
}

fn fail(failure: &Failure, size: Size) -> ! {
    let Failure { seed, what, last_lines } = failure;
    let shown = last_lines.len().saturating_sub(40);
    let small = if size == Size::Small { " --small" } else { "" };
    panic!(
        "{}\nseed {seed}: {what}\nreplay: cargo xtask world --seeds 1 --start {seed}{small} --trace",
        last_lines[shown..].join("\n")
    )
}
