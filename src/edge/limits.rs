//! The numbers of the front door and the crowd before it. A connection in which no request is under way is *waiting*; when
//! room runs out, the longest-waiting one makes room for the newcomer, so that a thousand half-sent headers cost their
//! sender and nobody else. It refuses to interrupt a request that is under way to admit another.
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Notify;
use tokio::time::Instant;

/// What a client may take; the defaults suit an organisation on one server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the TCP connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// For one whole request header, and for the pause before the next one on a kept connection.
    pub header: Duration,
    /// For all headers of one request together, in bytes.
    pub header_bytes: u32,
    /// Largest request body in bytes: a backstop, since every page has its own smaller limit.
    pub body_bytes: u64,
    /// How long a body may keep the door waiting; each received byte buys time back at `body_rate`.
    pub body_patience: Duration,
    /// Slowest body in the long run, in bytes per second.
    pub body_rate: u64,
    /// How long a client may refuse to take what is sent to it.
    pub write_stall: Duration,
    /// How long an HTTP/2 connection is kept without any request.
    pub idle: Duration,
    /// Open requests per HTTP/2 connection.
    pub streams: u32,
    /// Connections, and open requests, from one client address (an IPv6 client is its /64 network).
    pub per_client: usize,
    /// Connections, and open requests, from all clients together; lowered to what the open-file limit allows.
    pub total: usize,
    /// How long open requests may take to end when the mill stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(10),
            header_bytes: 32 * 1024,
            body_bytes: 64 * 1024 * 1024,
            body_patience: Duration::from_secs(20),
            body_rate: 1024,
            write_stall: Duration::from_secs(60),
            idle: Duration::from_secs(180),
            streams: 100,
            per_client: 1024,
            total: 16_384,
            drain: Duration::from_secs(4),
        }
    }
}

/// Files the rest of the process needs: database, logs, nodes, mail.
const RESERVED_FILES: u64 = 512;

/// Raises the soft limit on open files to the hard one and answers how many connections fit: each may need a second file
/// towards the console.
pub(super) fn room_for_connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%error, "the limit on open files stays low; fewer connections are accepted");
    }
    // No limit at all reads as `None`.
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from((files.saturating_sub(RESERVED_FILES) / 2).max(16)).unwrap_or(usize::MAX)
}

/// One client as limits see it: an IPv4 address, or the /64 network of an IPv6 address, which one household or host
/// commonly holds whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ClientKey(u128);

impl ClientKey {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(four) => Self(u128::from(u32::from(four))),
            IpAddr::V6(six) => Self((u128::from(six) >> 64 << 64) | (1 << 63)),
        }
    }
}

/// Everybody who is connected.
pub(super) struct Crowd {
    per_client: usize,
    total: usize,
    state: Mutex<State>,
    empty: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    open_requests: usize,
    seats: HashMap<u64, SeatState>,
    clients: HashMap<ClientKey, Client>,
    /// Turn in the queue of the waiting → seat, oldest first.
    waiting: BTreeMap<u64, u64>,
}

#[derive(Default)]
struct Client {
    connections: usize,
    open_requests: usize,
    waiting: BTreeMap<u64, u64>,
}

struct SeatState {
    key: ClientKey,
    open_requests: usize,
    /// Its turn in both queues while it waits.
    turn: Option<u64>,
    since: Instant,
    served: bool,
    leave: Arc<Notify>,
}

impl Crowd {
    pub(super) fn new(limits: &Limits, room: usize) -> Arc<Self> {
        Arc::new(Self {
            per_client: limits.per_client,
            total: limits.total.min(room),
            state: Mutex::default(),
            empty: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change below is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for a new connection; `None` when everybody from there, or everybody at all, is busy.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let key = ClientKey::of(address);
        let mut state = self.lock();
        if let Some(client) = state.clients.get(&key)
            && client.connections >= self.per_client
        {
            let oldest = client.waiting.first_key_value().map(|(_, &seat)| seat)?;
            state.evict(oldest);
        }
        if state.seats.len() >= self.total {
            let oldest = state.waiting.first_key_value().map(|(_, &seat)| seat)?;
            state.evict(oldest);
        }
        let id = state.next_number();
        let leave = Arc::new(Notify::new());
        let seat =
            SeatState { key, open_requests: 0, turn: None, since: Instant::now(), served: false, leave: leave.clone() };
        state.seats.insert(id, seat);
        state.clients.entry(key).or_default().connections += 1;
        state.wait(id);
        drop(state);
        Some(Seat { crowd: Arc::clone(self), id, leave })
    }

    /// Ends when nobody is connected any more.
    pub(super) async fn dispersed(&self) {
        loop {
            let changed = self.empty.notified();
            if self.lock().seats.is_empty() {
                return;
            }
            changed.await;
        }
    }
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn wait(&mut self, id: u64) {
        let turn = self.next_number();
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.turn = Some(turn);
        seat.since = Instant::now();
        self.clients.entry(seat.key).or_default().waiting.insert(turn, id);
        self.waiting.insert(turn, id);
    }

    fn stop_waiting(&mut self, id: u64) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if let Some(turn) = seat.turn.take() {
            self.waiting.remove(&turn);
            if let Some(client) = self.clients.get_mut(&seat.key) {
                client.waiting.remove(&turn);
            }
        }
    }

    fn remove(&mut self, id: u64) -> Option<SeatState> {
        self.stop_waiting(id);
        let seat = self.seats.remove(&id)?;
        self.open_requests -= seat.open_requests;
        if let Some(client) = self.clients.get_mut(&seat.key) {
            client.connections -= 1;
            client.open_requests -= seat.open_requests;
            if client.connections == 0 {
                self.clients.remove(&seat.key);
            }
        }
        Some(seat)
    }

    fn evict(&mut self, id: u64) {
        if let Some(seat) = self.remove(id) {
            seat.leave.notify_one();
        }
    }
}

/// One connection's place in the crowd; given back when dropped.
pub(super) struct Seat {
    crowd: Arc<Crowd>,
    id: u64,
    leave: Arc<Notify>,
}

impl Seat {
    /// Ends when this connection must make room.
    pub(super) async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }

