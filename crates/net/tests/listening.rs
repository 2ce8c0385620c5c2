//! Ports of all kinds, files that change, and files that cannot be used.

mod common;

use common::{Files, PATIENCE, listen, meet_there};
use quorate_net::{
    Acceptor, Address, Dialer, Endpoint, Incoming, Listener, Place, Security, SocketOptions,
    Stream, TlsOptions,
};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use testkit::certificates::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const HERE: [&str; 2] = ["127.0.0.1", "localhost"];

async fn open(listener: &Listener) -> io::Result<Stream> {
    listener.accept().await?.open().await
}

#[tokio::test]
async fn what_is_renewed_on_disk_counts_for_the_next_connection() {
    let (files, first, second) = (Files::new(), Authority::new("first"), Authority::new("second"));
    let server = files.options("server", &first.sign("server", &HERE), None);
    let (listener, port) = listen(&server, Endpoint::Client).await;
    let url = format!("https://127.0.0.1:{port}");
    let (old, new) = (files.trusting("old", &first), files.trusting("new", &second));
    assert!(meet_there(&listener, &url, &old).await.well());
    second.sign("server", &HERE).write(files.0.path(), "server").0.metadata().expect("written");
    meet_there(&listener, &url, &old).await.refused("signed by unknown authority");
    assert!(meet_there(&listener, &url, &new).await.well());
    // While the files are gone nobody gets in; then all is well again.
    let key = std::fs::read(files.at("server.key")).expect("it is there");
    common::remove(&files.at("server.key"));
    assert!(!meet_there(&listener, &url, &new).await.well());
    files.write("server.key", key);
    assert!(meet_there(&listener, &url, &new).await.well());
}

#[tokio::test]
async fn one_port_with_and_without_tls() {
    let (files, ca) = (Files::new(), Authority::new("ca"));
    let server = files.options("server", &ca.sign("server", &HERE), None);
    let acceptor = Arc::new(Acceptor::new(&server, Endpoint::Client).expect("good files"));
    for place in [Place::Tcp("127.0.0.1:0".to_owned()), Place::Unix(files.at("localhost:1"))] {
        let security = Security::Either(Arc::clone(&acceptor));
        let listener = Listener::bind(&place, SocketOptions::default(), security).await;
        let listener = listener.expect("it is free");
        let secure = Address { place: at(&place, &listener), secure: true };
        let dialer = Dialer::new(&files.trusting("client", &ca)).expect("good files");
        if matches!(place, Place::Tcp(_)) {
            let (served, dialled) =
                tokio::join!(open(&listener), dialer.connect(&secure, PATIENCE));
            assert!(served.expect("it is served").is_secure());
            assert!(dialled.expect("it is there").is_secure());
        }
        let plain = Address { secure: false, ..secure };
        let (served, _kept) = tokio::join!(open(&listener), async {
            let mut stream = dialer.connect(&plain, PATIENCE).await.expect("it is there");
            stream.write_all(b"GET").await.expect("it takes bytes");
            stream
        });
        let mut served = served.expect("it is served");
        assert!(!served.is_secure());
        // What was looked at is still there.
        let mut read = [0; 3];
        served.read_exact(&mut read).await.expect("three bytes");
        assert_eq!(&read, b"GET");
    }
}

fn at(place: &Place, listener: &Listener) -> Place {
    match place {
        Place::Tcp(_) => Place::Tcp(listener.local_address().expect("bound")),
        unix @ Place::Unix(_) => unix.clone(),
    }
}

