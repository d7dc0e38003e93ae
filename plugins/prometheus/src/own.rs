//! Figures of the process itself, by the names that Go's client library gives them.
use std::fs;

use corten_plugin::metrics::{Kind, Page};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::unistd::{SysconfVar, sysconf};

/// Writes the figures that can be had; whatever the system does not tell is left out.
pub(crate) fn write(page: &mut Page) {
    let mut put = |name: &str, help: &str, kind: Kind, value: Option<f64>| {
        if let Some(value) = value {
            page.family(name, help, kind);
            page.sample(name, "", value);
        }
    };
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let (received, sent) = network().unzip();
    put(
        "corten_threads",
        "Number of OS threads of the process.",
        Kind::Gauge,
        status_figure(&status, "Threads:"),
    );
    put(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
        Kind::Counter,
        cpu_seconds(),
    );
    put(
        "process_max_fds",
        "Maximum number of open file descriptors.",
        Kind::Gauge,
        limit(Resource::RLIMIT_NOFILE),
    );
    put(
        "process_network_receive_bytes_total",
        "Number of bytes received by the process over the network.",
        Kind::Counter,
        received,
    );
    put(
        "process_network_transmit_bytes_total",
        "Number of bytes sent by the process over the network.",
        Kind::Counter,
        sent,
    );
    put(
        "process_open_fds",
        "Number of open file descriptors.",
        Kind::Gauge,
        fs::read_dir("/proc/self/fd")
            .ok()
            // The folder itself is open while it is read.
            .map(|files| files.count().saturating_sub(1) as f64),
    );
    put(
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
        Kind::Gauge,
        status_figure(&status, "VmRSS:").map(kibibytes),
    );
    put(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        Kind::Gauge,
        start_seconds(),
    );
    put(
        "process_virtual_memory_bytes",
        "Virtual memory size in bytes.",
        Kind::Gauge,
        status_figure(&status, "VmSize:").map(kibibytes),
    );
    put(
        "process_virtual_memory_max_bytes",
        "Maximum amount of virtual memory available in bytes.",
        Kind::Gauge,
        limit(Resource::RLIMIT_AS),
    );
}

/// A number of `/proc/self/status`.
fn status_figure(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn kibibytes(number: f64) -> f64 {
    number * 1024.0
}

fn cpu_seconds() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Some(seconds(usage.user_time()) + seconds(usage.system_time()))
}

fn limit(resource: Resource) -> Option<f64> {
    getrlimit(resource).ok().map(|(soft, _)| soft as f64)
}

/// Octets received and sent, of all interfaces that the process sees.
fn network() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/self/net/netstat").ok()?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("IpExt: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let value = |name: &str| {
        let at = names.split(' ').position(|other| other == name)?;
        values.split(' ').nth(at)?.parse::<f64>().ok()
    };
    Some((value("InOctets")?, value("OutOctets")?))
}

/// When the process began: in ticks since the machine did, which is known in seconds.
fn start_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, whatever that contains.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: f64 = fields.split(' ').nth(19)?.parse().ok()?;
    let per_second = sysconf(SysconfVar::CLK_TCK).ok()?? as f64;
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(boot.trim().parse::<f64>().ok()? + ticks / per_second)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use corten_plugin::metrics::Format;

    use super::*;

    #[test]
    fn every_figure_is_there_and_likely() {
        let mut page = Page::new(Format::Text);
        write(&mut page);
        let page = page.finish();
        let value = |name: &str| {
            let line = page
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{name} ")));
            let line = line.unwrap_or_else(|| panic!("{name} in\n{page}"));
            line.parse::<f64>().unwrap()
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let started = value("process_start_time_seconds");
        assert!(
            (now - 3600.0..now + 2.0).contains(&started),
            "{started} {now}"
        );
        for (name, low, high) in [
            ("corten_threads", 1.0, 1e4),
            ("process_cpu_seconds_total", 0.0, 1e6),
            ("process_max_fds", 16.0, 1e20),
            ("process_open_fds", 3.0, 1e5),
            ("process_resident_memory_bytes", 1e5, 1e12),
            ("process_virtual_memory_bytes", 1e6, 1e15),
            ("process_virtual_memory_max_bytes", 1e6, 1e20),
        ] {
            assert!(
                (low..=high).contains(&value(name)),
                "{name} {}",
                value(name)
            );
        }
    }
}
