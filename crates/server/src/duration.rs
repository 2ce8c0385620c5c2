//! Durations as Go writes them: log lines of etcd's have them.

use std::time::Duration;

/// A duration in Go's words: `1h2m3.5s`, `100ms`, `0s` (Go `time.Duration.String`).
#[must_use]
pub fn go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let decimal = |unit: u128, name: &str| {
        let part = format!("{:0width$}", nanos % unit, width = unit.ilog10() as usize);
        let part = part.trim_end_matches('0');
        let point = if part.is_empty() { "" } else { "." };
        format!("{}{point}{part}{name}", nanos / unit)
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => decimal(1_000, "\u{b5}s"),
        1_000_000..1_000_000_000 => decimal(1_000_000, "ms"),
        _ => {
            let seconds = duration.as_secs();
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = Duration::new(seconds % 60, duration.subsec_nanos());
            let part = format!("{:09}", rest.subsec_nanos());
            let part = part.trim_end_matches('0');
            let point = if part.is_empty() { "" } else { "." };
            let last = format!("{}{point}{part}s", rest.as_secs());
            match (hours, minutes) {
                (0, 0) => last,
                (0, _) => format!("{minutes}m{last}"),
                _ => format!("{hours}h{minutes}m{last}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_writes_them() {
        let check = |nanos, want| assert_eq!(go_duration(Duration::from_nanos(nanos)), want);
        check(0, "0s");
        check(999, "999ns");
        check(1_000, "1\u{b5}s");
        check(1_500, "1.5\u{b5}s");
        check(100_000_000, "100ms");
        check(1_050_000, "1.05ms");
        check(1_000_000_000, "1s");
        check(1_500_000_000, "1.5s");
        check(60_000_000_000, "1m0s");
        check(3_601_000_000_001, "1h0m1.000000001s");
    }
}
