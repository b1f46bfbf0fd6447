//! The last quarter of an hour of an upstream as a line of blocks.

use crate::admin::UpstreamSamples;

/// How wide a line is.
const CELLS: usize = 30;

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// `▁▁▃█▂  12.4/s now, at most 40/s, 3 errors`; nothing without a request. `interval` is the seconds between samples.
pub(super) fn sparkline(samples: &UpstreamSamples, interval: u64) -> Option<String> {
    if interval == 0 || samples.requests.iter().all(|count| *count == 0) {
        return None;
    }
    let each = samples.requests.len().div_ceil(CELLS).max(1);
    let sums: Vec<u64> =
        samples.requests.rchunks(each).rev().map(|part| part.iter().map(|one| u64::from(*one)).sum()).collect();
    let most = sums.iter().copied().max().unwrap_or(0).max(1);
    let line: String = sums.iter().map(|sum| block(*sum, most)).collect();
    let now = samples.requests.last().copied().unwrap_or(0);
    let peak = samples.requests.iter().copied().max().unwrap_or(0);
    let errors: u64 = samples.errors.iter().map(|one| u64::from(*one)).sum();
    let errors =
        if errors == 0 { String::new() } else { format!(", {}", crate::cli::output::counted(errors, "error")) };
    Some(format!("{line}  {} now, at most {}{errors} in the last 15 min", rate(now, interval), rate(peak, interval)))
}

/// Whatever happened at all is higher than nothing.
fn block(sum: u64, most: u64) -> char {
    let top = BLOCKS.len() as u64 - 1;
    let height = (sum * top).div_ceil(most).min(top);
    BLOCKS[usize::try_from(height).unwrap_or(0)]
}

#[expect(clippy::cast_precision_loss, reason = "seconds between samples")]
fn rate(count: u32, interval: u64) -> String {
    let rate = f64::from(count) / interval as f64;
    if rate < 10.0 { format!("{rate:.1}/s") } else { format!("{rate:.0}/s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(requests: Vec<u32>, errors: Vec<u32>) -> Option<String> {
        let samples =
            UpstreamSamples { name: "api".to_owned(), requests, errors, p50: vec![], p95: vec![], p99: vec![] };
        sparkline(&samples, 5)
    }

    #[test]
    fn a_line_shows_the_rate_and_says_it_in_numbers() {
        let line = of(vec![0, 10, 400, 5], vec![0, 1, 1, 0]).unwrap();
        assert_eq!(line, "▁▂█▂  1.0/s now, at most 80/s, 2 errors in the last 15 min");
        assert_eq!(of(vec![0, 0], vec![0, 0]), None);
        let long = of(vec![1; 180], vec![]).unwrap();
        assert!(long.starts_with(&"█".repeat(30)) && !long.contains(&"█".repeat(31)), "{long}");
    }
}
