//! Who may pass, and what is said of the others: texts are Go's, as logs of etcd have them.

mod common;

use common::{Files, Met, meet, meet_at};
use quorate_net::{Endpoint, Error, TlsOptions, Version, self_signed};
use testkit::certificates::rcgen::{
    BasicConstraints, CidrSubnet, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, NameConstraints,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    PKCS_RSA_SHA256, date_time_ymd,
};
use testkit::certificates::{Authority, authority_params, params};

const HERE: [&str; 2] = ["127.0.0.1", "localhost"];

/// A server and a client of one authority.
struct Family {
    files: Files,
    ca: Authority,
    server: TlsOptions,
    client: TlsOptions,
}

fn family() -> Family {
    let (files, ca) = (Files::new(), Authority::new("ca"));
    let server = files.options("server", &ca.sign("server", &HERE), Some(&ca));
    let client = files.options("client", &ca.sign("client", &HERE), Some(&ca));
    Family { files, ca, server, client }
}

fn passed(met: &Met, common_name: &str) {
    assert!(met.well(), "{met:?}");
    assert_eq!(met.server.as_ref().ok().cloned().flatten().as_deref(), Some(common_name));
}

#[tokio::test]
async fn keys_of_every_kind_in_both_versions() {
    let kinds = [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ECDSA_P521_SHA512,
        &PKCS_ED25519,
        &PKCS_RSA_SHA256,
    ];
    for kind in kinds {
        let files = Files::new();
        let ca = Authority::with(authority_params("ca"), kind);
        let options = files.options("m", &ca.sign_with(params("m", &HERE), kind), Some(&ca));
        for version in [Version::Tls12, Version::Tls13] {
            let options =
                TlsOptions { min_version: version, max_version: Some(version), ..options.clone() };
            passed(&meet(&options, &options).await, "m");
        }
    }
}

#[tokio::test]
async fn clients_without_a_good_certificate_are_rejected() {
    let Family { files, ca, server, client } = family();
    passed(&meet(&server, &client).await, "client");
    passed(&meet_at("localhost", &server, &client, Endpoint::Client).await, "client");

    let met = meet(&server, &files.trusting("none", &ca)).await;
    met.rejected("tls: client didn't provide a certificate");
    met.refused("remote error: tls: certificate required");

    let other = Authority::new("ca");
    let stranger = files.options("stranger", &other.sign("client", &HERE), Some(&ca));
    let met = meet(&server, &stranger).await;
    met.rejected("x509: certificate signed by unknown authority");
    met.refused("remote error: tls: unknown certificate authority");

    let mut late = params("client", &HERE);
    late.not_after = date_time_ymd(2021, 1, 1);
    let late = ca.sign_with(late, &PKCS_ECDSA_P256_SHA256);
    let met = meet(&server, &files.options("late", &late, Some(&ca))).await;
    met.rejected("x509: certificate has expired or is not yet valid: current time ");
    met.rejected("is after 2021-01-01T00:00:00Z");
    met.refused("remote error: tls: expired certificate");

    let mut early = params("client", &HERE);
    early.not_before = date_time_ymd(2089, 1, 1);
    let early = ca.sign_with(early, &PKCS_ECDSA_P256_SHA256);
    let met = meet(&server, &files.options("early", &early, Some(&ca))).await;
    met.rejected("is before 2089-01-01T00:00:00Z");

    let mut servers = params("client", &HERE);
    servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let servers = ca.sign_with(servers, &PKCS_ECDSA_P256_SHA256);
    let met = meet(&server, &files.options("servers", &servers, Some(&ca))).await;
    met.rejected("x509: certificate specifies an incompatible key usage");

    // Nobody is asked if there is nobody to ask about.
    let open = TlsOptions { trusted_ca_file: None, ..server };
    let met = meet(&open, &files.trusting("anybody", &ca)).await;
    assert!(met.well() && met.server == Ok(None), "{met:?}");
}

