//! Accepts connections, gives each a seat, speaks TLS, HTTP/1.1 or HTTP/2 with it, and drains all when the mill stops. It
//! refuses to wait without a limit: a silent connection ends by the handshake, header or idle limit, or when it must make
//! room.
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::answer::Reply;
use super::forward::{Arrival, Front};
use super::limits::{Crowd, Seat, room_for_connections};
use super::pace::Draining;
use super::{EdgeError, EdgeSettings};

/// Where the door stands on its way to closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Open,
    /// No new connections; open requests may end.
    Draining,
    /// Whatever is still open is cut.
    Closed,
}

/// The first byte of a TLS handshake record; no HTTP request begins with it.
const TLS_HANDSHAKE: u8 = 0x16;
/// Connections that the kernel may hold until they are accepted.
const BACKLOG: u32 = 4096;
/// Bytes of HTTP/1 headers are bounded exactly; the buffer that holds them may not be smaller than hyper's least.
const LEAST_BUFFER: usize = 16 * 1024;

/// An open door; clients can connect, [`Edge::run`] serves them.
pub struct Edge {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    front: Arc<Front>,
    crowd: Arc<Crowd>,
}

pub(super) fn bind(settings: EdgeSettings) -> Result<Edge, EdgeError> {
    let address = settings.listen;
    let refused = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => EdgeError::AddressInUse { address },
        io::ErrorKind::PermissionDenied => EdgeError::NotPermitted { address },
        io::ErrorKind::AddrNotAvailable => EdgeError::NotHere { address },
        _ => EdgeError::Listen { address, source },
    };
    let front = Arc::new(Front::new(&settings)?);
    let crowd = Crowd::new(&settings.limits, room_for_connections());
    let listener = listener(address).map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok(Edge { listener, address, tls: settings.tls.map(TlsAcceptor::from), front, crowd })
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted mill must not wait for the old connections' last minutes.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Edge {
    /// The address that clients connect to, with the port that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` ends, then lets open requests end for [`super::Limits::drain`] and cuts the rest.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let (phase, watching) = watch::channel(Phase::Open);
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => self.welcome(stream, peer.ip(), &watching),
                    Err(error) => {
                        // Mostly a client that has gone already; when files run out, a pause lets some be given back.
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                },
            }
        }
        drop(self.listener);
        phase.send_replace(Phase::Draining);
        if tokio::time::timeout(self.front.limits.drain, self.crowd.dispersed()).await.is_err() {
            tracing::info!("requests were still open when the front door closed");
        }
        phase.send_replace(Phase::Closed);
    }

    fn welcome(&self, stream: TcpStream, client: IpAddr, phase: &watch::Receiver<Phase>) {
        let Some(seat) = self.crowd.admit(client) else {
            // Closing at once is the answer that costs least.
            tracing::debug!(%client, "turned away: everybody is busy");
            return;
        };
        prepare(&stream);
        let local = stream.local_addr().map_or(self.address.ip(), |address| address.ip());
        let (client, local) = (client.to_canonical(), local.to_canonical());
        let arrival = Arrival { client, local, secure: self.tls.is_some(), seat: Arc::new(seat), phase: phase.clone() };
        tokio::spawn(attend(stream, self.tls.clone(), Arc::clone(&self.front), arrival));
    }
}

/// Small answers at once, and dead peers noticed within some minutes. A socket that refuses an option still works.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_socket_keepalive(stream, true);
    let _ = rustix::net::sockopt::set_tcp_keepidle(stream, Duration::from_secs(60));
    let _ = rustix::net::sockopt::set_tcp_keepintvl(stream, Duration::from_secs(20));
    let _ = rustix::net::sockopt::set_tcp_keepcnt(stream, 3);
}

