//! The front door against a console of a few lines: what it forwards, strips, refuses, and whom it keeps waiting for how
//! long. The long limits below are guards against a hang, never measurements.
mod renewal;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use gristmill::base::secret::Secret;
use gristmill::edge::{EdgeSettings, Limits, bind, tls};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;

/// Nothing here takes this long unless it hangs.
const GUARD: Duration = Duration::from_secs(60);
/// A limit that must not end anything within a test.
const NEVER: Duration = Duration::from_secs(3600);
const SECRET: &str = "made-for-this-test";

type Chunks = Arc<Mutex<Option<mpsc::Receiver<&'static str>>>>;

/// A console that repeats what reached it, or streams what the test feeds it.
struct Console {
    address: SocketAddr,
    chunks: mpsc::Sender<&'static str>,
}

async fn console() -> Console {
    let (chunks, fed) = mpsc::channel(4);
    let fed: Chunks = Arc::new(Mutex::new(Some(fed)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let fed = fed.clone();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request| repeat(request, fed.clone()));
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Console { address, chunks }
}

async fn repeat(
    request: Request<Incoming>,
    fed: Chunks,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, hyper::Error> {
    if request.uri().path() == "/stream" {
        let fed = fed.lock().unwrap().take().expect("one stream per test");
        let frames = futures_util::stream::unfold(fed, |mut fed| async {
            fed.recv().await.map(|text| (Ok(Frame::data(Bytes::from_static(text.as_bytes()))), fed))
        });
        return Ok(Response::new(StreamBody::new(frames).boxed_unsync()));
    }
    let (head, body) = request.into_parts();
    let mut text = format!("{} {} {:?}\n", head.method, head.uri, head.version);
    for (name, value) in &head.headers {
        text += &format!("{name}: {}\n", value.to_str().unwrap());
    }
    text += &format!("\nbody {} bytes\n", body.collect().await?.to_bytes().len());
    let mut response = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert("keep-alive", "timeout=99".parse().unwrap());
    headers.insert("x-gristmill-leak", "1".parse().unwrap());
    headers.insert("x-kept", "1".parse().unwrap());
    Ok(response)
}

/// A running door; it closes when dropped.
struct Door {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    run: tokio::task::JoinHandle<()>,
}

async fn door(upstream: SocketAddr, limits: Limits, tls: Option<Arc<rustls::ServerConfig>>) -> Door {
    let settings = EdgeSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        upstream,
        secret: Secret::new(SECRET),
        tls,
        hosts: vec!["https://mill.test/".to_owned()],
        limits,
    };
    let edge = bind(settings).await.unwrap();
    let address = edge.local_addr();
    let (stop, stopped) = oneshot::channel::<()>();
    let run = tokio::spawn(edge.run(async move { drop(stopped.await) }));
    Door { address, stop: Some(stop), run }
}

impl Door {
    /// Sends bytes as they are and returns everything until the door closes the connection.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        rest(&mut stream).await
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        tokio::time::timeout(GUARD, &mut self.run).await.expect("the door closes").unwrap();
    }
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset instead of an orderly end is an end too.
    let _ = tokio::time::timeout(GUARD, stream.read_to_end(&mut text)).await.expect("the door ends the connection");
    String::from_utf8_lossy(&text).into_owned()
}

fn get(path: &str, host: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n")
}

#[track_caller]
fn starts(answer: &str, status: u16) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "wanted {status}: {answer}");
}