#[tokio::test]
async fn servers_without_a_good_certificate_are_turned_away_from() {
    let Family { files, ca, server, client } = family();
    let elsewhere =
        files.options("elsewhere", &ca.sign("server", &["10.0.0.1", "n.example"]), None);
    let met = meet(&elsewhere, &client).await;
    met.refused("x509: certificate is valid for 10.0.0.1, not 127.0.0.1");
    met.rejected("remote error: tls: bad certificate");
    let met = meet_at("localhost", &elsewhere, &client, Endpoint::Peer).await;
    met.refused("x509: certificate is valid for n.example, not localhost");
    let unnamed = files.options("unnamed", &ca.sign("127.0.0.1", &[]), None);
    let met = meet(&unnamed, &client).await;
    met.refused(
        "x509: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs",
    );

    let stranger = files.trusting("stranger", &Authority::new("another"));
    meet(&server, &stranger).await.refused("x509: certificate signed by unknown authority");

    // Compat: lists of those who may pass are for both directions.
    let picky = TlsOptions { allowed_cns: vec!["else".to_owned()], ..client };
    let met = meet(&server, &picky).await;
    met.refused("client certificate authentication failed");
    met.rejected("remote error: tls: bad certificate");
}

#[tokio::test]
async fn lists_of_those_who_may_pass() {
    let Family { files, ca, server, client } = family();
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let of_names = TlsOptions { allowed_cns: names(&["other", "client"]), ..server.clone() };
    passed(&meet(&of_names, &client).await, "client");
    let of_others = TlsOptions { allowed_cns: names(&["other"]), ..server.clone() };
    let met = meet(&of_others, &client).await;
    met.rejected("client certificate authentication failed");
    met.refused("remote error: tls: bad certificate");

    let hosts = ["127.0.0.1", "*.example.com"];
    let wild = files.options("wild", &ca.sign("wild", &hosts), Some(&ca));
    let of_hosts = TlsOptions { allowed_hostnames: names(&["a.example.com"]), ..server.clone() };
    passed(&meet(&of_hosts, &wild).await, "wild");
    meet(&of_hosts, &client).await.rejected("client certificate authentication failed");
    let of_addresses = TlsOptions { allowed_hostnames: names(&["127.0.0.1"]), ..server };
    passed(&meet(&of_addresses, &client).await, "client");
}

#[tokio::test]
async fn members_come_from_where_their_certificates_say() {
    let Family { files, ca, server, .. } = family();
    let from = |name: &str, names: &[&str]| files.options(name, &ca.sign(name, names), Some(&ca));
    passed(&meet(&server, &from("unnamed", &[])).await, "unnamed");
    passed(&meet(&server, &from("named", &["localhost"])).await, "named");
    passed(&meet(&server, &from("mixed", &["10.0.0.1", "localhost"])).await, "mixed");
    let elsewhere = from("elsewhere", &["10.0.0.1"]);
    let met = meet(&server, &elsewhere).await;
    met.rejected("x509: certificate is valid for 10.0.0.1, not 127.0.0.1");
    let named = from("faraway", &["faraway.invalid"]);
    let met = meet(&server, &named).await;
    met.rejected("tls: \"127.0.0.1\" does not match any of DNSNames [\"faraway.invalid\"]");
    let trusting = TlsOptions { skip_client_san_verify: true, ..server.clone() };
    passed(&meet(&trusting, &elsewhere).await, "elsewhere");
    // Clients may come from anywhere.
    passed(&meet_at("127.0.0.1", &server, &elsewhere, Endpoint::Client).await, "elsewhere");
}

#[tokio::test]
async fn revoked_certificates() {
    let Family { files, ca, server, .. } = family();
    let (good, bad) = (ca.sign("good", &HERE), ca.sign("bad", &HERE));
    let list = files.write("list.crl", ca.revoke(&[7, bad.serial]));
    let server = TlsOptions { crl_file: list.clone(), ..server };
    let bad_options = files.options("bad", &bad, Some(&ca));
    let good_options = files.options("good", &good, Some(&ca));
    passed(&meet(&server, &good_options).await, "good");
    let met = meet(&server, &bad_options).await;
    met.rejected(&format!("transport: certificate serial {:x} revoked", bad.serial));
    // The list is read anew each time.
    files.write("list.crl", ca.revoke(&[good.serial]));
    passed(&meet(&server, &bad_options).await, "bad");
    meet(&server, &good_options).await.rejected("revoked");
    files.write("list.crl", "no list");
    meet(&server, &good_options).await.rejected("x509: malformed crl");
    common::remove(&files.at("list.crl"));
    meet(&server, &good_options).await.rejected("No such file or directory");
}

