//! Money through the intents and a real store: grants, statements, rates, and a document all the way to its kept PDF.
//! Needs poppler-utils (pdftotext) and hledger, which adds the whole ledger up a second time.
use std::path::PathBuf;
use std::process::Command as Process;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use gristmill::app::error::AppError;
use gristmill::app::fleet::hub::Hub;
use gristmill::app::mill::Mill;
use gristmill::app::money::hold::{Delivered, Reserve};
use gristmill::app::money::{Occasion, grant, hold, invoices, journal, price, rates, statement, verify};
use gristmill::app::people::{actor, setup};
use gristmill::app::trust::seal::Seal;
use gristmill::app::{ids, people};
use gristmill::base::credits::Credits;
use gristmill::base::hardware::Share;
use gristmill::base::ids::{BookingId, TeamId};
use gristmill::base::secret::{Secret, hex, sha256};
use gristmill::base::window::{Instant, Span, Window};
use gristmill::domain::bookings::booking::*;
use gristmill::domain::event::Cause;
use gristmill::domain::money::period;
use gristmill::domain::people::installation::{Mode, Reality};
use gristmill::domain::people::rights::Actor;
use gristmill::store::bookings::put_booking;
use gristmill::store::{Changes, Command, IdempotencyKey, Store};
use gristmill::wire::api::money::{DraftRequest, GrantRequest, RateRequest};

// 20 November 2026, 12:00 UTC.
static CLOCK: AtomicI64 = AtomicI64::new(1_795_176_000_000);

fn clock() -> Instant {
    Instant::from_millis(CLOCK.load(Ordering::Relaxed))
}

struct House {
    mill: Mill,
    admin: Actor,
    team: TeamId,
    dir: PathBuf,
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

async fn house(reality: Reality) -> House {
    let dir = std::env::temp_dir().join(format!("gristmill-money-{:x}", ids::fresh()));
    std::fs::create_dir_all(&dir).unwrap();
    let seal = Arc::new(Seal::load_or_create(&dir.join("seal")).unwrap());
    let mill = Mill::new(Store::memory(clock), seal, Arc::new(Hub::default()), "http://localhost", &dir);
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
        reality,
    };
    let made = setup::set_up(&mill, None, input, None).await.unwrap();
    let (_, admin) = actor::load(&mill.store.read().unwrap(), made.member).unwrap().unwrap();
    House { mill, admin, team: made.team, dir }
}

fn code(error: &AppError) -> &'static str {
    match error {
        AppError::Refused(refusal) => refusal.reason().code(),
        other => panic!("{other:?}"),
    }
}

impl House {
    /// Places a booking in the past and settles it as delivered in full.
    async fn use_gpus(&self, gpus: u32, window: Window, owner: Option<TeamId>) -> Credits {
        let (id, team, member) = (BookingId::from_u128(ids::fresh()), self.team, self.admin.member);
        let decide = move |view: &gristmill::store::View<'_>, now| {
            let mut changes = Changes::new();
            let rate = price::pin(view, "H200")?;
            let ask = Ask {
                model: None,
                gpus,
                shape: AskShape::OneNode,
                when: When::At { window },
                workload: Workload::Workspace,
                title: "llama finetune".into(),
            };
            let mut booking = Booking {
                id,
                team,
                member,
                ask,
                window,
                share: Share::default(),
                held: Credits::ZERO,
                rate: rate.clone(),
                leases: Vec::new(),
                attempt: 1,
                state: BookingState::Booked,
                created: now,
                warned: Vec::new(),
                due: None,
            };
            let mut occasion = Occasion { now, cause: Cause::Mill, ids: &mut ids::fresh };
            let zone = period::zone("Europe/Berlin");
            let reserve = Reserve { booking: id, team, window, gpus, pin: &rate, zone: &zone, mode: Mode::Chargeback };
            hold::place(view, &mut changes, reserve, &mut occasion)?;
            let delivered = [Delivered { window, gpus, owner, lease: None }];
            let cost = hold::settle(view, &mut changes, id, &delivered, &mut occasion)?;
            booking.state = BookingState::Ended { at: now, cause: EndCause::TimeUp, exit: None, cost };
            put_booking(&mut changes, None, &booking);
            Ok((changes, cost))
        };
        self.mill.store.write(Command::new(Cause::Mill), decide).await.unwrap()
    }

    fn breaches(&self) -> Vec<String> {
        let checks = verify::checks();
        let snapshot = self.mill.store.read().unwrap();
        checks.iter().flat_map(|check| (check.run)(&snapshot).unwrap()).collect()
    }
}

