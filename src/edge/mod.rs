//! The front door: the only public listener. It exists because the web framework behind it has no connection timeouts, no
//! bounds on streams and no list of host names; here a slow, huge or forged request ends before it costs anything, and
//! what passes carries the client's true address and a secret made at each start.
//!
//! ```text
//!   listen    accepts, knows each connection's state, drains at the end
//!   limits    the numbers, and the crowd: who may connect, who must make room
//!   pace      bodies and sockets that wait on a peer, but not for ever
//!   tls       certificates that can be replaced while serving
//!   route     which host names are ours, and what they lead to
//!   forward   strips what a client may not say, adds what only the door may say, streams both ways
//!   upstream  connections to the console, kept and used again
//!   answer    the door's own few sentences
//! ```
//!
//! It refuses to know members, sessions, pages or the database: everything about rights is decided behind it.
mod answer;
mod forward;
mod limits;
mod listen;
mod pace;
mod route;
pub mod tls;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;

pub use forward::{CLIENT_HEADER, SCHEME_HEADER, SECRET_HEADER};
pub use limits::Limits;
pub use listen::Edge;

use crate::base::secret::Secret;

/// What the front door needs to know.
#[derive(Clone, Debug)]
pub struct EdgeSettings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the console listens, on loopback.
    pub upstream: SocketAddr,
    /// Proves to the console that a request came through here; made anew at each start.
    pub secret: Secret,
    /// TLS, when this door is not on loopback alone. See [`tls::server_config`].
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The public names: host names or whole URLs. The address a client connected to, and `localhost` on loopback, are
    /// always ours as well.
    pub hosts: Vec<String>,
    pub limits: Limits,
}

/// Why the door cannot open.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    #[error("{address} is already in use; stop the other program or choose another address with --listen")]
    AddressInUse { address: SocketAddr },
    #[error("this user may not listen on {address}; choose a port above 1023 with --listen")]
    NotPermitted { address: SocketAddr },
    #[error("{address} is not an address of this machine; choose another with --listen")]
    NotHere { address: SocketAddr },
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("\"{text}\" is not a host name or URL; give one such as https://mill.example with --public-url")]
    BadHost { text: String },
    #[error("the secret cannot be carried in a header")]
    BadSecret,
}

/// Opens the door: from here on clients can connect, and [`Edge::run`] serves them. Also raises this process's soft limit
/// on open files to the hard one, because every connection is a file.
pub async fn bind(settings: EdgeSettings) -> Result<Edge, EdgeError> {
    listen::bind(settings)
}
