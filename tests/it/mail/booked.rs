//! What the one who booked gets by mail, from the transaction to the relay: a confirmation, and in the end the settlement.
use gristmill::app::outbox::{self, MailInput};
use gristmill::app::people::notices;
use gristmill::base::window::{Instant, Span};
use gristmill::domain::people::installation::{Mode, SmtpSecurity};
use gristmill::domain::people::member::Notice;
use gristmill::domain::people::rights::Actor;
use gristmill::store::people::OutboxMail;
use gristmill::store::read::{Order, Read as _};
use gristmill::wire::node::{FactCause, FactState};

use crate::bookings::yard::{START, Yard, at, clock, soon};
use crate::smtp_sink::{Fault, Received, Sink};

async fn yard_with(sink: &Sink, clock: crate::bookings::yard::Clock) -> Yard {
    let yard = Yard::new(clock, Mode::Showback, &[2]).await;
    let input = MailInput {
        host: sink.address.ip().to_string(),
        port: sink.address.port(),
        security: SmtpSecurity::None,
        user: None,
        password: None,
        from: "Gristmill <gpu@institute.example>".into(),
    };
    let admin = Actor { admin: true, ..yard.ada.clone() };
    outbox::set_mail(&yard.mill, &admin, Some(input)).await.unwrap();
    yard
}

fn told(yard: &Yard, who: &Actor) -> Vec<Notice> {
    notices::list(&yard.mill.store.read().unwrap(), who.member).unwrap()
}

fn waiting(yard: &Yard) -> usize {
    yard.mill.store.read().unwrap().list::<OutboxMail>(&[], Order::Ascending, 100).unwrap().len()
}

fn says(mail: &Received, all: &[&str]) {
    for kind in ["text/plain", "text/html"] {
        let body = mail.part(kind);
        for said in all {
            assert!(body.contains(said), "{said} is missing in\n{body}");
        }
    }
}

#[tokio::test]
async fn a_booking_is_confirmed_and_settled_by_mail() {
    let sink = Sink::start().await;
    let yard = yard_with(&sink, clock!()).await;
    let booking = yard.book(&yard.ada, soon(2, 2)).await.unwrap();
    assert_eq!(outbox::deliver(&yard.mill).await.unwrap(), 1);
    let [confirmed] = sink.mails().try_into().expect("one mail");
    assert_eq!(confirmed.to, ["ada@lab.example"]);
    let page = format!("http://localhost/bookings/{}", booking.id);
    let facts = ["Workspace on 2 GPUs", "2 × H200", "Mon 23 Nov 2026 08:00 UTC", "Mon 23 Nov 2026 10:00 UTC", "Vision"];
    says(&confirmed, &facts);
    says(&confirmed, &["12.00 EUR", &page]);
    let [notice] = told(&yard, &yard.ada).try_into().expect("one notice");
    assert_eq!(notice.subject, "“Workspace on 2 GPUs” is booked");
    assert!(notice.text.contains("Mon 23 Nov 2026 08:00 to 10:00 UTC") && notice.text.contains("12.00 EUR"));
    assert!(notice.read, "what they have just done is no news to them");

    yard.pass_seconds(0).await;
    yard.ready(&booking).await;
    yard.pass(Span::from_minutes(30)).await;
    yard.release(booking.id).await.unwrap();
    assert_eq!(waiting(&yard), 0, "settled only when the node has ended it");
    let elapsed = Span::from_minutes(30);
    let state = FactState::Ended { elapsed, ago: Span::ZERO, code: None, signal: None, cause: FactCause::Stopped };
    yard.report(&booking, state).await;
    assert_eq!(outbox::deliver(&yard.mill).await.unwrap(), 1);
    let settled = sink.mails().pop().unwrap();
    assert_eq!(settled.to, ["ada@lab.example"]);
    says(&settled, &["has ended and is settled", "It was given back early.", "30 min", "12.00 EUR", "3.00 EUR"]);
    says(&settled, &["9.00 EUR", "-3.00 EUR", &format!("http://localhost/statement?team={}", yard.vision)]);
    assert_eq!(yard.balance().available.to_string(), "-3.00", "as the mail says");
    let newest = told(&yard, &yard.ada).remove(0);
    assert_eq!(newest.subject, "“Workspace on 2 GPUs” has ended: 3.00 EUR charged");
    assert!(!newest.read);
    assert!(told(&yard, &yard.bo).is_empty(), "only the one who booked is told");
    yard.verify();
}