    /// A request begins; `None` when this client, or all together, have too many under way.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Busy> {
        let mut state = self.crowd.lock();
        if state.open_requests >= self.crowd.total {
            return None;
        }
        let key = state.seats.get(&self.id)?.key;
        let client = state.clients.get_mut(&key)?;
        if client.open_requests >= self.crowd.per_client {
            return None;
        }
        client.open_requests += 1;
        state.open_requests += 1;
        state.stop_waiting(self.id);
        if let Some(seat) = state.seats.get_mut(&self.id) {
            seat.open_requests += 1;
            seat.served = true;
        }
        Some(Busy { seat: Arc::clone(self) })
    }

    /// For how long no request has been under way, and whether there ever was one.
    pub(super) fn quiet(&self) -> Option<(Duration, bool)> {
        let state = self.crowd.lock();
        let seat = state.seats.get(&self.id)?;
        (seat.open_requests == 0).then(|| (seat.since.elapsed(), seat.served))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.crowd.lock();
        state.remove(self.id);
        if state.seats.is_empty() {
            self.crowd.empty.notify_waiters();
        }
    }
}

/// One request under way: its connection will not be asked to make room.
pub(super) struct Busy {
    seat: Arc<Seat>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.seat.crowd.lock();
        let Some(seat) = state.seats.get_mut(&self.seat.id) else { return };
        seat.open_requests -= 1;
        let (key, idle) = (seat.key, seat.open_requests == 0);
        state.open_requests -= 1;
        if let Some(client) = state.clients.get_mut(&key) {
            client.open_requests -= 1;
        }
        if idle {
            state.wait(self.seat.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(per_client: usize, total: usize) -> Arc<Crowd> {
        Crowd::new(&Limits { per_client, total, ..Limits::default() }, usize::MAX)
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn evicted(seat: &Seat) -> bool {
        !seat.crowd.lock().seats.contains_key(&seat.id)
    }

    #[tokio::test]
    async fn the_longest_waiting_makes_room() {
        let crowd = crowd(2, 100);
        let first = Arc::new(crowd.admit(address(1)).unwrap());
        let second = crowd.admit(address(1)).unwrap();
        let busy = first.begin().unwrap();
        let third = crowd.admit(address(1)).unwrap();
        assert!(evicted(&second) && !evicted(&first) && !evicted(&third), "the busy one stays");
        second.asked_to_leave().await;
        // The first waits again, but now behind the third.
        drop(busy);
        let _fourth = crowd.admit(address(1)).unwrap();
        assert!(evicted(&third) && !evicted(&first));
        assert!(crowd.admit(address(2)).is_some(), "another client has its own room");
    }

    #[test]
    fn nobody_busy_is_interrupted() {
        let crowd = crowd(10, 2);
        let seats: Vec<_> = (1..=2).map(|last| Arc::new(crowd.admit(address(last)).unwrap())).collect();
        let busy: Vec<_> = seats.iter().map(|seat| seat.begin().unwrap()).collect();
        assert!(crowd.admit(address(3)).is_none());
        assert!(seats[0].begin().is_none(), "the total bounds requests too");
        drop(busy);
        assert!(crowd.admit(address(3)).is_some());
    }

    #[tokio::test]
    async fn leaving_gives_everything_back() {
        let crowd = crowd(4, 4);
        let seat = Arc::new(crowd.admit(address(1)).unwrap());
        let busy = seat.begin().unwrap();
        // An evicted seat whose request still ends later must not count twice.
        crowd.lock().evict(seat.id);
        drop((busy, seat));
        crowd.dispersed().await;
        let state = crowd.lock();
        assert_eq!((state.open_requests, state.clients.len(), state.waiting.len()), (0, 0, 0));
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let of = |text: &str| ClientKey::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("::1"), of("0.0.0.0"));
    }
}
