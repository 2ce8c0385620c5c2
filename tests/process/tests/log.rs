//! What a server logs in its life, beside what the real etcd does: the lines that people, charts
//! and upstream's tests wait for have the same texts and fields.

use api::etcdserverpb::PutRequest;
use api::etcdserverpb::kv_client::KvClient;
use quorate_process::{Program, Run, subject};
use serde_json::{Map, Value};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use tempfile::TempDir;
use tonic::transport::Endpoint;

const READY: &str = "ready to serve client requests";

/// Lines of a start, and of the stop behind it.
const START: &[&str] = &[
    "Running http and grpc server on single port. This is not recommended for production.",
    "Running: ",
    "Initialize and start etcd server",
    "configuring peer listeners",
    "configuring client listeners",
    "starting an etcd server",
    "starting etcd server",
    "now serving peer/client/metrics",
    "serving peer traffic",
    "started as single-node; fast-forwarding election ticks",
    "added member",
    "setting up initial cluster version using v3 API",
    "published local member to cluster through raft",
    "ready to serve client requests",
    "notifying init daemon",
    "successfully notified init daemon",
    "serving client traffic insecurely; this is strongly discouraged!",
    "received signal; shutting down",
    "closing etcd server",
    "skipped leadership transfer for single voting member cluster",
    "stopped serving peer traffic",
    "closed etcd server",
];

const RESTART: &[&str] = &[
    "server has already been initialized",
    "restarting local member",
    "published local member to cluster through raft",
    "ready to serve client requests",
    "serving client traffic insecurely; this is strongly discouraged!",
    "closed etcd server",
];

/// What may differ: when, where in the source, what it is built of.
const OWN: [&str; 5] = ["ts", "caller", "git-sha", "go-version", "args"];

/// A server with a folder and ports that it keeps.
struct Life {
    program: Program,
    folder: TempDir,
    ports: [String; 2],
}

impl Life {
    fn new(program: Program) -> Self {
        let held = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
        let ports = held.map(|socket| socket.local_addr().expect("an address").to_string());
        Self { program, folder: TempDir::new().expect("a folder"), ports }
    }

    fn start(&self, flags: &[&str], env: &[(&str, &str)]) -> Run {
        let [client, peer] = &self.ports;
        let mut args = vec![
            "--name=m".to_owned(),
            "--data-dir=d".to_owned(),
            format!("--listen-client-urls=http://{client}"),
            format!("--advertise-client-urls=http://{client}"),
            format!("--listen-peer-urls=http://{peer}"),
            format!("--initial-advertise-peer-urls=http://{peer}"),
            "--heartbeat-interval=20".to_owned(),
            "--election-timeout=100".to_owned(),
        ];
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        Run::start(&self.program, self.folder.path(), &args, env)
    }

    /// Starts it and stops it again; gives its lines without what is its own.
    fn whole(&self) -> Vec<Map<String, Value>> {
        let mut run = self.start(&[], &[]);
        settle(&mut run);
        run.terminate();
        let status = run.wait();
        assert_eq!((status.code(), status.signal()), (None, Some(15)), "it ends by the signal");
        let parse = |line: &String| {
            let mut fields: Map<String, Value> =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            for key in ["level", "ts", "caller", "msg"] {
                assert!(fields[key].as_str().is_some_and(|text| !text.is_empty()), "{line}");
            }
            OWN.iter().for_each(|own| drop(fields.remove(*own)));
            fields
        };
        let masked = run.said.iter().map(|line| {
            let [client, peer] = &self.ports;
            line.replace(client, "{client}").replace(peer, "{peer}")
        });
        masked.map(|line| parse(&line)).collect()
    }
}

/// Waits for the last lines of a start, which come in any order; a signal before them is not heard.
fn settle(run: &mut Run) {
    let last = [
        READY,
        "serving client traffic insecurely",
        "published local member",
        "successfully notified init daemon",
    ];
    for text in last {
        let is_there = run.said.iter().any(|line| line.contains(text));
        assert!(is_there || run.wait_for(text).is_some(), "{}", run.said.join("\n"));
    }
}

/// Ids are made of ports; how much of the log is known to be committed when a member is stopped
/// depends on when it is.
fn without_ids(line: &Map<String, Value>) -> Map<String, Value> {
    let mask = |(key, value): (&String, &Value)| {
        let masked = match key.as_str() {
            key if key.ends_with("-id") && value.as_str() != Some("0") => "an id".into(),
            "commit-index" if value.is_u64() => "an index".into(),
            _ => value.clone(),
        };
        (key.clone(), masked)
    };
    line.iter().map(mask).collect()
}

fn compare(ours: &[Map<String, Value>], theirs: &[Map<String, Value>], texts: &[&str]) {
    for text in texts {
        let find = |lines: &[Map<String, Value>]| {
            lines.iter().find(|line| line["msg"] == **text).map(without_ids)
        };
        let (ours, theirs) = (find(ours), find(theirs));
        assert!(theirs.is_some(), "etcd does not say {text:?}");
        assert_eq!(ours, theirs, "{text:?}");
    }
}

#[test]
fn a_life_is_told_in_etcds_words() {
    let (ours, theirs) = (Life::new(subject()), Life::new(Program::newest_etcd()));
    compare(&ours.whole(), &theirs.whole(), START);
    compare(&ours.whole(), &theirs.whole(), RESTART);
    let errors = ours.whole();
    let errors: Vec<_> = errors.iter().filter(|line| line["level"] == "error").collect();
    assert!(errors.is_empty(), "nothing goes wrong in a plain life: {errors:?}");
}

