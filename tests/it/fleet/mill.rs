//! A mill with a gateway and without bookings, and agents that run as processes of their own.
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant as Monotonic};

use gristmill::agent::dial::Server;
use gristmill::agent::identity::{self, Membership, NodeKey};
use gristmill::agent::join::{self, JoinError, Newcomer, Pin};
use gristmill::agent::place::Place;
use gristmill::app::error::Answer;
use gristmill::app::fleet::orders::{Doing, Orders};
use gristmill::app::fleet::tokens::{self, TokenInput};
use gristmill::app::fleet::{Fleet, authority, hub::Hub, show, watch};
use gristmill::app::mill::Mill;
use gristmill::app::trust::seal::Seal;
use gristmill::base::hardware::ObservedNode;
use gristmill::base::ids::{MemberId, NodeId, PoolId};
use gristmill::base::secret::Secret;
use gristmill::base::window::Instant;
use gristmill::clock;
use gristmill::domain::event::{Cause, Event};
use gristmill::domain::fleet::node::{Pool, PoolPolicy};
use gristmill::domain::people::installation::{Installation, Mode, Reality};
use gristmill::domain::people::rights::Actor;
use gristmill::store::read::StoreError;
use gristmill::store::{Changes, Command as Intent, Snapshot, Store};
use gristmill::web::gateway::{self, Running};
use gristmill::wire::api::fleet::NodeView;
use gristmill::wire::node::{DesiredLease, LeaseFact};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_gristmill");
pub const POOL: PoolId = PoolId::from_u128(1);
/// How long something may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `look` sees something.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let begun = Monotonic::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE, "this never came: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A folder of this test alone.
pub fn folder(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

/// Stands in for bookings: wants what the test says, and remembers what it is told.
#[derive(Default)]
pub struct Wishes {
    pub desired: Mutex<Vec<DesiredLease>>,
    pub told: Mutex<Vec<(Vec<LeaseFact>, bool)>>,
    pub lost: Mutex<Vec<NodeId>>,
}

impl Orders for Wishes {
    fn desired(&self, _: &Snapshot, _: NodeId, _: Instant) -> Result<Vec<DesiredLease>, StoreError> {
        Ok(self.desired.lock().unwrap().clone())
    }

    fn facts<'a>(&'a self, _: &'a Mill, _: NodeId, leases: Vec<LeaseFact>, complete: bool) -> Doing<'a> {
        self.told.lock().unwrap().push((leases, complete));
        Box::pin(async { Ok(()) })
    }

    fn lost<'a>(&'a self, _: &'a Mill, node: NodeId, _: Instant) -> Doing<'a> {
        self.lost.lock().unwrap().push(node);
        Box::pin(async { Ok(()) })
    }
}

/// A simulated mill whose gateway can be stopped and started again.
pub struct House {
    pub fleet: Fleet,
    pub wishes: Arc<Wishes>,
    pub address: SocketAddr,
    seal: Arc<Seal>,
    store: Store,
    data: PathBuf,
    running: Option<(Running, tokio::task::JoinSet<()>)>,
}

impl House {
    pub async fn open(auto_admit: bool) -> Self {
        let data = folder("mill");
        let store = Store::memory(clock::now);
        let seal = Arc::new(Seal::load_or_create(&data.join("seal.key")).unwrap());
        found(&store, auto_admit).await;
        let wishes = Arc::new(Wishes::default());
        let fleet = fleet(&store, &seal, &wishes, &data).await;
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut house = Self { fleet, wishes, address, seal, store, data, running: None };
        house.start().await;
        house
    }

    /// Starts the gateway, on the port it had before.
    pub async fn start(&mut self) {
        self.fleet = fleet(&self.store, &self.seal, &self.wishes, &self.data).await;
        let tasks = watch::start(&self.fleet).unwrap();
        let running = gateway::start(self.fleet.clone(), self.address).await.unwrap();
        self.address = running.address;
        self.running = Some((running, tasks));
    }

    /// Stops everything of the server; what it wrote stays.
    pub async fn stop(&mut self) {
        let (running, tasks) = self.running.take().unwrap();
        drop(tasks);
        running.stop().await.unwrap();
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn server(&self) -> Server {
        self.url().parse().unwrap()
    }

    pub fn pin(&self) -> Pin {
        Pin::Fingerprint(self.fleet.root.fingerprint())
    }

    pub async fn token(&self) -> Secret {
        tokens::make(&self.fleet.mill, &admin(), TokenInput { pool: POOL, owner: None, name: None }).await.unwrap()
    }

    pub fn nodes(&self) -> Vec<NodeView> {
        show::nodes(&self.fleet.mill, &admin(), clock::now()).unwrap()
    }

    /// The only node, once it is connected.
    pub async fn connected(&self) -> NodeView {
        until("a connected node", || async { self.nodes().into_iter().find(|node| node.connected) }).await
    }

    /// Wants this of the node from now on.
    pub async fn want(&self, leases: Vec<DesiredLease>) {
        *self.wishes.desired.lock().unwrap() = leases;
        let nodes: Vec<NodeId> = self.nodes().iter().map(|node| node.id).collect();
        let wake = move |_: &gristmill::store::View<'_>, _| {
            let mut changes = Changes::new();
            changes.event(Cause::Mill, Event::SettingsChanged { what: "wishes".to_owned() });
            nodes.iter().for_each(|&node| {
                changes.wake(node);
            });
            Ok((changes, ()))
        };
        self.store.write(Intent::new(Cause::Mill), wake).await.unwrap();
    }

    /// Waits until the node has said something about its only lease that satisfies.
    pub async fn told(&self, what: &str, is: impl Fn(&LeaseFact) -> bool) -> LeaseFact {
        until(what, || async {
            let told = self.wishes.told.lock().unwrap();
            told.last().and_then(|(facts, _)| facts.first()).filter(|fact| is(fact)).cloned()
        })
        .await
    }

    /// A machine that joins from inside the test, without a process.
    pub async fn machine(&self) -> Machine {
        Machine::join(self, self.token().await).await.unwrap()
    }
}

pub fn admin() -> Actor {
    Actor { member: MemberId::from_u128(9), admin: true, memberships: Vec::new() }
}

/// What setup would have written, as far as the fleet needs it.
async fn found(store: &Store, auto_admit: bool) {
    let decide = move |_: &gristmill::store::View<'_>, now| {
        let mut changes = Changes::new();
        changes.put(&Installation {
            organisation: "Lab".parse().unwrap(),
            currency: "EUR".to_owned(),
            time_zone: "UTC".to_owned(),
            mode: Mode::Showback,
            reality: Reality::Simulated { gpus: 2 },
            created: now,
            smtp: None,
            address: Vec::new(),
        });
        changes.put(&Pool {
            id: POOL,
            name: "main".parse().unwrap(),
            auto_admit,
            policy: PoolPolicy::kind(true),
            revision: 0,
        });
        Ok((changes, ()))
    };
    store.write(Intent::new(Cause::Operator), decide).await.unwrap();
}

