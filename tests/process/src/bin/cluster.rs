//! A local cluster for a person to break: `cargo xtask cluster`.
//!
//! Members are processes with folders of their own, gone with the end of this; between them stand
//! the proxies of the tests, so that links can be cut as well as members killed.

use clap::Parser;
use quorate_process::{Cluster, MemberFault, Options, Program, status, subject};
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Starts a cluster on this machine, and takes orders on what is to happen to it
#[derive(Debug, Parser)]
#[command(name = "cargo xtask cluster")]
struct Args {
    /// How many members
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    members: u8,
    /// The server's program, with etcd's flags; ours if left out
    #[arg(long)]
    program: Option<PathBuf>,
    /// Wait for no disk
    #[arg(long)]
    no_sync: bool,
    /// More flags for each member
    #[arg(last = true)]
    flags: Vec<String>,
}

const ORDERS: &str = "\
  show           how every member is
  kill M         end it at once, as kill -9 does        stop M    ask it to end
  start M        start it again on its folder           log M     the end of its log
  cut M          break its connections to all others    silence M nothing arrives, nobody is told
  deafen M       it hears nobody                        mute M    nobody hears it
  slow M MS      all takes so many milliseconds more    heal [M]  end its faults, or all
  help           this                                   quit      end everything
M is a member: 0, 1, .. or all.";

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Order {
    Show,
    Kill(Vec<usize>),
    Stop(Vec<usize>),
    Start(Vec<usize>),
    Log(Vec<usize>),
    Fault(Vec<usize>, Option<MemberFault>),
    Help,
    Quit,
}

fn main() {
    let args = Args::parse();
    let program = match args.program {
        None => subject(),
        Some(path) => Program { name: path.display().to_string(), path },
    };
    let runtime = Runtime::new().expect("the system can start threads");
    let mut options = if args.no_sync { Options::without_sync() } else { Options::default() };
    options.flags.extend(args.flags);
    let programs = vec![program; usize::from(args.members)];
    println!("starting {} members of {}", programs.len(), programs[0].name);
    let mut cluster = runtime
        .block_on(async {
            tokio::spawn(async move { Cluster::start_with_proxies(&programs, &options).await })
                .await
        })
        .expect("the cluster starts");
    let endpoints: Vec<String> =
        cluster.members.iter().map(|member| member.client_address().to_string()).collect();
    println!("export ETCDCTL_ENDPOINTS={}\n{ORDERS}", endpoints.join(","));
    show(&runtime, &mut cluster);
    let mut lines = std::io::stdin().lock().lines();
    loop {
        print!("> ");
        // A terminal that is gone has no next line either.
        let _ = std::io::stdout().flush();
        let Some(Ok(line)) = lines.next() else { return };
        match read(&line, cluster.members.len()) {
            Ok(None) => {}
            Ok(Some(Order::Quit)) => return,
            Ok(Some(order)) => obey(order, &runtime, &mut cluster),
            Err(wrong) => println!("{wrong}"),
        }
    }
}

/// Reads a line: an order, nothing, or what is wrong with it.
fn read(line: &str, members: usize) -> Result<Option<Order>, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let Some((&verb, rest)) = words.split_first() else { return Ok(None) };
    let which = || match rest.first() {
        None => Err(format!("{verb} which member? 0 to {}, or all", members - 1)),
        Some(&"all") => Ok((0..members).collect()),
        Some(word) => match word.trim_start_matches('m').parse::<usize>() {
            Ok(place) if place < members => Ok(vec![place]),
            _ => Err(format!("{word} is no member: 0 to {}, or all", members - 1)),
        },
    };
    let fault = |fault| Ok(Order::Fault(which()?, Some(fault)));
    let order: Result<Order, String> = match verb {
        "show" => Ok(Order::Show),
        "kill" => Ok(Order::Kill(which()?)),
        "stop" => Ok(Order::Stop(which()?)),
        "start" => Ok(Order::Start(which()?)),
        "log" => Ok(Order::Log(which()?)),
        "cut" => fault(MemberFault::CutOff),
        "silence" => fault(MemberFault::Silent),
        "deafen" => fault(MemberFault::Deaf),
        "mute" => fault(MemberFault::Mute),
        "slow" => match rest.get(1).and_then(|millis| millis.parse().ok()) {
            Some(millis) => fault(MemberFault::Slow(Duration::from_millis(millis))),
            None => Err("slow by how many milliseconds? slow 1 50".to_owned()),
        },
        "heal" if rest.is_empty() => Ok(Order::Fault((0..members).collect(), None)),
        "heal" => Ok(Order::Fault(which()?, None)),
        "help" => Ok(Order::Help),
        "quit" | "exit" => Ok(Order::Quit),
        _ => Err(format!("{verb} is no order:\n{ORDERS}")),
    };
    order.map(Some)
}