#[tokio::test]
async fn forwards_and_lets_nobody_pose_as_another() {
    let door = door(console().await.address, Limits::default(), None).await;
    let forged = "X-Gristmill-Edge: guess\r\nX-Gristmill-Client: 6.6.6.6\r\nX-Gristmill-Admin: yes\r\n\
                  X-Real-IP: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil.test\r\nForwarded: for=6.6.6.6\r\n\
                  TE: trailers\r\nUpgrade: h2c\r\nKeep-Alive: 9\r\nCookie: a=1\r\nX-Mine: 1\r\n";
    let answer = door.raw(&get("/a/b?c=d", "mill.test", forged)).await;
    starts(&answer, 200);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("x-kept: 1") && !head.contains("leak") && !head.contains("timeout=99"), "{head}");
    assert!(body.contains("GET /a/b?c=d HTTP/1.1"), "{body}");
    for own in
        [&format!("x-gristmill-edge: {SECRET}\n"), "x-gristmill-client: 127.0.0.1\n", "x-gristmill-scheme: http\n"]
    {
        assert!(body.contains(own), "{own} in {body}");
    }
    assert!(body.contains("host: mill.test\n") && body.contains("cookie: a=1\n") && body.contains("x-mine: 1\n"));
    for gone in ["6.6.6.6", "guess", "admin", "evil", "te:", "upgrade", "keep-alive", "forwarded"] {
        assert!(!body.contains(gone), "{gone} in {body}");
    }
    assert_eq!(body.matches("x-gristmill-").count(), 3, "{body}");
}

#[tokio::test]
async fn answers_to_its_names_alone() {
    let console = console().await;
    let door = door(console.address, Limits::default(), None).await;
    let port = door.address.port();
    for ours in ["mill.test", "MILL.test:99", &format!("127.0.0.1:{port}"), "localhost", "[::1]:1"] {
        starts(&door.raw(&get("/", ours, "")).await, 200);
    }
    let foreign = door.raw(&get("/", "evil.test", "")).await;
    starts(&foreign, 421);
    assert!(foreign.contains("evil.test") && foreign.contains("mill.test") && foreign.contains("--public-url"));
    starts(&door.raw("GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n").await, 421);
    starts(&door.raw("GET http://evil.test/ HTTP/1.1\r\nHost: mill.test\r\nConnection: close\r\n\r\n").await, 400);
    starts(&door.raw("GET / HTTP/1.1\r\nHost: mill.test\r\nHost: evil.test\r\nConnection: close\r\n\r\n").await, 400);
    assert!(door.raw("GET / HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 400 "));
    starts(&door.raw("CONNECT mill.test:443 HTTP/1.1\r\nHost: mill.test:443\r\n\r\n").await, 405);
}

#[tokio::test]
async fn a_chunk_arrives_before_the_answer_ends() {
    let console = console().await;
    let door = door(console.address, Limits::default(), None).await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut response = client.get(format!("http://{}/stream", door.address)).send().await.unwrap();
    for text in ["one", "two"] {
        console.chunks.send(text).await.unwrap();
        let chunk = tokio::time::timeout(GUARD, response.chunk()).await.expect("not held back").unwrap();
        assert_eq!(chunk.as_deref(), Some(text.as_bytes()));
    }
    // A door that stops lets the answer end.
    let ended = tokio::spawn(door.stop());
    drop(console.chunks);
    assert!(response.chunk().await.unwrap().is_none());
    ended.await.unwrap();
}

#[tokio::test]
async fn joins_websockets() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() {
                socket.send(Message::text(format!("echo {message}"))).await.unwrap();
            }
        }
    });
    // The header limit must not end a socket that is silent for longer.
    let limits = Limits { header: Duration::from_millis(200), ..Limits::default() };
    let door = door(upstream, limits, None).await;
    let (mut socket, response) = tokio_tungstenite::connect_async(format!("ws://{}/tty", door.address)).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    for text in ["hello", "again"] {
        socket.send(Message::text(text)).await.unwrap();
        let answer = tokio::time::timeout(GUARD, socket.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(answer.to_text().unwrap(), format!("echo {text}"));
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    // The door cuts what does not end by itself.
    door.stop().await;
    assert!(!matches!(tokio::time::timeout(GUARD, socket.next()).await.expect("cut"), Some(Ok(Message::Text(_)))));
}

fn certificate() -> (rustls::sign::CertifiedKey, reqwest::Certificate) {
    let made = rcgen::generate_simple_self_signed(["mill.test".to_owned()]).unwrap();
    let provider = rustls::crypto::ring::default_provider();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let certified = rustls::sign::CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider).unwrap();
    (certified, reqwest::Certificate::from_der(made.cert.der()).unwrap())
}

