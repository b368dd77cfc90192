//! The one way out: TCP and TLS to the gateway, then one HTTP request or a WebSocket. It refuses redirects, proxies and any
//! server that cannot show the gateway's name under the pinned root.
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WebSocketError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::wire::api::Problem;
use crate::wire::node::GATEWAY_NAME;

/// How long connecting may take.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long any one request may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest answer that is read, in bytes.
const ANSWER_LIMIT: usize = 256 * 1024;

/// Why the gateway could not be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("the server's address looks like https://mill.lab:8443")]
    Address,
    #[error("{0} cannot be reached: {1}")]
    Connect(String, #[source] std::io::Error),
    #[error("{0} did not answer in time")]
    Slow(String),
    #[error("the connection broke: {0}")]
    Http(#[from] hyper::Error),
    #[error("the connection broke: {0}")]
    WebSocket(#[source] Box<WebSocketError>),
    /// The mill said no, with its reason.
    #[error("{} {} {}", .0.what, .0.why, .0.next)]
    Refused(Box<Problem>),
    #[error("the server answered with status {0} and nothing that an agent understands")]
    Strange(StatusCode),
}

impl DialError {
    /// Whether the mill takes this node's certificate no more: it has ended, or another came after it.
    pub fn is_about_certificate(&self) -> bool {
        use rustls::AlertDescription::{
            AccessDenied, BadCertificate, CertificateExpired, CertificateRevoked, CertificateUnknown,
        };
        let alert = matches!(
            self.tls(),
            Some(rustls::Error::AlertReceived(
                AccessDenied | BadCertificate | CertificateExpired | CertificateRevoked | CertificateUnknown
            ))
        );
        alert || matches!(self, Self::Refused(problem) if problem.code == "unknown_certificate")
    }

    /// What TLS said, wherever in the connection it said it.
    fn tls(&self) -> Option<&rustls::Error> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(tls) = error.downcast_ref::<rustls::Error>() {
                return Some(tls);
            }
            let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            cause = match inner {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        None
    }

    /// Whether a certificate was refused because one of the two clocks is far off.
    pub fn is_about_time(&self) -> bool {
        use rustls::CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
        matches!(
            self.tls(),
            Some(rustls::Error::InvalidCertificate(
                Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }
            ))
        )
    }
}

/// Where the gateway is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    host: String,
    port: u16,
}

impl std::str::FromStr for Server {
    type Err = DialError;

    fn from_str(text: &str) -> Result<Self, DialError> {
        let uri: hyper::Uri = text.parse().map_err(|_| DialError::Address)?;
        let plain = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if uri.scheme_str() != Some("https") || !plain {
            return Err(DialError::Address);
        }
        let host = uri.host().ok_or(DialError::Address)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(8443) })
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = &self.host;
        if host.contains(':') { write!(f, "[{host}]:{}", self.port) } else { write!(f, "{host}:{}", self.port) }
    }
}

