//! What the server's process holds, and whether that grows.

use std::path::Path;
use std::time::Duration;

use super::http;
use crate::shell::Outcome;

/// What a process holds at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) after: Duration,
    rss_kib: u64,
    threads: u64,
    files: u64,
    tasks: u64,
    data_kib: u64,
}

/// Streams and tables find their size in the beginning: a sixth of the time, at most this.
const WARM_UP_MAX: Duration = Duration::from_secs(600);
/// Threads, tasks and files that may be more in the last third than in the first: how many connections
/// there are is chance.
const SLACK: f64 = 16.0;
/// From here on the time tells a slope; in less only a leak that shows at once is one.
const HOUR: Duration = Duration::from_secs(3000);
/// Bounds of the slope, in KiB an hour.
const FLAT: f64 = 1024.0;
const FLAT_AT_ONCE: f64 = 256.0 * 1024.0;

impl Held {
    pub(super) fn look(pid: u32, http: &str, data: &Path, after: Duration) -> Outcome<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
        let status = status.map_err(|why| format!("the server ended: {why}"))?;
        let number = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
        };
        let files =
            std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |files| files.count() as u64);
        Ok(Self {
            after,
            rss_kib: number("VmRSS:"),
            threads: number("Threads:"),
            files,
            tasks: tasks(http)?,
            data_kib: size_of(data) / 1024,
        })
    }
}

fn tasks(http: &str) -> Outcome<u64> {
    let metrics = http::get(http, "/metrics", "")?;
    let line = metrics.lines().find_map(|line| line.strip_prefix("cloudchamber_tasks "));
    let tasks = line.and_then(|number| number.parse::<f64>().ok());
    Ok(tasks.ok_or("the server tells no tasks")? as u64)
}

fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

/// Tells what was held; fails if it grows.
pub(super) fn judge(held: &[Held]) -> Outcome<String> {
    let last = held.last().ok_or("it was not looked at once")?;
    let warm = (last.after / 6).min(WARM_UP_MAX);
    let held: Vec<_> = held.iter().filter(|held| held.after >= warm).copied().collect();
    let third = held.len() / 3;
    if third == 0 {
        return Err("too short".into());
    }
    let means = |of: fn(&Held) -> u64| {
        let mean = |held: &[Held]| {
            held.iter().map(|held| of(held) as f64).sum::<f64>() / held.len() as f64
        };
        (mean(&held[..third]), mean(&held[held.len() - third..]))
    };
    let counted = [
        ("threads", means(|held| held.threads)),
        ("files", means(|held| held.files)),
        ("tasks", means(|held| held.tasks)),
    ];
    let rss = means(|held| held.rss_kib);
    let (rss_slope, data_slope) =
        (slope(&held, |held| held.rss_kib), slope(&held, |held| held.data_kib));
    let counts = counted.map(|(name, (first, last))| format!("{name} {first:.1} -> {last:.1}"));
    let told = format!(
        "rss {:.0} -> {:.0} KiB ({rss_slope:.0} KiB an hour), {}, data folder {data_slope:.0} KiB an hour, over {} s behind {} s",
        rss.0,
        rss.1,
        counts.join(", "),
        (last.after - warm).as_secs(),
        warm.as_secs()
    );
    let bound = if last.after >= HOUR { FLAT } else { FLAT_AT_ONCE };
    let grows = counted.iter().any(|(_, (first, last))| *last > first + SLACK);
    if grows || rss_slope > bound { Err(format!("it grows: {told}")) } else { Ok(told) }
}

/// That of a line through all looks, for each hour.
fn slope(held: &[Held], of: fn(&Held) -> u64) -> f64 {
    let points: Vec<_> =
        held.iter().map(|held| (held.after.as_secs_f64() / 3600.0, of(held) as f64)).collect();
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let over: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let under: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if under > 0.0 { over / under } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(grown: fn(u64) -> Held) -> Vec<Held> {
        let second = |index: u64| Duration::from_secs(index * 10);
        (1..=360).map(|index| Held { after: second(index), ..grown(index) }).collect()
    }

    fn held(rss_kib: u64, tasks: u64) -> Held {
        Held { after: Duration::ZERO, rss_kib, threads: 18, files: 90, tasks, data_kib: 1 }
    }

    #[test]
    fn what_only_goes_up_and_down_is_flat_and_what_grows_is_found() {
        assert!(judge(&hour(|at| held(40_000 + at % 7 * 100, 50 + at % 9))).is_ok());
        // What was taken in the first ten minutes is not growth.
        assert!(judge(&hour(|at| held(30_000 + at.min(60) * 100, 50))).is_ok());
        assert!(judge(&hour(|at| held(40_000 + at * 4, 50))).is_err());
        assert!(judge(&hour(|at| held(40_000, 50 + at / 10))).is_err());
        assert!(judge(&[]).is_err());
    }
}