fn https_client(door: &Door, root: reqwest::Certificate) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().tls_certs_only([root]).no_proxy().resolve("mill.test", door.address);
    builder.redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

#[tokio::test]
async fn tls_speaks_http2_and_sends_plain_http_there() {
    let (key, root) = certificate();
    let current = tls::CurrentCertificate::new(key);
    let config = tls::server_config(current.clone()).unwrap();
    let limits = Limits { handshake: Duration::from_secs(2), ..Limits::default() };
    let door = door(console().await.address, limits, Some(config)).await;
    let url = format!("https://mill.test:{}/page?q=1", door.address.port());

    let response = https_client(&door, root.clone()).post(&url).body(vec![7; 100_000]).send().await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::OK, reqwest::Version::HTTP_2));
    let text = response.text().await.unwrap();
    assert!(text.contains("POST /page?q=1 HTTP/1.1") && text.contains("body 100000 bytes"), "{text}");
    assert!(text.contains("x-gristmill-scheme: https") && text.contains("host: mill.test:"), "{text}");

    let plain = door.raw("GET /page?q=1 HTTP/1.1\r\nHost: mill.test:7\r\n\r\n").await;
    starts(&plain, 308);
    assert!(plain.contains("location: https://mill.test:7/page?q=1\r\n"), "{plain}");
    starts(&door.raw("GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n").await, 421);

    // A silent connection and half a handshake end by themselves.
    assert_eq!(door.raw("").await, "");
    assert_eq!(door.raw("\u{16}\u{3}\u{1}").await, "");

    // A replaced certificate serves the next handshake.
    let (next, next_root) = certificate();
    current.replace(next);
    assert!(https_client(&door, root).get(&url).send().await.is_err(), "the old root no longer fits");
    assert_eq!(https_client(&door, next_root).get(&url).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn idle_http2_connections_end() {
    let (key, _) = certificate();
    let config = tls::server_config(tls::CurrentCertificate::new(key)).unwrap();
    let limits = Limits { header: Duration::from_millis(300), ..Limits::default() };
    let door = door(console().await.address, limits, Some(config)).await;
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(anyone::Anyone))
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let stream = TcpStream::connect(door.address).await.unwrap();
    let mut stream = connector.connect("mill.test".try_into().unwrap(), stream).await.unwrap();
    // The whole preface and settings, but never a request.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut said = Vec::new();
    let _ = tokio::time::timeout(GUARD, stream.read_to_end(&mut said)).await.expect("the door ends the connection");
    assert!(!said.is_empty(), "it did speak HTTP/2");
}

