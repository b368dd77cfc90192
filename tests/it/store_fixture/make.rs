//! Makes a small simulated mill in which everything has happened once, by the intents that people and nodes use. It refuses
//! rows of its own making.
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use gristmill::agent::gpu::simulated;
use gristmill::agent::identity::NodeKey;
use gristmill::agent::place::Place;
use gristmill::app::bookings::orders::FromBookings;
use gristmill::app::bookings::{change, facts, place, show, upkeep};
use gristmill::app::fleet::contact::{Credential, connect};
use gristmill::app::fleet::hub::Hub;
use gristmill::app::fleet::{Fleet, authority, join, tokens as join_tokens};
use gristmill::app::mill::Mill;
use gristmill::app::money::{grant, invoices, rates};
use gristmill::app::outbox::{self, MailInput};
use gristmill::app::people::{actor, invite, setup, signin, teams, tokens};
use gristmill::app::trust::seal::Seal;
use gristmill::base::credits::Credits;
use gristmill::base::hardware::ObservedNode;
use gristmill::base::ids::{BookingId, NodeId};
use gristmill::base::secret::Secret;
use gristmill::base::window::{Instant, Span};
use gristmill::domain::fleet::node::Node;
use gristmill::domain::money::period::{self, Period};
use gristmill::domain::people::installation::{Mode, Reality, SmtpSecurity};
use gristmill::domain::people::rights::Actor;
use gristmill::store::{IdempotencyKey, Read as _, Store};
use gristmill::wire::api::bookings::{BookRequest, BookingView, ExtendRequest};
use gristmill::wire::api::money::{DraftRequest, GrantRequest, RateRequest};
use gristmill::wire::api::people::InviteRequest;
use gristmill::wire::node::{FactCause, FactState, JoinRequest, LeaseFact, PROTOCOL};

/// How far this mill's clock is ahead of the real one.
static AHEAD: AtomicI64 = AtomicI64::new(0);

fn clock() -> Instant {
    gristmill::clock::now().plus(Span::from_millis(AHEAD.load(Ordering::SeqCst)))
}

struct Maker {
    mill: Mill,
    admin: Actor,
    node: NodeId,
}

/// Makes it, stops it, and answers what is known of it.
pub async fn mill(dir: &Path) -> String {
    let store = Store::open(dir, clock).unwrap();
    let seal = Arc::new(Seal::load_or_create(&dir.join("keys/seal.key")).unwrap());
    let root = authority::open_root(&store, &seal).await.unwrap();
    let mill = Mill::new(store, seal, Arc::new(Hub::default()), "https://mill.example", dir);
    let admin = people(&mill).await;
    let fleet = Fleet { mill: mill.clone(), root: Arc::new(root), orders: Arc::new(FromBookings) };
    let node = machine(&fleet, dir).await;
    let maker = Maker { mill, admin, node };
    maker.bookings().await;
    maker.documents().await;
    let known = super::facts::of(&maker.mill.store.read().unwrap());
    maker.mill.store.clone().stop();
    known
}

async fn people(mill: &Mill) -> Actor {
    let input = setup::SetupInput {
        organisation: "Institute for Machine Milling".parse().unwrap(),
        admin_email: "ada@lab.example".parse().unwrap(),
        admin_name: "Ada".parse().unwrap(),
        team: "Vision".parse().unwrap(),
        password: Secret::new("a turn at the stone"),
        currency: "EUR".into(),
        time_zone: "Europe/Berlin".into(),
        mode: Mode::Chargeback,
        grant: Credits::from_whole(1000).unwrap(),
        reality: Reality::Simulated { gpus: 4 },
    };
    let made = setup::set_up(mill, None, input, None).await.unwrap();
    let admin = actor::load(&mill.store.read().unwrap(), made.member).unwrap().unwrap().1;
    teams::create(mill, &admin, "Speech".parse().unwrap(), Some("4711".into()), None).await.unwrap();
    for (email, name) in [("bo@lab.example", Some("Bo")), ("waits@lab.example", None)] {
        let request = InviteRequest { email: email.into(), team: "Vision".into(), role: "member".into() };
        let link = invite::invite(mill, &admin, request, None).await.unwrap().link.unwrap();
        if let Some(name) = name {
            let token = link.rsplit_once('/').unwrap().1;
            let password = Secret::new("another turn at the stone");
            invite::accept(mill, token, Some(name.parse().unwrap()), password).await.unwrap();
        }
    }
    signin::open_session(mill, made.member, "a browser").await.unwrap();
    tokens::make(mill, made.member, "laptop").await.unwrap();
    let mail = MailInput {
        host: "127.0.0.1".into(),
        port: 9,
        security: SmtpSecurity::None,
        user: Some("mill".into()),
        password: Some(Secret::new("no mail server has this")),
        from: "mill@lab.example".into(),
    };
    outbox::set_mail(mill, &admin, Some(mail)).await.unwrap();
    let rate = RateRequest { model: "H200".into(), per_gpu_hour: "2.50".into() };
    rates::set(mill, &admin, rate, None).await.unwrap();
    let request = GrantRequest { team: "Speech".into(), amount: "12.50".into(), reason: "for the deadline".into() };
    grant::grant(mill, &admin, request, Some(IdempotencyKey::new("grant-1").unwrap())).await.unwrap();
    admin
}