async fn fleet(store: &Store, seal: &Arc<Seal>, wishes: &Arc<Wishes>, data: &Path) -> Fleet {
    let root = Arc::new(authority::open_root(store, seal).await.unwrap());
    let mill = Mill::new(store.clone(), seal.clone(), Hub::new(), "https://mill.example", data);
    Fleet { mill, root, orders: wishes.clone() }
}

/// A member of the fleet that says what the test wants.
pub struct Machine {
    pub place: Place,
    pub key: NodeKey,
    pub membership: Membership,
    pub root: String,
    pub server: Server,
}

impl Machine {
    pub async fn join(house: &House, token: Secret) -> Result<Self, JoinError> {
        let place = Place::take(&folder("machine")).unwrap();
        let key = NodeKey::open(&place).unwrap();
        let server = house.server();
        let root = join::pin_root(&place, &server, Some(&house.pin())).await?;
        let newcomer = Newcomer { token, observed: observed(&key.seed()), simulated_gpus: Some(2) };
        let membership = join::join(&place, &server, &root, &key, newcomer).await?;
        Ok(Self { place, key, membership, root, server })
    }

    pub fn tls(&self) -> Arc<rustls::ClientConfig> {
        identity::tls(&self.root, Some((&self.key, &self.membership))).unwrap()
    }

    pub fn observed(&self) -> ObservedNode {
        observed(&self.key.seed())
    }
}

fn observed(seed: &str) -> ObservedNode {
    let gpus = gristmill::agent::gpu::simulated::gpus(seed, 2);
    ObservedNode { hostname: "machine".to_owned(), gpus, ..ObservedNode::default() }
}

/// An agent as a process; it ends with the test, what it started is stopped by its own deadline.
pub struct Agent {
    child: Child,
}

impl Agent {
    pub fn start(house: &House, data: &Path, token: Option<&Secret>) -> Self {
        Self::start_with(house, data, token, &house.fleet.root.fingerprint())
    }

    pub fn start_with(house: &House, data: &Path, token: Option<&Secret>, fingerprint: &str) -> Self {
        let mut command = Command::new(PROGRAM);
        command.arg("agent").arg("--data").arg(data);
        command.args(["--server", &house.url(), "--ca-fingerprint", fingerprint, "--simulated-gpus", "2"]);
        command.env_remove("GRISTMILL_JOIN_TOKEN");
        if let Some(token) = token {
            command.env("GRISTMILL_JOIN_TOKEN", token.expose());
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        Self { child }
    }

    /// Ends it the hard way.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its own end; answers whether it was content, and what it said. Beside the runtime, which serves it.
    pub async fn ended(mut self) -> (bool, String) {
        let waiting = tokio::task::spawn_blocking(move || {
            let said = std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap();
            (self.child.wait().unwrap().success(), said)
        });
        waiting.await.unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Most tests are over before their agent is.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The refusal's code, for a test that expects one.
pub fn code<T>(answer: Answer<T>) -> String {
    match answer {
        Err(gristmill::app::error::AppError::Refused(refusal)) => refusal.reason().code().to_owned(),
        Err(other) => format!("{other:?}"),
        Ok(_) => "no refusal".to_owned(),
    }
}
