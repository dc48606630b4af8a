//! What the process itself uses, under the names that every Prometheus client has for it.

use super::page::{Kind, Page};

#[cfg(target_os = "linux")]
pub(super) fn write(page: &mut Page) {
    // a process that cannot read about itself (no /proc) has nothing to tell
    let Ok(process) = procfs::process::Process::myself() else { return };
    let Ok(stat) = process.stat() else { return };
    let ticks = procfs::ticks_per_second() as f64;

    let name = "process_cpu_seconds_total";
    page.family(Kind::Counter, name, "Processor time of the process, its own and the kernel's for it.")
        .sample(&[], (stat.utime + stat.stime) as f64 / ticks);
    page.family(Kind::Gauge, "process_resident_memory_bytes", "Memory of the process that is in RAM.")
        .sample(&[], stat.rss * procfs::page_size());
    page.family(Kind::Gauge, "process_virtual_memory_bytes", "Addresses that the process has reserved.")
        .sample(&[], stat.vsize);
    if let Ok(boot) = procfs::boot_time_secs() {
        page.family(Kind::Gauge, "process_start_time_seconds", "When the process began, since 1970.")
            .sample(&[], boot as f64 + stat.starttime as f64 / ticks);
    }
    if let Ok(open) = process.fd_count() {
        page.family(Kind::Gauge, "process_open_fds", "File descriptors in use.").sample(&[], open as u64);
    }
    if let Ok(limits) = process.limits()
        && let procfs::process::LimitValue::Value(most) = limits.max_open_files.soft_limit
    {
        page.family(Kind::Gauge, "process_max_fds", "File descriptors that the process may use.")
            .sample(&[], most);
    }
}

/// Elsewhere the system's own tools tell.
#[cfg(not(target_os = "linux"))]
pub(super) fn write(_page: &mut Page) {}