/// One connection from its first byte to its end, cut short when it must make room or the door closes.
async fn attend(stream: TcpStream, tls: Option<TlsAcceptor>, front: Arc<Front>, arrival: Arrival) {
    let seat = Arc::clone(&arrival.seat);
    let mut phase = arrival.phase.clone();
    tokio::select! {
        () = seat.asked_to_leave() => {}
        _ = phase.wait_for(|phase| *phase == Phase::Closed) => {}
        () = serve(stream, tls, front, arrival) => {}
    }
}

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>, front: Arc<Front>, arrival: Arrival) {
    let Some(tls) = tls else {
        return serve_http1(Draining::new(stream, front.limits.write_stall), front, arrival).await;
    };
    let handshake = async {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0] != TLS_HANDSHAKE {
            return Ok(Err(stream));
        }
        tls.accept(stream).await.map(Ok)
    };
    match tokio::time::timeout(front.limits.handshake, handshake).await {
        Ok(Ok(Ok(stream))) => {
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let stream = Draining::new(stream, front.limits.write_stall);
            if http2 { serve_http2(stream, front, arrival).await } else { serve_http1(stream, front, arrival).await }
        }
        Ok(Ok(Err(plain))) => redirect(Draining::new(plain, front.limits.write_stall), front, arrival).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

fn http1_builder(front: &Front) -> http1::Builder {
    let header_bytes = front.limits.header_bytes as usize;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(front.limits.header)
        .max_header_size(header_bytes)
        .max_buf_size(header_bytes.max(LEAST_BUFFER));
    builder
}

async fn serve_http1<S>(stream: S, front: Arc<Front>, arrival: Arrival)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = http1_builder(&front);
    let seat = Arc::clone(&arrival.seat);
    let phase = arrival.phase.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (front, arrival) = (Arc::clone(&front), arrival.clone());
        async move { Ok::<_, Infallible>(front.answer(request, &arrival).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    until_end(connection, &seat, phase, None).await;
}

async fn serve_http2<S>(stream: S, front: Arc<Front>, arrival: Arrival)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = front.limits.clone();
    let seat = Arc::clone(&arrival.seat);
    let phase = arrival.phase.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (front, arrival) = (Arc::clone(&front), arrival.clone());
        async move { Ok::<_, Infallible>(front.answer(request, &arrival).await) }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_bytes)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    until_end(connection, &seat, phase, Some((limits.header, limits.idle))).await;
}

/// One redirect per connection to whoever speaks plain HTTP on the TLS port.
async fn redirect<S>(stream: S, front: Arc<Front>, arrival: Arrival)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1_builder(&front);
    builder.keep_alive(false);
    let local = arrival.local;
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let response = front.redirect(&request, local);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    until_end(connection, &arrival.seat, arrival.phase.clone(), None).await;
}

/// A connection that can be asked to end after the requests under way.
trait Graceful: Future<Output = hyper::Result<()>> {
    fn wind_down(self: Pin<&mut Self>);
}

impl<I, S> Graceful for http1::UpgradeableConnection<I, S>
where
    S: HttpService<Incoming, ResBody = Reply>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    fn wind_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S> Graceful for http2::Connection<I, S, TokioExecutor>
where
    S: HttpService<Incoming, ResBody = Reply>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send + 'static,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    fn wind_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Serves a connection to its end. `quiet` bounds the time without a request under way, before the first one and after
/// it; HTTP/1 needs none, its header limit covers both.
async fn until_end(
    connection: impl Graceful,
    seat: &Seat,
    mut phase: watch::Receiver<Phase>,
    quiet: Option<(Duration, Duration)>,
) {
    let mut connection = pin!(connection);
    let mut winding_down = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke off");
                }
                return;
            }
            _ = phase.wait_for(|phase| *phase >= Phase::Draining), if !winding_down => {
                connection.as_mut().wind_down();
                winding_down = true;
            }
            () = quiet_too_long(seat, quiet) => {
                tracing::debug!("an idle connection was closed");
                return;
            }
        }
    }
}

async fn quiet_too_long(seat: &Seat, quiet: Option<(Duration, Duration)>) {
    let Some((before, after)) = quiet else { return std::future::pending().await };
    let mut look = tokio::time::interval(before.min(after).min(Duration::from_secs(1)).max(Duration::from_millis(10)));
    loop {
        look.tick().await;
        if let Some((lasted, served)) = seat.quiet()
            && lasted > if served { after } else { before }
        {
            return;
        }
    }
}