async fn machine(fleet: &Fleet, dir: &Path) -> NodeId {
    let key = NodeKey::open(&Place::take(&dir.join("agent")).unwrap()).unwrap();
    let observed = ObservedNode {
        hostname: "stone-1".into(),
        cpus: 32,
        memory_bytes: 256 << 30,
        disk_bytes: 1 << 40,
        gpus: simulated::gpus("stone-1", 4),
        ..ObservedNode::default()
    };
    let token = join_tokens::make_local(&fleet.mill).await.unwrap().unwrap();
    let request = JoinRequest {
        protocol: PROTOCOL,
        token: token.expose().to_owned(),
        csr_pem: key.request().unwrap(),
        observed: observed.clone(),
        simulated: true,
    };
    let node = join::join(fleet, request).await.unwrap().node;
    let row: Node = fleet.mill.store.read().unwrap().must(&node).unwrap();
    let credential = Credential { key: row.key, serial: row.certificate_serial };
    connect(fleet, node, credential, observed, 12).await.unwrap();
    node
}

fn ask(title: &str, gpus: u64, hours: i64) -> BookRequest {
    BookRequest {
        gpus,
        model: None,
        duration_seconds: hours * 3600,
        at: None,
        by: None,
        team: Some("Vision".into()),
        title: Some(title.into()),
        command: None,
    }
}

impl Maker {
    /// Lets time pass and does what is due.
    async fn pass(&self, span: Span) {
        let until = clock().plus(span);
        loop {
            let next = upkeep::next_due(&self.mill.store.read().unwrap()).unwrap().filter(|&at| at <= until);
            let to = next.unwrap_or(until).since(clock()).as_millis().max(0);
            AHEAD.fetch_add(to, Ordering::SeqCst);
            if next.is_none() {
                return;
            }
            upkeep::run(&self.mill, clock()).await.unwrap();
        }
    }

    async fn book(&self, request: BookRequest) -> BookingView {
        let key = Some(IdempotencyKey::new(request.title.clone().unwrap().replace(' ', "-")).unwrap());
        place::book(&self.mill, &self.admin, request, key, clock()).await.unwrap()
    }

    async fn says(&self, booking: &BookingView, state: FactState) {
        let lease = &booking.leases[0];
        let fact = LeaseFact { lease: lease.id, attempt: lease.attempt, revision: 1, state, lacking: Vec::new() };
        facts::apply_facts(&self.mill, self.node, vec![fact], false).await.unwrap();
    }

    async fn starts(&self, request: BookRequest) -> BookingView {
        let booking = self.book(request).await;
        self.pass(Span::from_seconds(2)).await;
        self.says(&booking, FactState::Ready { elapsed: Span::ZERO }).await;
        booking
    }

    async fn ends(&self, booking: &BookingView, elapsed: Span, code: i32, cause: FactCause) {
        let state = FactState::Ended { elapsed, ago: Span::ZERO, code: Some(code), signal: None, cause };
        self.says(booking, state).await;
        self.pass(Span::from_seconds(1)).await;
    }

    /// One booking for each way that a booking can have gone so far.
    async fn bookings(&self) {
        let whole = self.starts(ask("to its end", 2, 2)).await;
        self.pass(Span::from_hours(2)).await;
        self.ends(&whole, Span::from_hours(2), 0, FactCause::TimeUp).await;
        let batch = BookRequest { command: Some(vec!["make".into(), "flour".into()]), ..ask("finished early", 1, 3) };
        let batch = self.starts(batch).await;
        self.pass(Span::from_minutes(40)).await;
        self.ends(&batch, Span::from_minutes(40), 3, FactCause::Finished).await;
        let failed = self.book(ask("could not start", 1, 1)).await;
        self.pass(Span::from_seconds(2)).await;
        self.says(&failed, FactState::Failed { why: "there is no room".into() }).await;
        let later = |hours| Some(clock().plus(Span::from_hours(hours)).into());
        let cancelled = self.book(BookRequest { at: later(30), ..ask("cancelled", 4, 5) }).await;
        change::cancel(&self.mill, &self.admin, cancelled.id, None, clock()).await.unwrap();
        self.book(BookRequest { at: later(20), ..ask("over two midnights", 3, 50) }).await;
        let running = self.starts(ask("running", 1, 1)).await;
        let longer = ExtendRequest { by_seconds: 1800 };
        change::extend(&self.mill, &self.admin, running.id, longer, None, clock()).await.unwrap();
        // Its end comes near, so that there is a notice and a mail that waits.
        self.pass(Span::from_minutes(80)).await;
        let state = |id: BookingId| show::show(&self.mill, &self.admin, id, clock()).unwrap().state;
        let states = [whole.id, batch.id, failed.id, cancelled.id, running.id].map(state);
        assert_eq!(states, ["ended", "ended", "failed", "cancelled", "active"]);
    }

    async fn documents(&self) {
        let period = Period::of(clock(), &period::zone("Europe/Berlin")).to_string();
        let request = DraftRequest { team: "Vision".into(), period };
        let first = invoices::draft(&self.mill, &self.admin, request.clone(), None).await.unwrap();
        invoices::issue(&self.mill, &self.admin, first.id, None).await.unwrap();
        invoices::settle(&self.mill, &self.admin, first.id, None).await.unwrap();
        let another = self.starts(ask("for the next document", 1, 1)).await;
        self.pass(Span::from_minutes(20)).await;
        self.ends(&another, Span::from_minutes(20), 0, FactCause::Finished).await;
        let second = invoices::draft(&self.mill, &self.admin, request, None).await.unwrap();
        assert_eq!((first.state.as_str(), second.state.as_str()), ("draft", "draft"));
    }
}