impl Server {
    async fn connect(&self, tls: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, DialError> {
        let failed = |error| DialError::Connect(self.to_string(), error);
        let connecting = async {
            let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
            tcp.set_nodelay(true)?;
            let name = ServerName::try_from(GATEWAY_NAME).expect("the gateway's name is a host name");
            TlsConnector::from(tls).connect(name, tcp).await
        };
        let connected = tokio::time::timeout(CONNECT_PATIENCE, connecting).await;
        connected.map_err(|_| DialError::Slow(self.to_string()))?.map_err(failed)
    }

    /// One request with a JSON body, one JSON answer.
    pub async fn post<T: DeserializeOwned>(
        &self,
        tls: Arc<ClientConfig>,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, DialError> {
        let body = serde_json::to_vec(body).expect("requests are plain data");
        let (status, bytes) = self.request(tls, Method::POST, path, body).await?;
        match serde_json::from_slice(&bytes) {
            Ok(answer) if status.is_success() => Ok(answer),
            _ => Err(refusal(status, &bytes)),
        }
    }

    /// One request without a body, one JSON answer.
    pub async fn get<T: DeserializeOwned>(&self, tls: Arc<ClientConfig>, path: &str) -> Result<T, DialError> {
        let (status, bytes) = self.request(tls, Method::GET, path, Vec::new()).await?;
        match serde_json::from_slice(&bytes) {
            Ok(answer) if status.is_success() => Ok(answer),
            _ => Err(refusal(status, &bytes)),
        }
    }

    /// One request whose long answer is handed on piece by piece, until `take` wants no more. Answers over `limit` bytes
    /// are cut off.
    pub async fn download(
        &self,
        tls: Arc<ClientConfig>,
        path: &str,
        limit: u64,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), DialError> {
        let stream = self.connect(tls).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let asked = sender.send_request(request(Method::GET, path, Vec::new()));
        let answer = tokio::time::timeout(PATIENCE, asked).await.map_err(|_| DialError::Slow(self.to_string()))??;
        if !answer.status().is_success() {
            let status = answer.status();
            let bytes = Limited::new(answer.into_body(), ANSWER_LIMIT).collect().await;
            return Err(refusal(status, &bytes.map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes)));
        }
        let (mut body, mut left) = (answer.into_body(), limit);
        loop {
            let frame = tokio::time::timeout(PATIENCE, body.frame()).await;
            let Some(frame) = frame.map_err(|_| DialError::Slow(self.to_string()))? else { break };
            let frame = frame?;
            let Some(piece) = frame.data_ref() else { continue };
            left = left.saturating_sub(piece.len() as u64);
            if left == 0 || !take(piece) {
                break;
            }
        }
        driver.abort();
        Ok(())
    }

    /// The mill's root as the server hands it out, over a connection that proves nothing: the caller holds it against a
    /// fingerprint before it is used.
    pub async fn unproven_root(&self) -> Result<String, DialError> {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(ring.clone())
            .with_safe_default_protocol_versions()
            .expect("ring speaks the default versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unproven(ring)))
            .with_no_client_auth();
        let (status, bytes) = self.request(Arc::new(config), Method::GET, "/root.pem", Vec::new()).await?;
        match String::from_utf8(bytes.to_vec()) {
            Ok(pem) if status.is_success() => Ok(pem),
            _ => Err(refusal(status, &bytes)),
        }
    }

    async fn request(
        &self,
        tls: Arc<ClientConfig>,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), DialError> {
        let stream = self.connect(tls).await?;
        let asking = async {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let driver = tokio::spawn(connection);
            let answer = sender.send_request(request(method, path, body)).await?;
            let status = answer.status();
            let bytes = Limited::new(answer.into_body(), ANSWER_LIMIT).collect().await;
            driver.abort();
            Ok((status, bytes.map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes)))
        };
        tokio::time::timeout(PATIENCE, asking).await.map_err(|_| DialError::Slow(self.to_string()))?
    }

    /// A WebSocket with messages of at most `limit` bytes.
    pub async fn web_socket(&self, tls: Arc<ClientConfig>, path: &str, limit: usize) -> Result<Socket, DialError> {
        let stream = self.connect(tls).await?;
        let mut config = WebSocketConfig::default();
        config.read_buffer_size = 16 * 1024;
        config.write_buffer_size = 0;
        config.max_message_size = Some(limit);
        config.max_frame_size = Some(limit);
        let address = format!("wss://{GATEWAY_NAME}{path}");
        let opening = tokio_tungstenite::client_async_with_config(address, stream, Some(config));
        match tokio::time::timeout(PATIENCE, opening).await {
            Err(_) => Err(DialError::Slow(self.to_string())),
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(WebSocketError::Http(answer))) => {
                Err(refusal(answer.status(), answer.body().as_deref().unwrap_or_default()))
            }
            Ok(Err(error)) => Err(DialError::WebSocket(Box::new(error))),
        }
    }
}

fn request(method: Method, path: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", GATEWAY_NAME)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .expect("the request is made of fixed parts")
}

/// A WebSocket to the gateway.
pub type Socket = WebSocketStream<TlsStream<TcpStream>>;

fn refusal(status: StatusCode, body: &[u8]) -> DialError {
    serde_json::from_slice(body).map_or(DialError::Strange(status), |problem| DialError::Refused(Box::new(problem)))
}

/// Accepts any server. For fetching the root alone, whose fingerprint is checked afterwards.
#[derive(Debug)]
struct Unproven(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Unproven {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("https://mill.lab:9000", "mill.lab:9000"),
            ("https://127.0.0.1", "127.0.0.1:8443"),
            ("https://[::1]:7/", "[::1]:7"),
        ] {
            assert_eq!(text.parse::<Server>().unwrap().to_string(), shown);
        }
        for bad in ["mill.lab", "http://mill.lab", "https://mill.lab/path", "https://"] {
            assert!(bad.parse::<Server>().is_err(), "{bad}");
        }
    }
}
