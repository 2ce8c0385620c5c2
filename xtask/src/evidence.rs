//! `evidence`: the must-show lines, and the commands that show them.
//!
//! A run prints what its row in docs/evidence/README.md needs. Finished steps are remembered by
//! commit under `target/evidence/<id>/`, so that an interrupted run goes on where it stopped.

use crate::{root, shell};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// One thing that must be shown, and how.
struct Line {
    id: &'static str,
    title: &'static str,
    /// Shell commands, run from the root of the checkout; `$STATE` is the line's own folder.
    steps: &'static [&'static str],
}

const LINES: &[Line] = &[
    Line {
        id: "2.1",
        title: "a clean clone starts a node, and passes its test command",
        steps: &[
            "rm -rf \"$STATE/clone\" && git clone --quiet . \"$STATE/clone\"",
            "cd \"$STATE/clone\" && scripts/smoke",
            "cd \"$STATE/clone\" && ./test",
        ],
    },
    Line {
        id: "2.2",
        title: "raft scripts, ours and upstream's",
        steps: &["cargo xtask test -p quorate-raft-scripts"],
    },
    Line {
        id: "2.3",
        title: "a cluster of processes survives kills",
        steps: &["cargo xtask test -p quorate-raftexample --test cluster"],
    },
    Line {
        id: "2.4",
        title: "members join and leave a running cluster",
        steps: &["cargo xtask test -p quorate-raftexample --test membership"],
    },
    Line {
        id: "2.5",
        title: "bytes agree with the reference, on disk and on the wire",
        steps: &[
            "cargo xtask test -p quorate-wal --test format --lib",
            "cargo xtask test -p quorate-peer --lib",
            "cargo xtask test -p quorate-interop",
        ],
    },
    Line {
        id: "2.6",
        title: "every flipped bit of a log is caught",
        steps: &["cargo xtask test -p quorate-wal --test damage"],
    },
    Line { id: "2.7", title: "benches", steps: &["cargo xtask bench"] },
    Line {
        id: "3.1",
        title: "2,000 simulated seeds in the test command, 100,000 once",
        steps: &[
            "cargo xtask test -p quorate-sim --test seeds",
            "QUORATE_SEEDS=0..10000 cargo xtask test -p quorate-sim --test seeds",
            "QUORATE_SEEDS=10000..20000 cargo xtask test -p quorate-sim --test seeds",
            "QUORATE_SEEDS=20000..30000 cargo xtask test -p quorate-sim --test seeds",
            "QUORATE_SEEDS=30000..40000 cargo xtask test -p quorate-sim --test seeds",
            "QUORATE_SEEDS=40000..50000 cargo xtask test -p quorate-sim --test seeds",
            "QUORATE_SEEDS=50000..60000 cargo xtask test -p quorate-sim --test seeds",
            "QUORATE_SEEDS=60000..70000 cargo xtask test -p quorate-sim --test seeds",
            "QUORATE_SEEDS=70000..80000 cargo xtask test -p quorate-sim --test seeds",
            "QUORATE_SEEDS=80000..90000 cargo xtask test -p quorate-sim --test seeds",
            "QUORATE_SEEDS=90000..100000 cargo xtask test -p quorate-sim --test seeds",
        ],
    },
    Line {
        id: "3.2",
        title: "the simulator finds each planted bug",
        steps: &["cargo xtask test -p quorate-sim --features planted-bugs --test planted"],
    },
    Line {
        id: "3.3",
        title: "a member of ours in live clusters of the real etcd, and ten minutes of faults",
        steps: &[
            "cargo xtask peers",
            "cargo xtask test -p quorate-interop --test live",
            "QUORATE_LOAD_SECONDS=600 cargo xtask test -p quorate-interop --test load",
        ],
    },
    Line {
        id: "3.4",
        title: "the real etcd runs on directories and images of ours",
        steps: &["cargo xtask test -p quorate-interop --test db --test images"],
    },
    Line {
        id: "3.5",
        title: "ten minutes of fuzzing for each reader",
        steps: &[
            "cargo xtask fuzz wal 600",
            "cargo xtask fuzz snap 600",
            "cargo xtask fuzz peer-message 600",
            "cargo xtask fuzz peer-msgappv2 600",
            "cargo xtask fuzz backend 600",
            "cargo xtask fuzz bolt 600",
        ],
    },
    Line {
        id: "3.6",
        title: "the store beside LMDB",
        steps: &["cargo xtask bench store", "cargo xtask bench store", "cargo xtask bench store"],
    },
    Line {
        id: "3.7",
        title: "the store after crashes, with damage, and while it compacts",
        steps: &["cargo xtask test -p quorate-backend", "cargo xtask bench compact"],
    },
    Line {
        id: "4.1",
        title: "the README's tour by the real etcdctls and the Rust client",
        steps: &["cargo xtask test -p quorate-tour"],
    },
    Line {
        id: "4.2",
        title: "1,000,000 operations beside the real etcd, every answer equal",
        steps: &[
            "cargo xtask test -p quorate-differential",
            "QUORATE_DIFF_OPS=1000000 QUORATE_DIFF_SEED=100000 \
             cargo xtask test -p quorate-differential",
        ],
    },
    Line {
        id: "4.3",
        title: "a learner of a real cluster under random load, hashes and buckets equal",
        steps: &[
            "cargo xtask test -p quorate-interop --test learner",
            "QUORATE_LEARNER_ENTRIES=100000 QUORATE_LEARNER_SEED=50000 \
             cargo xtask test -p quorate-interop --test learner",
        ],
    },
    Line {
        id: "4.5",
        title: "300 rounds of kill -9 under load, with a million keys",
        steps: &["QUORATE_KILLS=300 QUORATE_KILL_KEYS=1000000 \
             cargo xtask test -p quorate-process --test kill"],
    },
    Line {
        id: "4.6",
        title: "bad input: requests, frames, idle and slow clients, lists beyond all memory",
        steps: &[
            "cargo xtask test -p quorate-process --test bad_input --test frames --test idle",
            "QUORATE_LISTS=100 cargo xtask test -p quorate-process --test lists",
        ],
    },
    Line {
        id: "4.7",
        title: "the server beside the real etcd",
        steps: &["cargo xtask bench server"],
    },
    Line {
        id: "5.1",
        title: "the server's processor time an operation, beside the real etcd",
        steps: &["cargo xtask bench --beside etcd 5.1 --resume --results target/evidence/beside"],
    },
    Line {
        id: "5.2",
        title: "latency at half of etcd's peak, and of one client",
        steps: &["cargo xtask bench --beside etcd 5.2 --resume --results target/evidence/beside"],
    },
    Line {
        id: "5.3",
        title: "lists: throughput and memory, and how many keys there are",
        steps: &["cargo xtask bench --beside etcd 5.3 --resume --results target/evidence/beside"],
    },
    Line {
        id: "5.4",
        title: "a thousand watchers, and a hundred thousand leases that run out at once",
        steps: &["cargo xtask bench --beside etcd 5.4 --resume --results target/evidence/beside"],
    },
    Line {
        id: "5.5",
        title: "reads while a slow disk holds up writes, and puts beside a compaction",
        steps: &[
            "scripts/prepare bench",
            "cargo xtask bench --beside etcd 5.5 --resume --results target/evidence/beside",
        ],
    },
    Line {
        id: "5.6",
        title: "idle memory, starts, and bytes written",
        steps: &["cargo xtask bench --beside etcd 5.6 --resume --results target/evidence/beside"],
    },
    Line {
        id: "6.1",
        title: "whole servers, 5,000 seeds: linearizable histories, complete watches",
        steps: &[
            "cargo xtask test -p quorate-sim --test servers",
            "QUORATE_SEEDS=0..2500 cargo xtask test -p quorate-sim --test servers every",
            "QUORATE_SEEDS=2500..5000 cargo xtask test -p quorate-sim --test servers every",
        ],
    },
    Line {
        id: "6.2",
        title: "each planted bug of the server is found, and silent when off",
        steps: &["cargo xtask test -p quorate-sim --features planted-bugs --test planted"],
    },
];