#[tokio::test]
async fn unix_sockets_come_and_go() {
    let files = Files::new();
    let path = files.at("etcd.sock");
    // What a crash left behind is in nobody's way.
    std::fs::write(&path, "left behind").expect("a file");
    let place = Place::Unix(path.clone());
    let bound = Listener::bind(&place, SocketOptions::default(), Security::Plain).await;
    let listener = bound.expect("it is free");
    let address = Address::parse(&format!("unix://{}", path.display())).expect("a URL");
    let dialer = Dialer::plain();
    let (served, dialled) = tokio::join!(open(&listener), dialer.connect(&address, PATIENCE));
    let mut dialled = dialled.expect("it is there");
    dialled.write_all(b"hello").await.expect("it takes bytes");
    let mut read = [0; 5];
    served.expect("it is served").read_exact(&mut read).await.expect("five bytes");
    assert_eq!(&read, b"hello");
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn ports_are_shared_if_all_agree() {
    let share = SocketOptions { reuse_port: true };
    let any = Place::Tcp("127.0.0.1:0".to_owned());
    let first = Listener::bind(&any, share, Security::Plain).await.expect("a free port");
    let same = Place::Tcp(first.local_address().expect("bound"));
    Listener::bind(&same, share, Security::Plain).await.expect("it is shared");
    let alone = Listener::bind(&same, SocketOptions::default(), Security::Plain).await;
    let told = alone.expect_err("it is taken").to_string();
    assert!(told.starts_with("listen tcp 127.0.0.1:"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn who_dawdles_is_cut_off_and_holds_up_nobody() {
    let (files, ca) = (Files::new(), Authority::new("ca"));
    let server = files.options("server", &ca.sign("server", &HERE), None);
    let (listener, port) = listen(&server, Endpoint::Client).await;
    let mut silent = TcpStream::connect(format!("127.0.0.1:{port}")).await.expect("it is there");
    // Half a record's head, and nothing more.
    silent.write_all(&[0x16, 3]).await.expect("it takes bytes");
    let began = Instant::now();
    let incoming: Incoming = listener.accept().await.expect("it came");
    let opened = incoming.open().await.expect_err("it never says more");
    assert_eq!(opened.kind(), io::ErrorKind::TimedOut);
    assert!(began.elapsed() < Duration::from_secs(12));
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, silent.read_to_end(&mut rest)).await.expect("it is closed");
    assert!(read.is_err() || rest.is_empty());
}

#[tokio::test]
async fn plain_clients_of_a_secure_port() {
    let (files, ca) = (Files::new(), Authority::new("ca"));
    let server = files.options("server", &ca.sign("server", &HERE), None);
    let (listener, port) = listen(&server, Endpoint::Client).await;
    let mut plain = TcpStream::connect(format!("127.0.0.1:{port}")).await.expect("it is there");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("it takes bytes");
    plain.shutdown().await.expect("it was open");
    let told = open(&listener).await.expect_err("it is no TLS").to_string();
    assert_eq!(told, "tls: first record does not look like a TLS handshake");
    // And the other way round.
    let dialer = Dialer::plain();
    let address = Address::parse(&format!("https://127.0.0.1:{port}")).expect("a URL");
    let told = dialer.connect(&address, PATIENCE).await.expect_err("no TLS").to_string();
    assert!(told.ends_with("asks for TLS, and there is none here"), "{told}");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_at_once() {
    let (files, ca) = (Files::new(), Authority::new("ca"));
    let good = files.options("good", &ca.sign("good", &HERE), Some(&ca));
    let check = |options: TlsOptions, want: &str| {
        let served = Acceptor::new(&options, Endpoint::Peer).expect_err(want).to_string();
        assert!(served.contains(want), "{served}");
        let dialled = Dialer::new(&options).expect_err(want).to_string();
        assert!(dialled.contains(want), "{dialled}");
    };
    let other = files.options("other", &ca.sign("other", &HERE), None);
    check(
        TlsOptions { key_file: other.key_file, ..good.clone() },
        "tls: private key does not match public key",
    );
    check(
        TlsOptions { key_file: None, ..good.clone() },
        "KeyFile and CertFile must both be present",
    );
    let gone = Some(files.at("gone"));
    check(TlsOptions { cert_file: gone.clone(), ..good.clone() }, "No such file or directory");
    check(TlsOptions { trusted_ca_file: gone.clone(), ..good.clone() }, "No such file");
    check(
        TlsOptions { client_cert_file: gone.clone(), client_key_file: gone, ..good.clone() },
        "No such file or directory",
    );
    let empty = files.write("empty", "");
    check(
        TlsOptions { cert_file: empty.clone(), ..good.clone() },
        "failed to find any PEM data in certificate input",
    );
    check(TlsOptions { key_file: empty, ..good }, "tls: failed to find any PEM data in key input");
}