#[tokio::test]
async fn what_is_refused_or_asked_again_sends_nothing() {
    let sink = Sink::start().await;
    let yard = yard_with(&sink, clock!()).await;
    assert!(yard.book(&yard.ada, soon(3, 1)).await.is_err());
    assert_eq!((waiting(&yard), told(&yard, &yard.ada).len()), (0, 0));
    let key = || Some(gristmill::store::IdempotencyKey::new("form-7").unwrap());
    for _ in 0..2 {
        let now = yard.now();
        gristmill::app::bookings::place::book(&yard.mill, &yard.ada, at(1, 1, 1), key(), now).await.unwrap();
    }
    assert_eq!((waiting(&yard), told(&yard, &yard.ada).len()), (1, 1));
}

#[tokio::test]
async fn a_command_that_fails_says_so_and_small_sums_add_up() {
    let sink = Sink::start().await;
    let yard = yard_with(&sink, clock!()).await;
    let command = Some(vec!["train".to_owned()]);
    let request = gristmill::wire::api::bookings::BookRequest { command, ..soon(1, 1) };
    let booking = yard.book(&yard.ada, request).await.unwrap();
    yard.pass_seconds(0).await;
    yard.ready(&booking).await;
    yard.pass_seconds(6).await;
    let elapsed = Span::from_seconds(6);
    let state = FactState::Ended { elapsed, ago: Span::ZERO, code: Some(3), signal: None, cause: FactCause::Finished };
    yard.report(&booking, state).await;
    outbox::deliver(&yard.mill).await.unwrap();
    let settled = sink.mails().pop().unwrap();
    // 6 s at 3.00 an hour are half a cent: rounded, 0.01 and 3.00 would not make 3.00.
    says(&settled, &["Its command returned 3.", "3.000 EUR", "0.005 EUR", "2.995 EUR", "6 s"]);
}

#[tokio::test]
async fn without_a_relay_the_notices_are_still_there_and_a_busy_relay_is_tried_later() {
    let sink = Sink::start().await;
    let plain = Yard::new(clock!(), Mode::Showback, &[1]).await;
    plain.book(&plain.ada, soon(1, 1)).await.unwrap();
    assert_eq!((waiting(&plain), told(&plain, &plain.ada).len()), (0, 1));

    let yard = yard_with(&sink, clock!()).await;
    sink.fail_next(Fault::Answer("RCPT", "451 4.7.1 come back later"));
    yard.book(&yard.ada, soon(1, 1)).await.unwrap();
    assert_eq!((outbox::deliver(&yard.mill).await.unwrap(), waiting(&yard)), (0, 1));
    // It waits its time; a newer mail is not held up by it.
    yard.book(&yard.bo, soon(1, 1)).await.unwrap();
    assert_eq!((outbox::deliver(&yard.mill).await.unwrap(), waiting(&yard)), (1, 1));
    let [received] = sink.mails().try_into().expect("one mail");
    assert_eq!(received.to, ["bo@lab.example"]);
    assert_eq!(yard.now(), Instant::from_millis(START));
}

#[tokio::test]
async fn the_sender_wakes_when_somebody_is_told_something() {
    let sink = Sink::start().await;
    let yard = yard_with(&sink, clock!()).await;
    let sender = tokio::spawn(outbox::run(yard.mill.clone()));
    let arrived = async |count: usize| {
        while sink.mails().len() < count {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    for count in 1..=2 {
        yard.book(&yard.ada, at(1, 5, 1)).await.unwrap();
        // It looks by itself after half a minute.
        tokio::time::timeout(std::time::Duration::from_secs(25), arrived(count)).await.expect("it wakes at once");
    }
    sender.abort();
}