#[test]
fn files_get_the_same_lines() {
    for program in [subject(), Program::newest_etcd()] {
        let life = Life::new(program);
        let mut run = life.start(&["--log-outputs=e.log,stdout", "--log-format=console"], &[]);
        settle(&mut run);
        run.terminate();
        run.wait();
        let file = std::fs::read_to_string(life.folder.path().join("e.log")).expect("a log");
        // Stacks that etcd's own stopping leaves are lines of other forms.
        let lines: Vec<&str> = file.lines().filter(|line| line.contains("\tinfo\t")).collect();
        let said: Vec<&str> =
            run.said.iter().map(String::as_str).filter(|line| line.contains("\tinfo\t")).collect();
        assert_eq!(lines, said);
        let ready = lines.iter().find(|line| line.ends_with(READY));
        let ready = ready.expect("a line without fields ends with its text");
        assert_eq!(ready.split('\t').count(), 4, "{ready}");
        let peers = lines.iter().find(|line| line.contains("configuring peer listeners"));
        let peer = &life.ports[1];
        let want =
            format!("\tconfiguring peer listeners\t{{\"listen-peer-urls\": [\"http://{peer}\"]}}");
        assert!(peers.is_some_and(|line| line.ends_with(&want)), "{peers:?}");
    }
}

#[test]
fn full_files_give_way() {
    for program in [subject(), Program::newest_etcd()] {
        let life = Life::new(program);
        let path = life.folder.path().join("e.log");
        // As full as a file of a megabyte can be.
        std::fs::write(&path, vec![b'x'; 1 << 20]).expect("a file");
        let rules = "--log-rotation-config-json={\"maxsize\": 1, \"compress\": true}";
        let flags = ["--log-outputs=e.log,stderr", "--enable-log-rotation", rules];
        let mut run = life.start(&flags, &[]);
        settle(&mut run);
        run.terminate();
        run.wait();
        let file = std::fs::read_to_string(&path).expect("a log");
        assert!(file.starts_with("{\"level\":") && file.contains("closed etcd server"));
        let names = std::fs::read_dir(life.folder.path()).expect("a folder");
        let names = names.map(|entry| entry.expect("an entry").file_name().into_string());
        let old: Vec<_> = names.flatten().filter(|name| name.starts_with("e-2")).collect();
        assert!(!old.is_empty(), "{}: no full file", life.program.name);
    }
}

#[test]
fn only_what_is_bad_enough_is_logged() {
    let life = Life::new(subject());
    let mut run = life.start(&["--log-level=warn", "--max-snapshots=5"], &[]);
    let line = run.wait_for("--max-snapshots is deprecated").expect("a warning");
    assert!(line.contains("\"level\":\"warn\""));
    run.terminate();
    run.wait();
    assert!(run.said.iter().all(|line| !line.contains("\"level\":\"info\"")));
    // What cannot go on is said at every level.
    let mut run = life.start(&["--log-level=fatal", "--initial-cluster=a=b"], &[]);
    assert_eq!(run.wait().code(), Some(1));
    let last: Value = serde_json::from_str(run.said.last().expect("a line")).expect("JSON");
    assert_eq!(last["level"], "fatal");
    assert_eq!(run.said.len(), 1);
}

#[test]
fn the_init_daemon_is_told() {
    let life = Life::new(subject());
    let path = life.folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(quorate_process::PATIENCE)).expect("a socket has a time limit");
    let _run = life.start(&[], &[("NOTIFY_SOCKET", path.to_str().expect("a path of letters"))]);
    let mut message = [0; 32];
    let len = socket.recv(&mut message).expect("it is told");
    assert_eq!(&message[..len], b"READY=1");
}

#[test]
fn keys_are_compacted_by_themselves() {
    let text = "completed auto periodic compaction";
    let lines = [subject(), Program::newest_etcd()].map(|program| {
        let life = Life::new(program);
        let mut run = life.start(&["--auto-compaction-retention=1s"], &[]);
        run.wait_for("serving client traffic").expect("it serves");
        let endpoint = Endpoint::from_shared(format!("http://{}", life.ports[0]));
        let endpoint = endpoint.expect("an address makes a URL");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut client = KvClient::new(endpoint.connect_lazy());
            for _ in 0..3 {
                let put = PutRequest { key: "k".into(), ..PutRequest::default() };
                client.put(put).await.expect("it is put");
            }
        });
        // The first may be of what was there before.
        let line = loop {
            let line = run.wait_for(text).expect("it compacts");
            let line: Map<String, Value> = serde_json::from_str(&line).expect("JSON");
            if line["revision"] == 4 {
                break line;
            }
        };
        assert!(run.said.iter().any(|line| line.contains("starting auto periodic compaction")));
        let mut line = without_ids(&line);
        for own in OWN.iter().chain(&["took"]) {
            line.remove(*own);
        }
        line
    });
    assert_eq!(lines[0], lines[1]);
}

#[test]
fn the_limit_of_open_files_is_raised() {
    let life = Life::new(subject());
    let mut run = life.start(&[], &[]);
    run.wait_for(READY).expect("it starts");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", run.id())).expect("limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    let numbers: Vec<&str> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "{files}");
}