#[tokio::test]
async fn authorities_in_between() {
    let (files, root) = (Files::new(), Authority::new("root"));
    let middle = root.below(authority_params("middle"));
    let mut pair = middle.sign("m", &HERE);
    let alone = files.options("alone", &pair, Some(&root));
    meet(&alone, &alone).await.refused("x509: certificate signed by unknown authority");
    pair.cert += &middle.pem();
    let whole = files.options("whole", &pair, Some(&root));
    passed(&meet(&whole, &whole).await, "m");

    // One that may have no other below it.
    let mut last = authority_params("last");
    last.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let last = root.below(last);
    let below = last.below(authority_params("below"));
    let mut pair = below.sign("m", &HERE);
    pair.cert += &(below.pem() + &last.pem());
    let deep = files.options("deep", &pair, Some(&root));
    meet(&deep, &deep).await.refused("x509: certificate signed by unknown authority");

    // One that is none.
    let none = root.below(params("none", &[]));
    let mut pair = none.sign("m", &HERE);
    pair.cert += &none.pem();
    let forged = files.options("forged", &pair, Some(&root));
    meet(&forged, &forged).await.refused("x509: certificate signed by unknown authority");

    // One that may speak for others only.
    let mut narrow = authority_params("narrow");
    narrow.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([10, 0, 0, 0], 8)),
            GeneralSubtree::DnsName("localhost".to_owned()),
        ],
        excluded_subtrees: Vec::new(),
    });
    let narrow = root.below(narrow);
    let mut pair = narrow.sign("m", &["localhost"]);
    pair.cert += &narrow.pem();
    let within = files.options("within", &pair, Some(&root));
    passed(&meet_at("localhost", &within, &within, Endpoint::Client).await, "m");
    let mut pair = narrow.sign("m", &HERE);
    pair.cert += &narrow.pem();
    let beyond = files.options("beyond", &pair, Some(&root));
    meet(&beyond, &beyond).await.refused("x509: certificate signed by unknown authority");
}

#[tokio::test]
async fn versions_and_suites_that_have_nothing_in_common() {
    let Family { files: _kept, server, client, .. } = family();
    let old = TlsOptions { max_version: Some(Version::Tls12), ..server.clone() };
    let new = TlsOptions { min_version: Version::Tls13, ..client.clone() };
    let met = meet(&old, &new).await;
    met.rejected("tls: incompatible peer");
    met.refused("remote error: tls: protocol version not supported");

    let suite = |name: &str| vec![name.to_owned()];
    let one = TlsOptions {
        cipher_suites: suite("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
        ..old.clone()
    };
    passed(&meet(&one, &client).await, "client");
    // The server's key is none for RSA.
    let rsa = TlsOptions { cipher_suites: suite("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"), ..old };
    let met = meet(&rsa, &client).await;
    met.rejected("tls: incompatible peer");
    met.refused("remote error: tls: handshake failure");
}

#[tokio::test]
async fn a_certificate_of_its_own_making() {
    let files = Files::new();
    let hosts = ["127.0.0.1:1", "localhost:2", "[::1]:3", "/a/socket"].map(str::to_owned);
    let made = self_signed(&files.at("fixtures/peer"), &hosts, 1).expect("a certificate");
    // Members that made theirs themselves believe each other.
    let met = meet(&made, &made).await;
    assert!(met.well(), "{met:?}");
    // Those that trust it need not: it is its own authority, and of P-521.
    let trusting = TlsOptions { trusted_ca_file: made.cert_file.clone(), ..TlsOptions::default() };
    let met = meet_at("localhost", &made, &trusting, Endpoint::Client).await;
    assert!(met.well(), "{met:?}");
    // It is kept.
    let text = std::fs::read(files.at("fixtures/peer/cert.pem")).expect("it is there");
    assert_eq!(self_signed(&files.at("fixtures/peer"), &hosts, 1).expect("the same"), made);
    assert_eq!(std::fs::read(files.at("fixtures/peer/cert.pem")).ok(), Some(text));
    let none = self_signed(&files.at("other"), &hosts, 0).expect_err("no time to live");
    let want = "selfSignedCertValidity is invalid,it should be greater than 0";
    assert_eq!(none.to_string(), want);
    assert!(matches!(none, Error::Options(_)));
}
