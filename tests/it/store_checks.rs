//! A breach planted in a mill is found at the start and at night; from then on nothing is written and everything can be
//! read, over a restart as well, until a whole check holds again.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use gristmill::app::fleet::hub::Hub;
use gristmill::app::ids;
use gristmill::app::mill::Mill;
use gristmill::app::money::{grant, statement};
use gristmill::app::people::{actor, notices, setup, signin};
use gristmill::app::trust::seal::Seal;
use gristmill::app::upkeep::{self, night, start};
use gristmill::base::credits::Credits;
use gristmill::base::ids::TransferId;
use gristmill::base::secret::Secret;
use gristmill::base::window::{Instant, Span};
use gristmill::domain::event::Cause;
use gristmill::domain::money::account::{Account, AccountRow, Entry};
use gristmill::domain::money::transfer::{LedgerHead, Link, Transfer};
use gristmill::domain::people::installation::{Mode, Reality};
use gristmill::domain::people::rights::Actor;
use gristmill::store::checkpoint::{Checkpoint, last_good, newest};
use gristmill::store::money::LEDGER_HEAD;
use gristmill::store::tables::Table;
use gristmill::store::{Changes, Command, Order, Read as _, Readiness, Store, StoreError, View, WriteError};
use gristmill::wire::api::money::GrantRequest;

static AHEAD: AtomicI64 = AtomicI64::new(0);

fn clock() -> Instant {
    gristmill::clock::now().plus(Span::from_millis(AHEAD.load(Ordering::SeqCst)))
}

struct House {
    mill: Mill,
    admin: Actor,
    dir: PathBuf,
}

impl Drop for House {
    fn drop(&mut self) {
        self.mill.store.clone().stop();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn open(dir: &Path) -> Mill {
    let seal = Arc::new(Seal::load_or_create(&dir.join("keys/seal.key")).unwrap());
    let store = Store::open(dir, clock).unwrap();
    Mill::new(store, seal, Arc::new(Hub::default()), "http://localhost", dir)
}

impl House {
    async fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("gristmill-checks-{:x}", ids::fresh()));
        let mill = open(&dir);
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
        let made = setup::set_up(&mill, None, input, None).await.unwrap();
        let (_, admin) = actor::load(&mill.store.read().unwrap(), made.member).unwrap().unwrap();
        Self { mill, admin, dir }
    }

    /// As a server does that is stopped and started.
    async fn restart(&mut self) -> start::Started {
        self.mill.store.clone().stop();
        self.mill = open(&self.dir);
        start::check(&self.mill).await.unwrap()
    }

    async fn grant(&self) -> Result<(), gristmill::app::error::AppError> {
        let request = GrantRequest { team: "Vision".into(), amount: "1".into(), reason: "more".into() };
        grant::grant(&self.mill, &self.admin, request, None).await.map(|_| ())
    }

    /// Writes rows that no intent would.
    async fn plant(&self, decide: impl Fn(&View<'_>, &mut Changes) + Send + 'static) {
        let decide = move |view: &View<'_>, _| {
            let mut changes = Changes::new();
            decide(view, &mut changes);
            Ok((changes, ()))
        };
        self.mill.store.write(Command::new(Cause::Operator), decide).await.unwrap();
    }

    fn subjects(&self) -> Vec<String> {
        let told = notices::list(&self.mill.store.read().unwrap(), self.admin.member).unwrap();
        told.into_iter().map(|notice| notice.subject).collect()
    }

