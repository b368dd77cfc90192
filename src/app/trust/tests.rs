//! Real handshakes at a fixed hour: what our certificates open, and what they must not.
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::files::PemError;
use super::*;

const NOW: Instant = Instant::from_seconds(1_795_000_000);
const NODE: NodeId = NodeId::from_u128(7);

/// A clock for rustls that stands still.
#[derive(Debug)]
struct Stopped(Instant);

impl TimeProvider for Stopped {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(self.0.as_seconds().unsigned_abs())))
    }
}

fn ring() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn root() -> Root {
    Root::make("Lab", 1, NOW).unwrap()
}

fn pinned(root: &Root) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    store.add(root.certificate.clone()).unwrap();
    Arc::new(store)
}

fn server_names() -> Vec<String> {
    ["Mill.Lab", "10.1.2.3", "::1"].map(str::to_owned).to_vec()
}

fn server(key: CertifiedKey) -> ServerConfig {
    let builder = ServerConfig::builder_with_details(ring(), Arc::new(Stopped(NOW)));
    let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(key));
    builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth().with_cert_resolver(resolver)
}

fn client(trusted: &Root, now: Instant) -> ClientConfig {
    let builder = ClientConfig::builder_with_details(ring(), Arc::new(Stopped(now)));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    builder.with_root_certificates(pinned(trusted)).with_no_client_auth()
}

/// What both ends make of a handshake over loopback, after one byte each way (TLS 1.3 refuses client certificates late).
async fn handshake(server: ServerConfig, client: ClientConfig, name: &str) -> Result<(), String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        let mut stream = TlsAcceptor::from(Arc::new(server)).accept(stream).await?;
        stream.write_u8(1).await?;
        stream.read_u8().await
    });
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let asking = async {
        let stream = TcpStream::connect(address).await?;
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await?;
        stream.write_u8(1).await?;
        stream.read_u8().await
    };
    let (asked, answered) = (asking.await, answering.await.unwrap());
    match (asked, answered) {
        (Ok(_), Ok(_)) => Ok(()),
        (asked, answered) => Err(format!("client {asked:?}, server {answered:?}")),
    }
}

#[track_caller]
fn refused(outcome: Result<(), String>, cause: &str) {
    let said = outcome.expect_err("refused");
    assert!(said.contains(cause), "{cause}: {said}");
}

#[tokio::test]
async fn a_server_is_believed_under_its_names_by_its_root_alone() {
    let root = root();
    let issued = root.server_certificate(&server_names(), 2, NOW).unwrap();
    let serve = || server(server_key(&issued).unwrap());
    for name in ["mill.lab", "10.1.2.3", "::1"] {
        handshake(serve(), client(&root, NOW), name).await.unwrap();
    }
    refused(handshake(serve(), client(&root, NOW), "other.lab").await, "NotValidForName");
    let stranger = Root::make("Lab", 1, NOW).unwrap();
    assert_ne!(stranger.fingerprint(), root.fingerprint());
    refused(handshake(serve(), client(&stranger, NOW), "mill.lab").await, "BadSignature");

    // A client a little behind still believes; one after the end does not.
    handshake(serve(), client(&root, NOW.minus(Span::from_minutes(59))), "mill.lab").await.unwrap();
    let after = issued.valid.end().plus(Span::from_seconds(1));
    refused(handshake(serve(), client(&root, after), "mill.lab").await, "Expired");
    assert!(
        !issued.wants_renewal(NOW.plus(Span::from_days(243))) && issued.wants_renewal(NOW.plus(Span::from_days(244)))
    );

    let unnamed = |names: &[&str]| {
        root.server_certificate(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>(), 2, NOW).unwrap_err()
    };
    assert!(matches!(unnamed(&[]), TrustError::NoNames));
    assert!(matches!(unnamed(&["mill.lab", "two words"]), TrustError::BadName { name } if name == "two words"));
}

