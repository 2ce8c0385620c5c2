//! What the kernel says of this process, and what it has in common with a Go program.
//!
//! Source: `/proc` (proc(5)); Prometheus' Go client, `process_collector_linux.go`.

use super::text::Page;
use std::fs;

/// Clock ticks of a second in `/proc`, on every Linux.
const TICKS: f64 = 100.0;

/// Bytes of a KiB.
const KIB: u64 = 1024;

/// This process now; what cannot be read is 0.
#[derive(Debug, Clone, Default)]
pub(crate) struct Process {
    pub cpu_seconds: f64,
    pub start_seconds: f64,
    pub threads: u64,
    pub files: u64,
    pub file_limit: u64,
    pub virtual_limit: f64,
    pub memory: Memory,
    /// Bytes received and sent over IP, of all that share this network namespace.
    pub network: (u64, u64),
}

/// Its memory, in bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    pub virtual_size: u64,
    pub resident: u64,
    /// Resident and of no file: what was allocated and touched.
    pub resident_private: u64,
    /// Private and writable: what was asked of the system.
    pub data: u64,
    pub stack: u64,
}

impl Memory {
    /// Asked of the system and not resident.
    pub(crate) fn idle(&self) -> u64 {
        self.data.saturating_sub(self.resident_private)
    }
}

impl Process {
    /// Reads some files of `/proc`: it does not take long, and may wait.
    pub(crate) fn read() -> Self {
        let read = |file: &str| fs::read_to_string(format!("/proc/{file}")).unwrap_or_default();
        let (stat, status, limits) = (read("self/stat"), read("self/status"), read("self/limits"));
        let field = |name: &str| number(value_of(&status, name)) * KIB;
        // The second field is a name in brackets, and may have anything in it.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
        let ticks = |at: usize| fields.get(at).map_or(0.0, |field| float(field)) / TICKS;
        let booted = float(value_of(&read("stat"), "btime "));
        let files = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Self {
            cpu_seconds: ticks(11) + ticks(12),
            start_seconds: booted + ticks(19),
            threads: number(value_of(&status, "Threads:")),
            // One of them is the directory itself.
            files: u64::try_from(files).unwrap_or_default().saturating_sub(1),
            file_limit: number(value_of(&limits, "Max open files")),
            virtual_limit: match value_of(&limits, "Max address space") {
                "unlimited" => u64::MAX as f64,
                limit => float(limit),
            },
            memory: Memory {
                virtual_size: field("VmSize:"),
                resident: field("VmRSS:"),
                resident_private: field("RssAnon:"),
                data: field("VmData:"),
                stack: field("VmStk:"),
            },
            network: octets(&read("self/net/netstat")),
        }
    }
}

/// The first word behind a name at the beginning of a line.
fn value_of<'a>(text: &'a str, name: &str) -> &'a str {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_whitespace().next()).unwrap_or_default()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_default()
}

fn float(text: &str) -> f64 {
    text.parse().unwrap_or_default()
}

