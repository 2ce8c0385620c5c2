//! Command lines, environments and files, given to ours and to the real etcd: both refuse the
//! same ones, with the same words and exit codes, and where they start the same is in force.

use quorate_process::{Program, Run, subject};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use tempfile::TempDir;

/// What etcd logs once it knows what is in force.
const STARTING: &str = "starting an etcd server";
const READY: &str = "ready to serve client requests";

/// What came of a start.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// Exit code, and what it said of it.
    Refused(Option<i32>, String),
    /// What is in force.
    Started(BTreeMap<String, Value>),
}

/// How it is asked.
#[derive(Default, Clone, Copy)]
struct Case<'a> {
    args: &'a str,
    env: &'a [(&'a str, &'a str)],
    file: Option<&'a str>,
}

fn args(line: &'static str) -> Case<'static> {
    Case { args: line, ..Case::default() }
}

fn file(text: &'static str) -> Case<'static> {
    Case { args: "--config-file=c.yml", file: Some(text), ..Case::default() }
}

/// Addresses nobody listens on, all held until all are known.
fn free_ports() -> [String; 2] {
    let held = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    held.map(|socket| socket.local_addr().expect("it has an address").to_string())
}

/// Starts a program; `{client}` and `{peer}` stand for addresses of its own.
fn start(program: &Program, folder: &Path, case: Case<'_>) -> (Run, [String; 2]) {
    let ports = free_ports();
    let fill = |text: &str| text.replace("{client}", &ports[0]).replace("{peer}", &ports[1]);
    if let Some(text) = case.file {
        std::fs::write(folder.join("c.yml"), fill(text)).expect("a file can be written");
    }
    let args: Vec<String> = case.args.split_whitespace().map(fill).collect();
    let env: Vec<_> = case.env.iter().map(|(name, value)| (*name, fill(value))).collect();
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    (Run::start(program, folder, &args, &env), ports)
}

fn outcome(program: &Program, case: Case<'_>) -> Outcome {
    let folder = TempDir::new().expect("a folder");
    let (mut run, ports) = start(program, folder.path(), case);
    let starting = run.wait_for(STARTING);
    if let Some(line) = starting.filter(|_| run.wait_for(READY).is_some()) {
        let masked = line.replace(&ports[0], "{client}").replace(&ports[1], "{peer}");
        let mut fields: BTreeMap<String, Value> = serde_json::from_str(&masked).expect("JSON");
        // When, where in the source, and of what it is built.
        for own in ["ts", "caller", "git-sha", "go-version"] {
            fields.remove(own);
        }
        return Outcome::Started(fields);
    }
    let status = run.wait();
    let reason = reason(&run.said).replace(&ports[0], "{client}").replace(&ports[1], "{peer}");
    Outcome::Refused(status.code(), reason)
}

/// What was wrong: the error of the last line that has one, or the first that is no log line.
fn reason(said: &[String]) -> String {
    let logged = |line: &String| serde_json::from_str::<BTreeMap<String, Value>>(line).ok();
    if let Some(plain) = said.iter().find(|line| logged(line).is_none()) {
        // Go's panics begin so.
        let plain = plain.strip_prefix("panic: ").unwrap_or(plain);
        return plain.to_owned();
    }
    let is_bad = |line: &&BTreeMap<String, Value>| {
        matches!(line["level"].as_str(), Some("warn" | "error" | "fatal"))
    };
    let lines: Vec<_> = said.iter().filter_map(logged).collect();
    let with_error = lines.iter().filter(is_bad).rfind(|line| line.contains_key("error"));
    match (with_error, lines.iter().rfind(|line| is_bad(line))) {
        (Some(line), _) => {
            format!(
                "{}: {}",
                line["msg"].as_str().unwrap_or(""),
                line["error"].as_str().unwrap_or("")
            )
        }
        (None, Some(line)) => {
            let variable = line.get("environment-variable").and_then(Value::as_str).unwrap_or("");
            format!("{} {variable}", line["msg"].as_str().unwrap_or(""))
        }
        (None, None) => String::new(),
    }
}

/// Cuts what another parser or resolver says in its own words.
fn cut(text: &str) -> &str {
    let own = ["yaml: ", "log rotation config: ", "=http://127.0.0.1:1 "];
    let ends = own.iter().filter_map(|mark| text.find(mark).map(|at| at + mark.trim_end().len()));
    &text[..ends.min().unwrap_or(text.len())]
}

/// Runs both on all cases; fails with all that differ.
fn compare(cases: &[Case<'_>]) {
    let wrong: Vec<String> = cases.iter().filter_map(|case| difference(*case)).collect();
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// What comes of a case when nobody else takes the ports that were free a moment before.
fn undisturbed(program: &Program, case: Case<'_>) -> Outcome {
    loop {
        match outcome(program, case) {
            Outcome::Refused(_, reason)
                if reason.to_lowercase().contains("address already in use") => {}
            outcome => return outcome,
        }
    }
}

fn difference(case: Case<'_>) -> Option<String> {
    let what = format!("{} {:?} {:?}", case.args, case.env, case.file);
    let ours = undisturbed(&subject(), case);
    let theirs = undisturbed(&Program::newest_etcd(), case);
    let is_same = match (&ours, &theirs) {
        (Outcome::Refused(code, ours), Outcome::Refused(their_code, theirs)) => {
            (code, cut(ours)) == (their_code, cut(theirs))
        }
        (ours, theirs) => ours == theirs,
    };
    (!is_same).then(|| format!("{what}\n    ours: {ours:?}\n    etcd: {theirs:?}"))
}

#[test]
fn command_lines_that_do_not_work() {
    let lines = [
        "--nam=a",
        "--name",
        "run",
        "-",
        "-- run",
        "--force run",
        "--=x",
        "---name=x",
        "--pre-vote=maybe",
        "--heartbeat-interval=x",
        "--heartbeat-interval=-1",
        "--heartbeat-interval=0",
        "--election-timeout=0",
        "--election-timeout=400",
        "-election-timeout 50001",
        "--max-learners=1x",
        "--max-request-bytes=1e3",
        "--snapshot-count=99999999999999999999",
        "--max-concurrent-streams=x",
        "--max-concurrent-streams=99999999999",
        "--compaction-sleep-interval=ten",
        "--compaction-sleep-interval=10",
        "--listen-peer-urls=foo",
        "--listen-peer-urls=http://a",
        "--listen-peer-urls=http://a:1/b",
        "--listen-peer-urls=http://example.com:1",
        "--listen-client-urls=http://example.com:1",
        "--listen-client-urls=http://127.0.0.1:1",
        "--advertise-client-urls=http://:1",
        "--initial-advertise-peer-urls=http://:1",
        "--initial-cluster-state=old",
        "--v2-deprecation=not-yet",
        "--discovery-fallback=proxy",
        "--discovery-fallback=x",
        "--logger=capnslog",
        "--logger=x",
        "--log-level=loud",
        "--log-format=x",
        "--log-outputs=default,stdout",
        "--log-outputs=no-such-folder/log",
        "--log-outputs=/",
        "--enable-log-rotation",
        "--enable-log-rotation --log-outputs=a,b",
        "--enable-log-rotation --log-outputs=a --log-rotation-config-json={",
        "--enable-log-rotation --log-outputs=a --log-rotation-config-json={\"maxsize\":\"1\"}",
        "--feature-gates=Foo=true",
        "--feature-gates=LeaseCheckpoint",
        "--feature-gates=LeaseCheckpoint=x",
        "--feature-gates=LeaseCheckpointPersist=true",
        "--auto-compaction-mode=x",
        "--auto-compaction-mode=",
        "--tls-min-version=TLS1.0",
        "--tls-min-version=TLS1.3 --tls-max-version=TLS1.2",
        "--tls-min-version=TLS1.3 --cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "--grpc-keepalive-min-time=5",
        "--raft-read-timeout=soon",
        "--config-file=no-such-file",
        "--config-file=/",
    ];
    compare(&lines.map(args));
    // What is found once the ports are taken.
    let late = [
        "--initial-cluster=a=b",
        "--name=a --initial-cluster=b=http://{peer}",
        "--name=a --initial-cluster=a=http://{peer},b=http://{peer}",
        "--name=a --initial-cluster=a=http://127.0.0.1:1",
        "--name=a --initial-cluster=a=http://{peer},a=http://127.0.0.1:1",
        "--auto-compaction-retention=x",
        "--auto-compaction-retention=1.5",
        "--auto-compaction-retention=-1",
        "--cipher-suites=NONE",
        "--listen-peer-urls=https://{peer}",
        "--listen-peer-urls=https://{peer} --peer-key-file=k",
    ];
    let late = late.map(|line| format!("{FLAGS} {line}"));
    compare(&late.each_ref().map(|line| Case { args: line, ..Case::default() }));
}

#[test]
fn help_and_version_end_well() {
    for program in [subject(), Program::newest_etcd()] {
        for line in ["--help", "-h", "--version", "--name=a -version=1"] {
            let folder = TempDir::new().expect("a folder");
            let (mut run, _) = start(&program, folder.path(), args(line));
            assert_eq!(run.wait().code(), Some(0), "{line}");
            if line.contains("version") {
                let lines: Vec<_> = run.said.iter().map(|line| line.split(": ").next()).collect();
                let want = ["etcd Version", "Git SHA", "Go Version", "Go OS/Arch"].map(Some);
                assert_eq!(lines, want);
                assert_eq!(run.said[0], "etcd Version: 3.7.1");
            }
        }
    }
}

#[test]
fn environments() {
    let refused: &[&[(&str, &str)]] = &[
        &[("ETCD_HEARTBEAT_INTERVAL", "x")],
        &[("ETCD_NAME", "n")],
        &[("ETCD_PRE_VOTE", "maybe"), ("ETCD_NO", "1"), ("ETCD_VERSION", "2")],
        &[("ETCD_PRE_VOTE", "maybe"), ("ETCD_MAX_WALS", "x"), ("ETCD_DATA_DIR", "")],
        &[("ETCD_LISTEN_PEER_URLS", "x")],
        &[("ETCD_CONFIG_FILE", "no-such-file"), ("ETCD_NAME", "n")],
        &[("ETCD_LISTEN_CLIENT_URLS", "http://127.0.0.1:1")],
    ];
    let refused: Vec<_> = refused.iter().map(|env| Case { env, ..args("--name=m") }).collect();
    compare(&refused);
    let env = [
        ("ETCD_NAME", "m"),
        ("ETCD_LISTEN_CLIENT_URLS", "http://{client}"),
        ("ETCD_ADVERTISE_CLIENT_URLS", "http://{client}"),
        ("ETCD_LISTEN_PEER_URLS", "http://{peer}"),
        ("ETCD_INITIAL_ADVERTISE_PEER_URLS", "http://{peer}"),
        ("ETCD_HEARTBEAT_INTERVAL", "20"),
        ("ETCD_ELECTION_TIMEOUT", "100"),
        ("ETCD_UNSAFE_NO_FSYNC", "T"),
        ("ETCD_FORCE", "1"),
        ("ETCD_WAL_DIR", ""),
        ("ETCD_VERIFY", "all"),
        ("NAME", "other"),
    ];
    compare(&[Case { env: &env, ..Case::default() }]);
}

/// Flags that any start here has: addresses of its own, and elections that take no time.
const FLAGS: &str = "--listen-client-urls=http://{client} --advertise-client-urls=http://{client} \
                     --listen-peer-urls=http://{peer} --initial-advertise-peer-urls=http://{peer} \
                     --heartbeat-interval=20 --election-timeout=100 --unsafe-no-fsync";

#[test]
fn settings_in_force() {
    let lines = [
        "--name=m",
        "-name m --name=n --data-dir d --wal-dir=w --snapshot=3 --v",
        "--name=m --snapshot-count=0x10 --snapshot-catchup-entries=7 --max-snapshots=0 --max-wals=2",
        "--name=m --initial-cluster=m=http://{peer} --initial-cluster-token=t --pre-vote=0",
        "--name=m --quota-backend-bytes=-1 --max-request-bytes=1000000 --max-txn-ops=5",
        "--name=m --auto-compaction-mode=revision --auto-compaction-retention=1000",
        "--name=m --auto-compaction-retention=1",
        "--name=m --auto-compaction-retention=90s --initial-election-tick-advance=false",
        "--name=m --max-learners=3 --feature-gates=AllAlpha=false,FastLeaseKeepAlive=true",
        "--name=m --v2-deprecation=gone --strict-reconfig-check=false --log-level=INFO",
        "--name=m --backend-batch-interval=1s --backend-batch-limit=5 --compaction-batch-limit=7",
        "--name=m --bootstrap-defrag-threshold-megabytes=1 --watch-progress-notify-interval=1ms",
        "--name=m --max-concurrent-streams=0 --grpc-keepalive-min-time=-1s",
        "--name=m --max-concurrent-streams=9 --grpc-keepalive-timeout=0 --raft-read-timeout=1s",
        "--name=m --log-outputs=stdout,/dev/stderr --compaction-sleep-interval=1ms",
    ];
    let lines = lines.map(|line| format!("{line} {FLAGS}"));
    compare(&lines.each_ref().map(|line| Case { args: line, ..Case::default() }));
}

#[test]
fn files() {
    let refused = [
        "name: 1\n",
        "name: yes\n",
        "name: .inf\n",
        "name: {a: b}\n",
        "heartbeat-interval: \"100\"\n",
        "heartbeat-interval: -1\n",
        "heartbeat-interval: 1.5\n",
        "election-timeout: 400\n",
        "max-learners: 9223372036854775808\n",
        "pre-vote: \"true\"\n",
        "pre-vote: 1\n",
        "compaction-sleep-interval: 10m\n",
        "log-outputs: stderr\n",
        "log-outputs: [1]\n",
        "log-format: x\n",
        "log-level: loud\n",
        "listen-peer-urls: foo\n",
        "listen-peer-urls: [a]\n",
        "advertise-client-urls: foo\n",
        "listen-peer-urls: http://example.com:1\n",
        "initial-cluster-state: old\n",
        "feature-gates: Foo=true\n",
        "auto-compaction-retention: 1\n",
        "auto-compaction-mode: x\n",
        "peer-transport-security: 1\n",
        "peer-transport-security:\n",
        "client-transport-security: {cert-file: 1}\n",
        "client-transport-security: {allowed-cn: a}\n",
        "client-transport-security: {allowed-cn: [1]}\n",
        "client-transport-security: {skip-client-san-verification: 1}\n",
        "tls-min-version: TLS1.0\n",
        "max-concurrent-streams: -1\n",
        "grpc-keepalive-min-time: 5s\n",
        "discovery-config: {client: {endpoints: 1}}\n",
        "socket-options: 1\n",
        "[a\n",
        "- a\n",
        "? [a]\n: b\n",
    ];
    compare(&refused.map(file));
}

#[test]
fn files_in_force() {
    let base = "listen-client-urls: http://{client}\nadvertise-client-urls: http://{client}\n\
                listen-peer-urls: http://{peer}\ninitial-advertise-peer-urls: http://{peer}\n\
                heartbeat-interval: 20\nelection-timeout: 100\nunsafe-no-fsync: true\n";
    let rest = [
        "name: m\n",
        "Name: 'm'\nsnapshot-count: 1e3\nmax-wals: 0x10\nmax-snapshots: 017\npre-vote: off\n",
        "name: m\nunknown: 1\nproxy: 'off'\ndata-dir:\nwal-dir: ~\nversion: true\ncors:\n",
        "name: m\nname: n\ndata-dir: &dir d\nwal-dir: w\ninitial-cluster-token: *dir\n",
        "name: m\nlog-outputs: [stdout, /dev/stderr]\nauto-compaction-retention: 1h\n",
        "name: m\ncompaction-sleep-interval: 1000000\nfeature-gates: AllBeta=true\n\
         client-transport-security:\npeer-transport-security: {cert-file: , allowed-cn: }\n\
         discovery-config: {client: {dial-timeout: 2000000000}}\n---\nname: other\n",
        "<<: {name: q, data-dir: d}\ndata-dir: e\nv2-deprecation: gone\ndiscovery-fallback: proxy\n",
    ];
    let texts = rest.map(|text| format!("{base}{text}"));
    compare(&texts.each_ref().map(|text| Case {
        args: "--config-file c.yml --name=ignored",
        env: &[("ETCD_NAME", "ignored")],
        file: Some(text),
    }));
    let json = "{\"name\": \"j\", \"listen-client-urls\": \"http://{client}\", \"max-wals\": 3, \
                \"listen-peer-urls\": \"http://{peer}\", \"election-timeout\": 500, \
                \"initial-advertise-peer-urls\": \"http://{peer}\"}";
    let env = [("ETCD_CONFIG_FILE", "c.yml")];
    compare(&[Case { args: "--name=ignored", env: &env, file: Some(json) }]);
}