/// Half a header, sent and left.
async fn half_open(door: &Door, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: mill.test\r\nX-Slow: ").await.unwrap();
        streams.push(stream);
    }
    streams
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_half_sent_headers_delay_nobody() {
    let limits = Limits { header: Duration::from_secs(3), per_client: 2000, ..Limits::default() };
    let door = door(console().await.address, limits, None).await;
    let streams = half_open(&door, 1000).await;
    for _ in 0..20 {
        starts(&door.raw(&get("/", "mill.test", "")).await, 200);
    }
    for mut stream in streams {
        let said = rest(&mut stream).await;
        assert!(!said.contains("200 OK"), "{said}");
    }
    starts(&door.raw(&get("/", "mill.test", "")).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_waiting_make_room_before_anybody_is_refused() {
    let limits = Limits { header: NEVER, per_client: 50, ..Limits::default() };
    let door = door(console().await.address, limits, None).await;
    let mut streams = half_open(&door, 1000).await;
    starts(&door.raw(&get("/", "mill.test", "")).await, 200);
    // The last forty-nine may still be waiting; everybody before them has been asked to leave.
    streams.truncate(950);
    for mut stream in streams {
        assert_eq!(rest(&mut stream).await, "");
    }
}

#[tokio::test]
async fn slow_and_huge_bodies_are_cut_off() {
    let patience = Duration::from_millis(500);
    let limits = Limits { body_patience: patience, body_rate: 1_000_000, body_bytes: 100_000, ..Limits::default() };
    let door = door(console().await.address, limits, None).await;
    let post = |length: &str| format!("POST /form HTTP/1.1\r\nHost: mill.test\r\n{length}\r\n\r\n");

    let slow = door.raw(&format!("{}half", post("Content-Length: 1000"))).await;
    starts(&slow, 408);
    assert!(slow.contains("too slowly"), "{slow}");

    // A byte now and then is no better than silence.
    let stream = TcpStream::connect(door.address).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    write.write_all(post("Content-Length: 100000").as_bytes()).await.unwrap();
    let drip = tokio::spawn(async move {
        while write.write_all(b".").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(GUARD, read.read_to_end(&mut answer)).await.expect("the door ends the connection");
    starts(&String::from_utf8_lossy(&answer), 408);
    drip.abort();

    let huge = door.raw(&format!("{}{}", post("Content-Length: 5000000"), "x".repeat(5_000_000))).await;
    starts(&huge, 413);
    assert!(huge.contains("at most 1 MiB"), "{huge}");
    let mut chunked = post("Transfer-Encoding: chunked");
    for _ in 0..500 {
        chunked += &format!("2710\r\n{}\r\n", "x".repeat(10_000));
    }
    starts(&door.raw(&(chunked + "0\r\n\r\n")).await, 413);

    let whole = format!("{}{}", post("Content-Length: 100000\r\nConnection: close"), "x".repeat(100_000));
    let answer = door.raw(&whole).await;
    starts(&answer, 200);
    assert!(answer.contains("body 100000 bytes"));
}

/// A console that answers as soon as it has the head, and closes with the body unread.
async fn curt_console() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 64];
            stream.read_exact(&mut head).await.unwrap();
            let answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmuch";
            stream.write_all(answer).await.unwrap();
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_reaches_whoever_is_still_sending() {
    let door = door(curt_console().await, Limits::default(), None).await;
    for _ in 0..20 {
        let length = 5_000_000;
        let head =
            format!("POST /form HTTP/1.1\r\nHost: mill.test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        let answer = door.raw(&(head + &"x".repeat(length))).await;
        starts(&answer, 413);
        assert!(answer.ends_with("much"), "{answer}");
    }
}

#[tokio::test]
async fn too_much_header_is_refused() {
    let limits = Limits { header_bytes: 16 * 1024, ..Limits::default() };
    let door = door(console().await.address, limits, None).await;
    starts(&door.raw(&get("/", "mill.test", &format!("X-Long: {}\r\n", "x".repeat(15_000)))).await, 200);
    starts(&door.raw(&get("/", "mill.test", &format!("X-Long: {}\r\n", "x".repeat(17_000)))).await, 431);
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    starts(&door.raw(&get("/", "mill.test", &many)).await, 431);
}

#[tokio::test]
async fn a_silent_console_is_explained() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let door = door(nobody, Limits::default(), None).await;
    let answer = door.raw(&get("/", "mill.test", "")).await;
    starts(&answer, 502);
    assert!(answer.contains("retry-after: 5") && answer.contains("Try again"), "{answer}");
}

#[tokio::test]
async fn a_door_that_cannot_open_says_why() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = |listen: SocketAddr, hosts: Vec<String>| EdgeSettings {
        listen,
        upstream: listen,
        secret: Secret::new(SECRET),
        tls: None,
        hosts,
        limits: Limits::default(),
    };
    let refusal = |settings| async { bind(settings).await.err().expect("refused").to_string() };
    let in_use = refusal(settings(taken.local_addr().unwrap(), Vec::new())).await;
    assert!(in_use.contains("already in use") && in_use.contains("--listen"), "{in_use}");
    let not_here = refusal(settings("192.0.2.1:0".parse().unwrap(), Vec::new())).await;
    assert!(not_here.contains("not an address of this machine"), "{not_here}");
    let bad_host = refusal(settings("127.0.0.1:0".parse().unwrap(), vec!["two words".to_owned()])).await;
    assert!(bad_host.contains("two words") && bad_host.contains("--public-url"), "{bad_host}");
}

/// Trusts everybody: for a test that looks at the protocol alone.
mod anyone {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    pub struct Anyone;

    impl ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }
}