/// `InOctets` and `OutOctets` of the two lines that begin with `IpExt:`.
fn octets(netstat: &str) -> (u64, u64) {
    let mut lines = netstat.lines().filter(|line| line.starts_with("IpExt:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let of = |name: &str| {
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        pairs.find(|(found, _)| *found == name).map_or(0, |(_, value)| number(value))
    };
    (of("InOctets"), of("OutOctets"))
}

#[allow(clippy::cast_precision_loss, reason = "what is shown is a float")]
pub(super) fn render(page: &mut Page, process: &Process) {
    let memory = &process.memory;
    page.gauge("os_fd_used", "The number of used file descriptors.", process.files as f64);
    page.gauge("os_fd_limit", "The file descriptor limit.", process.file_limit as f64);
    page.family(
        "process_cpu_seconds_total",
        "counter",
        "Total user and system CPU time spent in seconds.",
        |family| family.sample(&[], process.cpu_seconds),
    );
    let gauges = [
        ("process_max_fds", "Maximum number of open file descriptors.", process.file_limit as f64),
        ("process_open_fds", "Number of open file descriptors.", process.files as f64),
        ("process_resident_memory_bytes", "Resident memory size in bytes.", memory.resident as f64),
        (
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            process.start_seconds,
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            memory.virtual_size as f64,
        ),
        (
            "process_virtual_memory_max_bytes",
            "Maximum amount of virtual memory available in bytes.",
            process.virtual_limit,
        ),
    ];
    for (name, help, number) in gauges {
        page.gauge(name, help, number);
    }
    page.counter(
        "process_network_receive_bytes_total",
        "Number of bytes received by the process over the network.",
        process.network.0,
    );
    page.counter(
        "process_network_transmit_bytes_total",
        "Number of bytes sent by the process over the network.",
        process.network.1,
    );
    render_go(page, process);
}

/// Compat: dashboards look at a Go program's own metrics. Those that have a value here are told:
/// tasks are what goroutines are, and there is no garbage collector. What only Go's allocator
/// counts is left out: allocations, frees, objects.
#[allow(clippy::cast_precision_loss, reason = "what is shown is a float")]
fn render_go(page: &mut Page, process: &Process) {
    let memory = &process.memory;
    let tasks = tokio::runtime::Handle::try_current();
    let tasks = tasks.map_or(0, |handle| handle.metrics().num_alive_tasks()) as f64;
    let used = memory.resident_private as f64;
    page.family(
        "go_gc_duration_seconds",
        "summary",
        "A summary of the wall-time pause (stop-the-world) duration in garbage collection cycles.",
        |family| {
            for quantile in ["0", "0.25", "0.5", "0.75", "1"] {
                family.sample(&[("quantile", quantile)], 0.0);
            }
            family.part("_sum", &[], 0.0);
            family.part("_count", &[], 0.0);
        },
    );
    page.family("go_info", "gauge", "Information about the Go environment.", |family| {
        family.sample(&[("version", super::RUNTIME)], 1.0);
    });
    let gauges = [
        (
            "go_gc_gogc_percent",
            "Heap size target percentage configured by the user, otherwise 100. This value is set by the GOGC environment variable, and the runtime/debug.SetGCPercent function. Sourced from /gc/gogc:percent.",
            // Off.
            -1.0,
        ),
        (
            "go_gc_gomemlimit_bytes",
            "Go runtime memory limit configured by the user, otherwise math.MaxInt64. This value is set by the GOMEMLIMIT environment variable, and the runtime/debug.SetMemoryLimit function. Sourced from /gc/gomemlimit:bytes.",
            i64::MAX as f64,
        ),
        (
            "go_goroutines",
            "Number of goroutines that currently exist.",
            tasks + process.threads as f64,
        ),
        (
            "go_memstats_alloc_bytes",
            "Number of bytes allocated in heap and currently in use. Equals to /memory/classes/heap/objects:bytes.",
            used,
        ),
        (
            "go_memstats_buck_hash_sys_bytes",
            "Number of bytes used by the profiling bucket hash table. Equals to /memory/classes/profiling/buckets:bytes.",
            0.0,
        ),
        (
            "go_memstats_gc_sys_bytes",
            "Number of bytes used for garbage collection system metadata. Equals to /memory/classes/metadata/other:bytes.",
            0.0,
        ),
        (
            "go_memstats_heap_alloc_bytes",
            "Number of heap bytes allocated and currently in use, same as go_memstats_alloc_bytes. Equals to /memory/classes/heap/objects:bytes.",
            used,
        ),
        (
            "go_memstats_heap_idle_bytes",
            "Number of heap bytes waiting to be used. Equals to /memory/classes/heap/released:bytes + /memory/classes/heap/free:bytes.",
            memory.idle() as f64,
        ),
        (
            "go_memstats_heap_inuse_bytes",
            "Number of heap bytes that are in use. Equals to /memory/classes/heap/objects:bytes + /memory/classes/heap/unused:bytes",
            used,
        ),
        (
            "go_memstats_heap_released_bytes",
            "Number of heap bytes released to OS. Equals to /memory/classes/heap/released:bytes.",
            memory.idle() as f64,
        ),
        (
            "go_memstats_heap_sys_bytes",
            "Number of heap bytes obtained from system. Equals to /memory/classes/heap/objects:bytes + /memory/classes/heap/unused:bytes + /memory/classes/heap/released:bytes + /memory/classes/heap/free:bytes.",
            memory.data as f64,
        ),
        (
            "go_memstats_last_gc_time_seconds",
            "Number of seconds since 1970 of last garbage collection.",
            0.0,
        ),
        (
            "go_memstats_mcache_inuse_bytes",
            "Number of bytes in use by mcache structures. Equals to /memory/classes/metadata/mcache/inuse:bytes.",
            0.0,
        ),
        (
            "go_memstats_mcache_sys_bytes",
            "Number of bytes used for mcache structures obtained from system. Equals to /memory/classes/metadata/mcache/inuse:bytes + /memory/classes/metadata/mcache/free:bytes.",
            0.0,
        ),
        (
            "go_memstats_mspan_inuse_bytes",
            "Number of bytes in use by mspan structures. Equals to /memory/classes/metadata/mspan/inuse:bytes.",
            0.0,
        ),
        (
            "go_memstats_mspan_sys_bytes",
            "Number of bytes used for mspan structures obtained from system. Equals to /memory/classes/metadata/mspan/inuse:bytes + /memory/classes/metadata/mspan/free:bytes.",
            0.0,
        ),
        (
            "go_memstats_next_gc_bytes",
            "Number of heap bytes when next garbage collection will take place. Equals to /gc/heap/goal:bytes.",
            0.0,
        ),
        (
            "go_memstats_other_sys_bytes",
            "Number of bytes used for other system allocations. Equals to /memory/classes/other:bytes.",
            0.0,
        ),
        (
            "go_memstats_stack_inuse_bytes",
            "Number of bytes obtained from system for stack allocator in non-CGO environments. Equals to /memory/classes/heap/stacks:bytes.",
            memory.stack as f64,
        ),
        (
            "go_memstats_stack_sys_bytes",
            "Number of bytes obtained from system for stack allocator. Equals to /memory/classes/heap/stacks:bytes + /memory/classes/os-stacks:bytes.",
            memory.stack as f64,
        ),
        (
            "go_memstats_sys_bytes",
            "Number of bytes obtained from system. Equals to /memory/classes/total:byte.",
            (memory.data + memory.stack) as f64,
        ),
        (
            "go_sched_gomaxprocs_threads",
            "The current runtime.GOMAXPROCS setting, or the number of operating system threads that can execute user-level Go code simultaneously. Sourced from /sched/gomaxprocs:threads.",
            std::thread::available_parallelism().map_or(1, usize::from) as f64,
        ),
        ("go_threads", "Number of OS threads created.", process.threads as f64),
    ];
    for (name, help, number) in gauges {
        page.gauge(name, help, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_this_process() {
        let process = Process::read();
        assert!(process.memory.resident > 0 && process.memory.virtual_size > 0, "{process:?}");
        assert!(process.threads > 0 && process.files > 2 && process.file_limit > 2, "{process:?}");
        assert!(process.start_seconds > 1.6e9, "{process:?}");
    }

    #[test]
    fn octets_are_found_by_name() {
        let netstat = "TcpExt: A B\nTcpExt: 1 2\nIpExt: X InOctets OutOctets\nIpExt: 1 22 333\n";
        assert_eq!(octets(netstat), (22, 333));
        assert_eq!(octets(""), (0, 0));
    }
}
