//! A certificate that is replaced while the door serves: the mill's own before its end, one from files when they change.
//! Open connections go on as they are.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gristmill::app::trust::Root;
use gristmill::app::trust::door::{DoorCertificate, DoorError, Source};
use gristmill::base::window::{Instant, Span};
use gristmill::clock;
use gristmill::edge::{Limits, tls};
use rustix::process::Signal;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{GUARD, console, door};
use crate::mill::Mill;

type Tls = TlsStream<TcpStream>;

/// Connects as a client that trusts this root alone; answers the connection and the certificate that it was shown.
async fn connect(address: &str, root_pem: &str, name: &'static str) -> (Tls, Vec<u8>) {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(root_pem.as_bytes()).unwrap()).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(ServerName::try_from(name).unwrap(), stream).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    (stream, shown)
}

/// One request on an open connection, and the status of its answer.
async fn status(stream: &mut Tls, path: &str, host: &str) -> u16 {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = tokio::time::timeout(GUARD, stream.read(&mut piece)).await.expect("an answer").unwrap();
        assert!(read > 0, "the connection ended: {}", String::from_utf8_lossy(&head));
        head.extend(&piece[..read]);
        let text = String::from_utf8_lossy(&head);
        let Some((headers, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = headers.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() >= length.parse::<usize>().unwrap() {
            return headers.split(' ').nth(1).unwrap().parse().unwrap();
        }
    }
}

fn days_ago(days: i64) -> Instant {
    clock::now().minus(Span::from_days(days))
}

#[tokio::test]
async fn the_mills_own_certificate_is_made_anew_before_its_end() {
    let root = Arc::new(Root::make("Lab", 1, days_ago(400)).unwrap());
    let source = Source::Own { root: Arc::clone(&root), names: vec!["mill.test".to_owned()] };
    // Made 250 days ago, it has 115 of its 365 days left: less than a third.
    let (mut kept, first) = DoorCertificate::open(source, days_ago(250)).unwrap();
    let current = tls::CurrentCertificate::new(first);
    let config = tls::server_config(Arc::clone(&current)).unwrap();
    let door = door(console().await.address, Limits::default(), Some(config)).await;
    let address = door.address.to_string();
    let (mut open, shown) = connect(&address, root.certificate_pem(), "mill.test").await;
    assert_eq!(status(&mut open, "/before", "mill.test").await, 200);

    assert!(kept.next(days_ago(20)).unwrap().is_none(), "after 230 days it is still good for long enough");
    current.replace(kept.next(clock::now()).unwrap().expect("it is time"));
    assert!(kept.next(clock::now()).unwrap().is_none(), "and then no more for a while");

    let (mut fresh, renewed) = connect(&address, root.certificate_pem(), "mill.test").await;
    assert_ne!(shown, renewed);
    assert_eq!(status(&mut fresh, "/after", "mill.test").await, 200);
    assert_eq!(status(&mut open, "/after", "mill.test").await, 200, "the connection from before goes on");
    door.stop().await;
}

/// A certificate and its key under a name; answers the root to trust.
fn write(dir: &Path, root: &Root) -> (PathBuf, PathBuf) {
    let (certificate, key) = (dir.join("door.pem"), dir.join("door.key"));
    let issued =
        root.server_certificate(&["localhost".to_owned()], gristmill::app::ids::fresh(), clock::now()).unwrap();
    std::fs::write(&certificate, &issued.chain_pem).unwrap();
    std::fs::write(&key, issued.key_pem.unwrap().expose()).unwrap();
    (certificate, key)
}

#[test]
fn files_are_read_again_when_they_change_and_a_bad_pair_is_named_once() {
    let dir = std::env::temp_dir().join(format!("gristmill-door-{:x}", gristmill::app::ids::fresh()));
    std::fs::create_dir_all(&dir).unwrap();
    let root = Root::make("Lab", 1, clock::now()).unwrap();
    let (certificate, key) = write(&dir, &root);
    let source = Source::Files { certificate: certificate.clone(), key: key.clone() };
    let (mut kept, first) = DoorCertificate::open(source, clock::now()).unwrap();
    assert!(kept.next(clock::now()).unwrap().is_none());

    // Half of a renewal: the certificate is there, its key not yet.
    let old_key = std::fs::read(&key).unwrap();
    write(&dir, &root);
    let new_key = std::fs::read(&key).unwrap();
    std::fs::write(&key, old_key).unwrap();
    assert!(matches!(kept.next(clock::now()), Err(DoorError::Files(_))));
    assert!(kept.next(clock::now()).unwrap().is_none(), "said once");
    std::fs::write(&key, new_key).unwrap();
    let second = kept.next(clock::now()).unwrap().expect("the pair is whole");
    assert_ne!(first.cert[0], second.cert[0]);

    std::fs::remove_file(&key).unwrap();
    assert!(kept.next(clock::now()).unwrap_err().to_string().contains("door.key"));
    assert!(kept.next(clock::now()).unwrap().is_none());
    write(&dir, &root);
    assert!(kept.next(clock::now()).unwrap().is_some());
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_takes_new_files_on_hangup() {
    let mut mill = Mill::empty().off_loopback();
    let root = Root::make("Lab", 1, clock::now()).unwrap();
    let (certificate, key) = write(&mill.dir, &root);
    let flag = |name: &str, path: &Path| [name.to_owned(), path.display().to_string()];
    mill.serving = [flag("--tls-cert", &certificate), flag("--tls-key", &key)].concat();
    mill.start();
    let address = mill.url.trim_start_matches("https://").to_owned();
    let (mut open, shown) = connect(&address, root.certificate_pem(), "localhost").await;
    assert_eq!(status(&mut open, "/ca.pem", "localhost").await, 200);
    write(&mill.dir, &root);
    mill.signal(Signal::HUP);
    let renewed = async {
        while connect(&address, root.certificate_pem(), "localhost").await.1 == shown {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    // By itself it looks once a minute.
    tokio::time::timeout(std::time::Duration::from_secs(50), renewed).await.expect("it reads them at once");
    assert_eq!(status(&mut open, "/ca.pem", "localhost").await, 200, "the connection from before goes on");
}
