//! TLS and unix sockets on the client port, seen by the real etcdctl: ours and the real etcd are
//! put through the same, and what came of it must be the same, down to the words of refusals.

use quorate_process::{Options, PATIENCE, Program, Server, subject};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use tempfile::TempDir;
use testkit::certificates::{Authority, Pair};
use testkit::figures;

const HERE: [&str; 2] = ["127.0.0.1", "localhost"];

/// Certificates, the same for both.
struct Files {
    folder: TempDir,
    ca: Authority,
}

impl Files {
    fn new() -> Self {
        let (folder, ca) = (tempfile::tempdir().expect("a temporary folder"), Authority::new("ca"));
        let files = Self { folder, ca };
        std::fs::write(files.at("ca.crt"), files.ca.pem()).expect("it can be written");
        let _ = files.sign("server", &HERE);
        files
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sign(&self, name: &str, names: &[&str]) -> Pair {
        let pair = self.ca.sign(name, names);
        let _ = pair.write(self.folder.path(), name);
        pair
    }

    /// `--<flag>=<file>` for each pair.
    fn flags(&self, pairs: &[(&str, &str)]) -> Vec<String> {
        pairs.iter().map(|(flag, file)| format!("--{flag}={}", self.at(file).display())).collect()
    }

    fn options(&self, schemes: &[&'static str], pairs: &[(&str, &str)]) -> Options {
        let mut options = Options::without_sync();
        options.client_schemes = schemes.to_vec();
        options.flags.extend(self.flags(pairs));
        options
    }
}

/// One command of etcdctl.
struct Ctl<'a> {
    server: &'a Server,
    scheme: &'a str,
    flags: Vec<String>,
}

const REFUSED: &str = "refused: ";

/// How often a client is asked that only says that it was refused.
const ASKED_AGAIN: usize = 5;

impl Ctl<'_> {
    /// What it prints, or why it failed in TLS's words. These may be lost on the way, if the
    /// connection is closed behind them while the client still writes.
    fn run(&self, words: &str) -> String {
        let mut said = (0..ASKED_AGAIN).map(|_| self.run_once(words));
        said.find(|said| said != REFUSED).unwrap_or_else(|| REFUSED.to_owned())
    }

    fn run_once(&self, words: &str) -> String {
        let etcdctl = Program::newest_etcd().path.with_file_name("etcdctl");
        let mut command = Command::new(etcdctl);
        command.arg(format!("--endpoints={}://{}", self.scheme, self.server.client_address()));
        command.args(["--dial-timeout=1s", "--command-timeout=1s"]);
        command.args(&self.flags).args(words.split(' ')).current_dir(self.server.folder());
        let output = command.output().expect("etcdctl can be started");
        if output.status.success() {
            return String::from_utf8_lossy(&output.stdout).trim().replace('\n', " ");
        }
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let words = ["x509: ", "remote error: tls: ", "tls: "];
        let reason = words.iter().find_map(|word| told.find(word).map(|at| &told[at..]));
        let reason = reason.and_then(|reason| reason.split(['\\', '"']).next());
        format!("{REFUSED}{}", reason.unwrap_or_default())
    }
}

/// What a server says of those whom it rejected.
fn rejections(server: &Server) -> BTreeSet<String> {
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("rejected connection on client endpoint"));
    let errors = lines.filter_map(|line| {
        let (_, error) = line.split_once("\"error\":\"")?;
        Some(error.split("\",\"").next()?.trim_end_matches("\"}").to_owned())
    });
    // What the network says of a client that is gone depends on the moment.
    errors.filter(|error| error.contains("tls: ") || error.contains("transport: ")).collect()
}

/// Puts ours and the real etcd through the same. The story tells what it saw.
fn same(name: &str, story: impl Fn(&Program) -> Vec<String> + Sync) {
    let began = Instant::now();
    let real = Program::newest_etcd();
    let (ours, theirs) = std::thread::scope(|scope| {
        let ours = scope.spawn(|| story(&subject()));
        let theirs = story(&real);
        (ours.join().expect("no panic"), theirs)
    });
    assert_eq!(ours, theirs, "{name}: ours, and {}", real.name);
    figures::note(
        "tls",
        format!("{name}: {} answers as {}'s, {:?}", ours.len(), real.name, began.elapsed()),
    );
}