/// A key and a request for a certificate that asks for far too much.
fn greedy_request() -> (KeyPair, String) {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut params = CertificateParams::new(vec!["mill.lab".to_owned(), "evil.example".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "nd_somebody_else");
    params.distinguished_name.push(DnType::OrganizationName, "evil.example");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    (key, pem)
}

fn contains(certificate: &CertificateDer<'_>, text: &str) -> bool {
    certificate.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn a_node_gets_its_own_name_and_no_other_power() {
    let root = root();
    let (key, request) = greedy_request();
    let issued = root.node_certificate(&request, NODE, 3, NODE_LASTS, NOW).unwrap();
    assert!(issued.key_pem.is_none() && issued.valid.end() == NOW.plus(Span::from_days(30)));
    let certificate = CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).unwrap();
    assert!(contains(&certificate, &NODE.to_string()));
    for foreign in ["evil.example", "mill.lab", "nd_somebody_else"] {
        assert!(!contains(&certificate, foreign), "{foreign}");
    }

    // It opens the gateway as a client ...
    let own_key = || PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let issued_server = root.server_certificate(&server_names(), 2, NOW).unwrap();
    let gateway = |trusted: &Root| {
        let verifier = WebPkiClientVerifier::builder_with_provider(pinned(trusted), ring()).build().unwrap();
        let builder = ServerConfig::builder_with_details(ring(), Arc::new(Stopped(NOW)));
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(server_key(&issued_server).unwrap()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver)
    };
    let agent = |chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>| {
        let builder = ClientConfig::builder_with_details(ring(), Arc::new(Stopped(NOW)));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(pinned(&root));
        builder.with_client_auth_cert(chain, key).unwrap()
    };
    handshake(gateway(&root), agent(vec![certificate.clone()], own_key()), "mill.lab").await.unwrap();
    let stranger = Root::make("Lab", 1, NOW).unwrap();
    let with_node = || agent(vec![certificate.clone()], own_key());
    refused(handshake(gateway(&stranger), with_node(), "mill.lab").await, "BadSignature");
    refused(handshake(gateway(&root), client(&root, NOW), "mill.lab").await, "NoCertificatesPresented");

    // ... but is no server, no authority, and a server's certificate is no node.
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(pinned(&root), ring()).build().unwrap();
    let hour = Stopped(NOW).current_time().unwrap();
    let as_server = verifier.verify_server_cert(&certificate, &[], &"mill.lab".try_into().unwrap(), &[], hour);
    refused(as_server.map(|_| ()).map_err(|error| format!("{error:?}")), "InvalidPurpose");
    let posing = server_key(&issued_server).unwrap();
    let posing_key =
        PrivateKeyDer::from_pem_slice(issued_server.key_pem.as_ref().unwrap().expose().as_bytes()).unwrap();
    refused(handshake(gateway(&root), agent(posing.cert, posing_key), "mill.lab").await, "InvalidPurpose");
}

#[test]
fn a_request_must_be_signed_by_its_own_key() {
    let root = root();
    let ask = |pem: &str| root.node_certificate(pem, NODE, 3, NODE_LASTS, NOW);
    let (_, good) = greedy_request();
    let mut der = pem_body(&good);
    // The last byte belongs to the signature.
    *der.last_mut().unwrap() ^= 1;
    assert!(matches!(ask(&as_request(&der)), Err(TrustError::BadRequest)));
    for bad in ["", "-----BEGIN CERTIFICATE REQUEST-----", root.certificate_pem()] {
        assert!(matches!(ask(bad), Err(TrustError::BadRequest)), "{bad}");
    }
    assert!(matches!(ask(&format!("{}{good}", " ".repeat(9000))), Err(TrustError::BadRequest)), "too long");
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let other = CertificateParams::default().serialize_request(&p384).unwrap().pem().unwrap();
    assert!(matches!(ask(&other), Err(TrustError::BadRequest)), "a kind of key that we do not use");
    let p256 = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let fine = CertificateParams::default().serialize_request(&p256).unwrap().pem().unwrap();
    assert!(ask(&fine).is_ok() && ask(&good).is_ok());
}

fn pem_body(pem: &str) -> Vec<u8> {
    use base64::Engine as _;
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}

fn as_request(der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
}

#[tokio::test]
async fn a_stored_root_goes_on_signing() {
    let folder = std::env::temp_dir().join(format!("gristmill-root-{}", uuid::Uuid::now_v7()));
    let seal = Seal::load_or_create(&folder.join("keys/seal.key")).unwrap();
    let first = root();
    let sealed = first.sealed_key(&seal).unwrap();
    let again = Root::open(first.certificate_pem(), &sealed, &seal).unwrap();
    assert_eq!(again.fingerprint(), first.fingerprint());
    let issued = again.server_certificate(&server_names(), 9, NOW).unwrap();
    handshake(server(server_key(&issued).unwrap()), client(&first, NOW), "mill.lab").await.unwrap();

    let other = Root::make("Lab", 1, NOW).unwrap();
    assert!(matches!(Root::open(other.certificate_pem(), &sealed, &seal), Err(TrustError::Root(_))), "not its key");
    let foreign = Seal::load_or_create(&folder.join("other/seal.key")).unwrap();
    assert!(matches!(Root::open(first.certificate_pem(), &sealed, &foreign), Err(TrustError::Sealed(_))));
    assert!(matches!(Root::open("", &sealed, &seal), Err(TrustError::RootPem(_))));
    assert!(Root::make(&"x".repeat(200), 1, NOW).is_ok(), "long names are cut, not refused");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn files_are_named_when_they_are_wrong() {
    let folder = std::env::temp_dir().join(format!("gristmill-pem-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir_all(&folder).unwrap();
    let issued = root().server_certificate(&server_names(), 2, NOW).unwrap();
    let other = root().server_certificate(&server_names(), 3, NOW).unwrap();
    let write = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name)
    };
    let key_pem = issued.key_pem.as_ref().unwrap().expose();
    let certificate = write("mill.crt", &issued.chain_pem);
    let key = write("mill.key", key_pem);
    assert_eq!(files::load(&certificate, &key).unwrap().cert.len(), 2);

    let refused = |certificate: &std::path::Path, key: &std::path::Path| files::load(certificate, key).unwrap_err();
    let missing = refused(&folder.join("no.crt"), &key);
    assert!(matches!(missing, PemError::Unreadable { .. }) && missing.to_string().contains("no.crt"), "{missing}");
    assert!(matches!(refused(&key, &certificate), PemError::NoCertificate { file } if file.ends_with("mill.key")));
    assert!(matches!(refused(&certificate, &certificate), PemError::NoKey { .. }));
    let foreign = write("other.key", other.key_pem.as_ref().unwrap().expose());
    let mismatch = refused(&certificate, &foreign);
    assert!(matches!(mismatch, PemError::Mismatch { .. }) && mismatch.to_string().contains("other.key"), "{mismatch}");
    let encrypted = write("locked.key", &key_pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"));
    assert!(refused(&certificate, &encrypted).to_string().contains("openssl pkey"));
    let cut = write("cut.crt", &issued.chain_pem[..issued.chain_pem.len() / 3]);
    assert!(matches!(refused(&cut, &key), PemError::Damaged { file, .. } if file.ends_with("cut.crt")));
    let junk = write("junk.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    assert!(matches!(refused(&certificate, &junk), PemError::Unusable { .. }));
    std::fs::remove_dir_all(&folder).unwrap();
}