fn hours_ago(hours: i64, lasting: i64) -> Window {
    Window::lasting(clock().minus(Span::from_hours(hours)), Span::from_hours(lasting)).unwrap()
}

#[tokio::test]
async fn a_grant_sent_twice_is_given_once() {
    let house = house(Reality::Real).await;
    let request = GrantRequest { team: "vision".into(), amount: "12.50".into(), reason: "for the deadline".into() };
    let key = || Some(IdempotencyKey::new("grant-1").unwrap());
    let first = grant::grant(&house.mill, &house.admin, request.clone(), key()).await.unwrap();
    assert_eq!(first.balance.decimal, "1012.50");
    let again = grant::grant(&house.mill, &house.admin, request.clone(), key()).await.unwrap();
    assert_eq!(again.transfer, first.transfer);
    let other = GrantRequest { amount: "13".into(), ..request.clone() };
    let refused = grant::grant(&house.mill, &house.admin, other, key()).await.unwrap_err();
    assert_eq!(code(&refused), "idempotency_key_reused");
    for (team, amount, reason, answer) in [
        ("nobody", "1", "x", "not_found"),
        ("Vision", "0", "x", "amount_not_positive"),
        ("Vision", "-5", "x", "amount_not_positive"),
        ("Vision", "1,5", "x", "bad_field"),
        ("Vision", "1", " ", "bad_field"),
        ("Vision", "9223372036854", "too much for the account", "amount_too_large"),
    ] {
        let request = GrantRequest { team: team.into(), amount: amount.into(), reason: reason.into() };
        let refused = grant::grant(&house.mill, &house.admin, request, None).await.unwrap_err();
        assert_eq!(code(&refused), answer, "{team} {amount}");
    }
    let nobody = Actor { admin: false, ..house.admin.clone() };
    let refused = grant::grant(&house.mill, &nobody, request, None).await.unwrap_err();
    assert_eq!(code(&refused), "denied");
    assert_eq!(house.breaches(), [""; 0]);
}