#[test]
fn a_certificate_from_files() {
    let files = Files::new();
    same("manual", |program| {
        let pairs = [("cert-file", "server.crt"), ("key-file", "server.key")];
        let server = Server::start(program, files.options(&["https"], &pairs));
        let trusting = files.flags(&[("cacert", "ca.crt")]);
        let ctl = |scheme, flags: &[String]| Ctl { server: &server, scheme, flags: flags.to_vec() };
        let skips = ["--insecure-transport=false", "--insecure-skip-tls-verify"].map(str::to_owned);
        let mut told = vec![
            ctl("https", &trusting).run("put a 1"),
            ctl("https", &trusting).run("get a"),
            ctl("https", &skips).run("put a 2"),
            ctl("https", &[]).run("put a 3"),
            ctl("https", &trusting).run("get a"),
            // To a port with TLS only.
            ctl("http", &[]).run("put a 4"),
        ];
        told.extend(rejections(&server));
        told
    });
}

#[test]
fn certificates_of_clients() {
    let files = Files::new();
    let _ = files.sign("client", &[]);
    let revoked = files.sign("revoked", &[]);
    let (other, name) = (Authority::new("strangers"), "stranger");
    let _ = other.sign(name, &[]).write(files.folder.path(), name);
    std::fs::write(files.at("list.crl"), files.ca.revoke(&[revoked.serial])).expect("written");
    same("client-cert-auth", |program| {
        let pairs = [
            ("cert-file", "server.crt"),
            ("key-file", "server.key"),
            ("trusted-ca-file", "ca.crt"),
            ("client-crl-file", "list.crl"),
        ];
        let options = files.options(&["https"], &pairs).flag("--client-cert-auth");
        let server = Server::start(program, options);
        let mut told = Vec::new();
        for name in ["client", "", "stranger", "revoked", "client"] {
            let mut flags = files.flags(&[("cacert", "ca.crt")]);
            if !name.is_empty() {
                let (cert, key) = (format!("{name}.crt"), format!("{name}.key"));
                flags.extend(files.flags(&[("cert", &cert), ("key", &key)]));
            }
            told.push(Ctl { server: &server, scheme: "https", flags }.run("put a 1"));
        }
        told.extend(rejections(&server));
        told
    });
}

#[test]
fn a_certificate_of_its_own_making() {
    let files = Files::new();
    same("auto-tls", |program| {
        let options = files.options(&["https"], &[]).flag("--auto-tls").flag("--peer-auto-tls");
        let mut server = Server::start(program, options);
        let made = server.data_dir().join("fixtures/client/cert.pem");
        let read = |path: &Path| std::fs::read(path).expect("it has made one");
        let before = read(&made);
        let trusting = vec![format!("--cacert={}", made.display())];
        let skips = ["--insecure-transport=false", "--insecure-skip-tls-verify"].map(str::to_owned);
        let put = |server: &Server, flags: &[String]| {
            Ctl { server, scheme: "https", flags: flags.to_vec() }.run("put a 1")
        };
        let mut told = vec![put(&server, &trusting), put(&server, &skips)];
        server.kill();
        server.start_again();
        assert_eq!(read(&made), before, "it keeps what it has made");
        told.push(put(&server, &trusting));
        told
    });
}

/// Each finds the certificate that the other has made.
#[test]
fn certificates_of_the_others_making() {
    let real = Program::newest_etcd();
    for (first, second) in [(&subject(), &real), (&real, &subject())] {
        let mut options = Options::without_sync().flag("--auto-tls");
        options.client_schemes = vec!["https"];
        let maker = Server::start(first, options.clone());
        let mut heir = Server::prepare(second, options);
        let (from, to) = (maker.data_dir(), heir.data_dir());
        let folder = Path::new("fixtures/client");
        std::fs::create_dir_all(to.join(folder)).expect("a folder can be made");
        for name in ["cert.pem", "key.pem"] {
            let file = folder.join(name);
            std::fs::copy(from.join(&file), to.join(&file)).expect("it has made one");
        }
        heir.start_again();
        let trusting = format!("--cacert={}", from.join(folder).join("cert.pem").display());
        let ctl = Ctl { server: &heir, scheme: "https", flags: vec![trusting] };
        assert_eq!(ctl.run("put a 1"), "OK", "{} with {}'s", second.name, first.name);
    }
}