fn obey(order: Order, runtime: &Runtime, cluster: &mut Cluster) {
    match order {
        Order::Show | Order::Quit => {}
        Order::Help => return println!("{ORDERS}"),
        Order::Log(places) => {
            for place in places {
                println!("{}", cluster.members[place].log());
            }
            return;
        }
        Order::Kill(places) => {
            for place in places {
                if cluster.members[place].runs() {
                    cluster.members[place].kill();
                }
            }
        }
        Order::Stop(places) => {
            for place in places {
                if cluster.members[place].runs() {
                    cluster.members[place].terminate();
                    cluster.members[place].reap();
                }
            }
        }
        Order::Start(places) => {
            for place in places {
                let member = &mut cluster.members[place];
                if !member.runs() {
                    member.forget();
                    member.spawn();
                }
            }
        }
        Order::Fault(places, fault) => {
            for place in places {
                cluster.set_fault(place, fault);
            }
        }
    }
    show(runtime, cluster);
}

fn show(runtime: &Runtime, cluster: &mut Cluster) {
    println!(
        "{:<4} {:<21} {:<8} {:>5} {:>10} {:>10}  fault",
        "", "clients", "is", "term", "index", "bytes"
    );
    for place in 0..cluster.members.len() {
        let fault = cluster.fault(place).map_or(String::new(), |fault| format!("{fault:?}"));
        let member = &mut cluster.members[place];
        let (name, address, runs) =
            (member.name().to_owned(), member.client_address(), member.runs());
        let told = if runs { runtime.block_on(status(member)) } else { None };
        let address = address.to_string();
        match told {
            Some(told) => {
                let own = told.header.as_ref().map_or(0, |header| header.member_id);
                let is = match told.leader {
                    0 => "lost",
                    leader if leader == own => "leader",
                    _ => "follower",
                };
                let (term, index, bytes) = (told.raft_term, told.raft_index, told.db_size);
                println!(
                    "{name:<4} {address:<21} {is:<8} {term:>5} {index:>10} {bytes:>10}  {fault}"
                );
            }
            None => {
                let is = if runs { "silent" } else { "down" };
                println!(
                    "{name:<4} {address:<21} {is:<8} {:>5} {:>10} {:>10}  {fault}",
                    "", "", ""
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_or_corrected() {
        assert_eq!(read("  ", 3), Ok(None));
        assert_eq!(read("kill 1", 3), Ok(Some(Order::Kill(vec![1]))));
        assert_eq!(read("stop all", 3), Ok(Some(Order::Stop(vec![0, 1, 2]))));
        let slow = MemberFault::Slow(Duration::from_millis(50));
        assert_eq!(read("slow m2 50", 3), Ok(Some(Order::Fault(vec![2], Some(slow)))));
        assert_eq!(read("heal", 2), Ok(Some(Order::Fault(vec![0, 1], None))));
        for (line, wrong) in [
            ("kill", "kill which member? 0 to 2, or all"),
            ("cut 3", "3 is no member: 0 to 2, or all"),
            ("slow 1", "slow by how many milliseconds? slow 1 50"),
        ] {
            assert_eq!(read(line, 3), Err(wrong.to_owned()));
        }
        assert!(read("burn 1", 3).unwrap_err().starts_with("burn is no order:"));
    }
}
