//! What the system says of this process, under the names that every dashboard knows. Read when asked for; Linux only.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// `process_cpu_seconds_total` and its siblings.
#[derive(Debug)]
pub(crate) struct ProcessFigures;

impl Collector for ProcessFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(figures) = Figures::read() else { return Ok(()) };
        let help = "Processor time, user and system";
        let counter = encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
        ConstCounter::new(figures.cpu_seconds).encode(counter)?;
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Memory that is in use", figures.resident),
            ("process_virtual_memory_bytes", "Addresses that are taken", figures.virtual_memory),
            ("process_open_fds", "Open descriptors", figures.open_fds),
            ("process_max_fds", "Descriptors that may be open", figures.max_fds),
            ("process_threads", "Threads", figures.threads),
            ("process_start_time_seconds", "When this process began, since 1970", figures.started),
        ] {
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(gauge)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Figures {
    cpu_seconds: f64,
    resident: f64,
    virtual_memory: f64,
    open_fds: f64,
    max_fds: f64,
    threads: f64,
    started: f64,
}

/// The unit of times in `/proc`: the same on every Linux that attache is built for (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

impl Figures {
    #[expect(clippy::cast_precision_loss, reason = "a count of descriptors is far below 2^52")]
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let limits = fs::read_to_string("/proc/self/limits").ok()?;
        let system = fs::read_to_string("/proc/stat").ok()?;
        // The second field is the program's name, in parentheses, and may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ticks = |place: usize| fields.get(place)?.parse::<f64>().ok();
        let kilobytes = |name: &str| after(&status, name)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
            resident: kilobytes("VmRSS:")? * 1024.0,
            virtual_memory: kilobytes("VmSize:")? * 1024.0,
            open_fds: fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64,
            max_fds: after(&limits, "Max open files")?.parse().ok()?,
            threads: after(&status, "Threads:")?.parse().ok()?,
            started: after(&system, "btime")?.parse::<f64>().ok()? + ticks(19)? / TICKS_PER_SECOND,
        })
    }
}

/// The first word behind this one at the beginning of a line.
fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_those_of_this_process() {
        let figures = Figures::read().unwrap_or_else(|| panic!("there is a /proc"));
        assert!(figures.resident > 1e6 && figures.virtual_memory >= figures.resident, "{figures:?}");
        assert!(
            figures.open_fds >= 3.0 && figures.max_fds >= figures.open_fds && figures.threads >= 1.0,
            "{figures:?}"
        );
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64());
        assert!(figures.started > now - 86_400.0 && figures.started <= now + 2.0, "{figures:?} {now}");
    }
}