#[test]
fn unix_sockets() {
    let files = Files::new();
    same("unix", |program| {
        let pairs = [("cert-file", "server.crt"), ("key-file", "server.key")];
        let trusting = files.flags(&[("cacert", "ca.crt")]);
        let mut told = Vec::new();
        let mut plain = Server::start(program, files.options(&["unix"], &[]));
        fn ctl(server: &Server) -> Ctl<'_> {
            Ctl { server, scheme: "unix", flags: Vec::new() }
        }
        told.push(ctl(&plain).run("put a 1"));
        told.push(ctl(&plain).run("get a"));
        // A socket that a killed server left is in the next one's way no more.
        plain.kill();
        plain.start_again();
        told.push(ctl(&plain).run("get a"));
        let secure = Server::start(program, files.options(&["unixs"], &pairs));
        let ctl = Ctl { server: &secure, scheme: "unixs", flags: trusting };
        told.push(ctl.run("put a 2"));
        told.push(ctl.run("get a"));
        told
    });
}

#[test]
fn one_port_with_and_without_tls() {
    let files = Files::new();
    same("both", |program| {
        let pairs = [("cert-file", "server.crt"), ("key-file", "server.key")];
        let server = Server::start(program, files.options(&["http", "https"], &pairs));
        let trusting = files.flags(&[("cacert", "ca.crt")]);
        let ctl = |scheme, flags: &[String]| Ctl { server: &server, scheme, flags: flags.to_vec() };
        vec![
            ctl("http", &[]).run("put a 1"),
            ctl("https", &trusting).run("get a"),
            ctl("https", &trusting).run("put a 2"),
            ctl("http", &[]).run("get a"),
        ]
    });
}

#[test]
fn a_certificate_that_is_renewed_while_it_runs() {
    let files = Files::new();
    let others = Authority::new("others");
    std::fs::write(files.at("others.crt"), others.pem()).expect("it can be written");
    same("renewed", |program| {
        // Each renews its own.
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (cert, key) = files.ca.sign("server", &HERE).write(folder.path(), "server");
        let mut options = files.options(&["https"], &[]);
        options.flags.push(format!("--cert-file={}", cert.display()));
        options.flags.push(format!("--key-file={}", key.display()));
        let server = Server::start(program, options);
        let put = |ca: &str| {
            let flags = files.flags(&[("cacert", ca)]);
            Ctl { server: &server, scheme: "https", flags }.run("put a 1")
        };
        let mut told = vec![put("ca.crt"), put("others.crt")];
        let _ = others.sign("server", &HERE).write(folder.path(), "server");
        told.extend([put("others.crt"), put("ca.crt")]);
        told
    });
}

#[test]
fn what_cannot_work_is_said_and_ends_it() {
    let files = Files::new();
    let words = [
        "TLS key/cert (--cert-file, --key-file) must be provided for client url",
        "KeyFile and CertFile must both be present[key: , cert: ",
        "unexpected TLS cipher suite",
        "min version (TLS1.3) is greater than max version (TLS1.2)",
        "tls: private key does not match public key",
    ];
    let _ = files.sign("other", &HERE);
    same("refusals", |program| {
        let cert = ("cert-file", "server.crt");
        let cases = [
            (vec![], vec![]),
            (vec![cert], vec![]),
            (vec![], vec!["--cipher-suites=TLS_NONE", "--auto-tls"]),
            (vec![], vec!["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2", "--auto-tls"]),
            (vec![cert, ("key-file", "other.key")], vec![]),
        ];
        let mut told = Vec::new();
        for ((pairs, flags), want) in cases.into_iter().zip(words) {
            let mut options = files.options(&["https"], &pairs);
            options.flags.extend(flags.into_iter().map(str::to_owned));
            let mut server = Server::prepare(program, options);
            server.spawn();
            assert!(server.wait_ended(PATIENCE), "{} goes on: {want}", program.name);
            told.push(format!("{want}: {}", server.log().contains(want)));
        }
        told
    });
}