#[tokio::test]
async fn a_statement_shows_each_step_and_can_be_read_on() {
    let house = house(Reality::Real).await;
    house.use_gpus(2, hours_ago(4, 2), None).await;
    let view = house.mill.store.read().unwrap();
    let whole = statement::statement(&view, &house.admin, "Vision", None, statement::PAGE).unwrap();
    let kinds: Vec<_> = whole.lines.iter().map(|line| line.kind.as_str()).collect();
    assert_eq!(kinds, ["delivery", "hold", "grant"], "newest first");
    assert_eq!((whole.available.decimal.as_str(), whole.next), ("988.00", None));
    assert_eq!(
        (whole.lines[0].amount.decimal.as_str(), whole.lines[0].held_change.decimal.as_str()),
        ("-12.00", "-12.00")
    );
    assert_eq!(whole.lines[1].available_after.decimal, "988.00");
    assert!(whole.lines[0].text.contains("llama finetune") && whole.lines[2].text.contains("Opening grant"));
    // Page by page it is the same statement.
    let (mut before, mut paged) = (None, Vec::new());
    loop {
        let page = statement::statement(&view, &house.admin, "Vision", before, 1).unwrap();
        paged.extend(page.lines.iter().map(|line| (line.sequence, line.amount.micros)));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(paged, whole.lines.iter().map(|line| (line.sequence, line.amount.micros)).collect::<Vec<_>>());
    let stranger = Actor { admin: false, memberships: Vec::new(), ..house.admin.clone() };
    let refused = statement::statement(&view, &stranger, "Vision", None, 10).unwrap_err();
    assert_eq!(code(&refused), "not_found");
}

#[tokio::test]
async fn rates_are_listed_and_set() {
    let house = house(Reality::Real).await;
    let request = RateRequest { model: "H200".into(), per_gpu_hour: "2.50".into() };
    let set = rates::set(&house.mill, &house.admin, request, None).await.unwrap();
    assert_eq!((set.version, set.per_gpu_hour.decimal.as_str()), (1, "2.50"));
    let listed = rates::list(&house.mill.store.read().unwrap()).unwrap();
    assert_eq!(listed, [set]);
    assert_eq!(house.use_gpus(1, hours_ago(4, 2), None).await, "5".parse().unwrap());
}

#[tokio::test]
async fn a_document_is_issued_once_and_its_pdf_never_changes() {
    let house = house(Reality::Simulated { gpus: 4 }).await;
    house.use_gpus(2, hours_ago(4, 2), None).await;
    let owner = TeamId::from_u128(ids::fresh());
    house.use_gpus(1, hours_ago(100, 48), Some(owner)).await;
    let (mill, admin) = (&house.mill, &house.admin);
    let request = DraftRequest { team: "Vision".into(), period: "2026-11".into() };
    let draft = invoices::draft(mill, admin, request.clone(), None).await.unwrap();
    assert_eq!((draft.state.as_str(), draft.total.decimal.as_str(), draft.number.clone()), ("draft", "156.00", None));
    let member = Actor { admin: false, ..admin.clone() };
    {
        let view = mill.store.read().unwrap();
        assert!(
            String::from_utf8_lossy(&invoices::pdf(&view, admin, draft.id).unwrap().bytes[..5]).starts_with("%PDF-")
        );
        assert_eq!(code(&invoices::show(&view, &member, draft.id).unwrap_err()), "not_found", "drafts are the admin's");
        assert_eq!(invoices::list(&view, &member).unwrap(), []);
    }
    let key = || Some(IdempotencyKey::new("issue-1").unwrap());
    let issued = invoices::issue(mill, admin, draft.id, key()).await.unwrap();
    assert_eq!(issued.number.as_deref(), Some("SPECIMEN-2026-0001"));
    assert_eq!(invoices::issue(mill, admin, draft.id, key()).await.unwrap(), issued, "the same answer again");
    assert_eq!(code(&invoices::issue(mill, admin, draft.id, None).await.unwrap_err()), "not_a_draft");
    let file = invoices::pdf(&mill.store.read().unwrap(), &member, draft.id).unwrap();
    assert_eq!(file.name, "SPECIMEN-2026-0001.pdf");
    assert_eq!(hex(&sha256(&file.bytes)), issued.pdf_sha256.clone().unwrap());
    let text = read_pdf(&house, &file.bytes);
    for words in
        ["SPECIMEN-2026-0001", "Institute for Machine Milling", "Vision", "llama finetune", "156.00", "November 2026"]
    {
        assert!(text.contains(words), "{words} in {text}");
    }
    let settled = invoices::settle(mill, admin, draft.id, None).await.unwrap();
    assert_eq!((settled.state.as_str(), settled.settled_at.is_some()), ("settled", true));
    assert_eq!(invoices::pdf(&mill.store.read().unwrap(), admin, draft.id).unwrap().bytes, file.bytes);
    assert_eq!(code(&invoices::draft(mill, admin, request, None).await.unwrap_err()), "nothing_to_invoice");
    assert_eq!(house.breaches(), [""; 0]);
    assert_eq!(people::setup::installation(&mill.store.read().unwrap()).unwrap().unwrap().currency, "EUR");
    added_up_by_hledger(&house);
}

fn read_pdf(house: &House, bytes: &[u8]) -> String {
    let file = house.dir.join("document.pdf");
    std::fs::write(&file, bytes).unwrap();
    let output = Process::new("pdftotext")
        .args(["-layout", file.to_str().unwrap(), "-"])
        .output()
        .unwrap_or_else(|error| panic!("pdftotext (package poppler-utils) does not run: {error}"));
    String::from_utf8(output.stdout).unwrap()
}

/// Another program adds up every account from the postings, in whole micro-credits, and must come to our balances.
fn added_up_by_hledger(house: &House) {
    let text = journal::journal(&house.mill.store.read().unwrap()).unwrap();
    let check = |text: &str| {
        let file = house.dir.join("ledger.journal");
        std::fs::write(&file, text).unwrap();
        Process::new("hledger")
            .args(["-f", file.to_str().unwrap(), "check", "--strict"])
            .output()
            .unwrap_or_else(|error| panic!("hledger (package hledger) does not run: {error}"))
    };
    let sound = check(&text);
    assert!(sound.status.success(), "{}\n{text}", String::from_utf8_lossy(&sound.stderr));
    assert!(text.contains("payout") && text.contains("fee"), "{text}");
    // The check itself must be able to fail: one micro-credit more is found.
    let harmed = text.replacen("12000000 microcredits", "12000001 microcredits", 1);
    assert_ne!(harmed, text);
    assert!(!check(&harmed).status.success());
}