/// Lines of a step's output that are shown again under its figure.
const TAIL_LINES: usize = 20;

/// Prints every line and its commands.
pub fn list() -> Result<()> {
    for line in LINES {
        println!("{}  {}", line.id, line.title);
        for step in line.steps {
            println!("       {step}");
        }
    }
    Ok(())
}

/// Runs the steps of the line `id`. Refuses a checkout that is not a commit, unless `dirty`.
pub fn run(id: &str, dirty: bool) -> Result<()> {
    let line = LINES.iter().find(|line| line.id == id);
    let line = line.with_context(|| format!("no line {id}; `cargo xtask evidence` lists them"))?;
    let clean = !shell::dirty()?;
    ensure!(clean || dirty, "files differ from the commit: commit them, or pass --dirty");
    let state = root().join("target/evidence").join(id);
    fs::create_dir_all(&state)?;
    let commit = shell::read(shell::command("git", &["rev-parse", "HEAD"]))?;

    println!("{id}: {}\n{}", line.title, shell::heading()?);
    for (number, step) in line.steps.iter().enumerate() {
        let done = state.join(format!("step-{number}.done"));
        // What ran on a dirty tree stands for no commit, so it is neither kept nor trusted.
        if clean && fs::read_to_string(&done).is_ok_and(|by| by == commit) {
            println!("$ {step}\nalready passed at this commit; log in {}", state.display());
            continue;
        }
        run_step(step, &state, &state.join(format!("step-{number}.log")))?;
        if clean {
            fs::write(done, &commit)?;
        }
    }
    Ok(())
}

/// Runs one step with its output in `log`, and prints the time and the end of the output.
fn run_step(step: &str, state: &Path, log: &Path) -> Result<()> {
    println!("$ {step}");
    let output = fs::File::create(log)?;
    let started = Instant::now();
    let status = Command::new("sh")
        .args(["-c", step])
        .current_dir(root())
        .env("STATE", state)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()?;
    println!("elapsed: {} s", started.elapsed().as_secs());
    let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
        println!("  {line}");
    }
    ensure!(status.success(), "`{step}` failed ({status}); log: {}", log.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::LINES;

    #[test]
    fn ids_are_unique_and_sorted() {
        assert!(LINES.windows(2).all(|pair| pair[0].id < pair[1].id));
        assert!(LINES.iter().all(|line| !line.steps.is_empty()));
    }
}