    /// Nothing is written but what tells of the breach; everything is read; people get in.
    async fn is_closed_and_readable(&self, part: &str) {
        let Readiness::Closed { why } = self.mill.store.readiness() else { panic!("the store takes writes") };
        assert!(why.contains("a check found what cannot be") && why.contains(part), "{why}");
        let refused = self.grant().await.unwrap_err();
        let gristmill::app::error::AppError::Store(StoreError::Closed { why: told }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(told, why);
        let store = self.mill.store.clone();
        let plain = store.write(Command::new(Cause::Mill), |_, _| Ok((Changes::new(), ()))).await;
        assert!(matches!(plain, Err(WriteError::Store(StoreError::Closed { .. }))), "{plain:?}");
        signin::open_session(&self.mill, self.admin.member, "a browser").await.expect("people get in to read");
        let view = self.mill.store.read().unwrap();
        let shown = statement::statement(&view, &self.admin, "Vision", None, 10).unwrap();
        assert!(!shown.lines.is_empty());
        assert_eq!(self.subjects(), ["The books do not hold: the mill takes no changes"], "told once");
    }
}

fn first_transfer(view: &View<'_>) -> Transfer {
    view.list::<Transfer>(&[], Order::Ascending, 1).unwrap().pop().unwrap()
}

/// A grant that says another amount than when it was chained.
fn forge(view: &View<'_>, changes: &mut Changes) {
    let transfer = first_transfer(view);
    changes.put(&Transfer { amount: Credits::from_whole(2000).unwrap(), ..transfer });
}

fn mend(view: &View<'_>, changes: &mut Changes) {
    let transfer = first_transfer(view);
    changes.put(&Transfer { amount: Credits::from_whole(1000).unwrap(), ..transfer });
}

#[tokio::test]
async fn a_breach_since_the_checkpoint_is_found_at_the_start() {
    let mut house = House::new().await;
    let started = house.restart().await;
    assert_eq!((started.breaches.as_slice(), started.transfers, started.behind), (&[][..], 1, false));
    house.grant().await.unwrap();
    house.plant(forge).await;
    let started = house.restart().await;
    assert!(started.breaches.iter().any(|what| what.contains("chain breaks at position 1")), "{started:?}");
    house.is_closed_and_readable("chain breaks").await;
    // Started again, it is closed again, for the same reason, and nobody is told twice.
    let again = house.restart().await;
    assert_eq!(again.breaches, started.breaches);
    house.is_closed_and_readable("chain breaks").await;
}

#[tokio::test]
async fn a_breach_before_the_checkpoint_is_found_at_night_and_stays_found() {
    let mut house = House::new().await;
    night::once(&house.mill).await.unwrap();
    let kept = last_good(&house.mill.store.read().unwrap()).unwrap().unwrap();
    assert_eq!((kept.chain.sequence, kept.holds()), (1, true));
    house.plant(forge).await;
    let started = house.restart().await;
    assert_eq!((started.breaches.len(), started.transfers), (0, 0), "the start looks at what is newer");
    house.grant().await.unwrap();
    night::once(&house.mill).await.unwrap();
    house.is_closed_and_readable("chain breaks").await;
    let started = house.restart().await;
    assert!(started.breaches.iter().any(|what| what.contains("chain breaks")), "a restart mends nothing: {started:?}");
    house.is_closed_and_readable("chain breaks").await;
}

#[tokio::test]
async fn what_holds_again_is_opened_again() {
    let house = House::new().await;
    house.plant(forge).await;
    night::once(&house.mill).await.unwrap();
    assert!(house.grant().await.is_err());
    // As a whole check does that finds what it misread before: the rows are true again, and it says so.
    house.mill.store.allow_writes();
    house.plant(mend).await;
    house.mill.store.stop_writes("as before".into());
    let found = upkeep::verify(&house.mill, &house.admin).await.unwrap();
    assert!(found.holds, "{:?}", found.breaches);
    assert_eq!(house.mill.store.readiness(), Readiness::Ready);
    house.grant().await.unwrap();
    let last = newest(&house.mill.store.read().unwrap()).unwrap().unwrap();
    assert!(last.holds());
}

/// What a start must see of the newest part of the books, one breach at a time.
#[tokio::test]
async fn the_start_sees_every_kind_of_breach() {
    type Plant = fn(&View<'_>, &mut Changes);
    let plants: [(&str, Plant); 7] = [
        ("is not there, or says otherwise", |view, changes| {
            changes.delete::<Transfer>(&first_transfer(view).id);
        }),
        ("position 1 is missing", |_, changes| {
            changes.delete::<Link>(&1);
        }),
        ("its end is recorded as", |view, changes| {
            let head: LedgerHead = view.must(&LEDGER_HEAD).unwrap();
            changes.put(&LedgerHead { sequence: head.sequence + 1, ..head });
        }),
        ("does not stand where its transfers put it", |view, changes| {
            let row: AccountRow = view.must(&Account::Grants).unwrap();
            changes.put(&AccountRow { debits: row.debits - 1, ..row });
        }),
        ("entry 1 of grants", |view, changes| {
            let entry: Entry = view.must(&(Account::Grants, 1)).unwrap();
            changes.put(&Entry { transfer: TransferId::from_u128(9), ..entry });
        }),
        ("the check could not be finished", |view, changes| {
            changes.blob(Table::Accounts, &first_transfer(view).debit, b"\x01{}".to_vec());
        }),
        ("chain breaks at position 1", forge),
    ];
    for (part, plant) in plants {
        let mut house = House::new().await;
        house.grant().await.unwrap();
        let decide = move |view: &View<'_>, changes: &mut Changes| plant(view, changes);
        house.plant(decide).await;
        let started = house.restart().await;
        assert!(started.breaches.iter().any(|what| what.contains(part)), "{part}: {:?}", started.breaches);
        assert!(matches!(house.mill.store.readiness(), Readiness::Closed { .. }), "{part}");
    }
}

#[tokio::test]
async fn a_checkpoint_that_the_chain_does_not_meet_is_a_breach() {
    let mut house = House::new().await;
    house
        .plant(|view, changes| {
            let chain = LedgerHead { sequence: 1, hash: [7; 32] };
            let events =
                view.list::<gristmill::domain::event::Recorded>(&[], Order::Ascending, 9).unwrap().len() as u64;
            changes.put(&Checkpoint { at: view.now(), chain, events: events + 5, breaches: Vec::new() });
        })
        .await;
    let found = house.restart().await.breaches.join("\n");
    assert!(found.contains("chain breaks at position 1") && found.contains("was there and is gone"), "{found}");
}
