//! Mail over a real SMTP conversation: what arrives, and what each refusal means for the queue.
mod booked;

use gristmill::app::mail::letter::{Letter, Line, Problem};
use gristmill::app::mail::{House, Mail, MailError, Recipient, Settings, render, send};
use gristmill::base::secret::Secret;
use gristmill::base::window::Instant;
use gristmill::domain::notice::Sentence;
use gristmill::domain::people::installation::SmtpSecurity;

use crate::smtp_sink::{Fault, Sink};

const NOW: Instant = Instant::from_seconds(1_796_086_800);

fn settings(sink: &Sink) -> Settings {
    Settings {
        host: sink.address.ip().to_string(),
        port: sink.address.port(),
        security: SmtpSecurity::None,
        user: None,
        password: None,
        from: "Gristmill <gpu@institute.example>".into(),
    }
}

fn ada() -> Recipient {
    Recipient { name: Line::from("Ada Ökafor"), address: "ada@institute.example".parse().unwrap() }
}

fn mail() -> Mail {
    let sentence = Sentence::new(
        "Your booking could not start on stone-1.",
        "The node has not answered since 14:02 (Berlin time).",
        "Take the offered replacement, or cancel free of charge.",
    );
    let house = House { organisation: "Institute".into(), public_url: "https://mill.lab".into(), simulated: false };
    render(&Letter::Problem(Problem::new("Müller’s finetune", &sentence, "/bookings/b-7")), &house).unwrap()
}

#[tokio::test]
async fn a_mail_arrives_as_text_and_html() {
    let sink = Sink::start().await;
    send(&settings(&sink), &ada(), &mail(), "notice-01", NOW).await.unwrap();
    let mails = sink.mails();
    let [received] = mails.as_slice() else { panic!("{mails:?}") };
    assert_eq!(
        (received.from.as_str(), received.to.as_slice()),
        ("gpu@institute.example", ["ada@institute.example".to_owned()].as_slice())
    );
    assert_eq!(received.header("Message-ID").as_deref(), Some("<notice-01@institute.example>"));
    assert_eq!(received.header("Auto-Submitted").as_deref(), Some("auto-generated"));
    assert_eq!(received.header("Date").as_deref(), Some("Tue, 01 Dec 2026 01:00:00 +0000"));
    assert_eq!(received.header("From").as_deref(), Some("Gristmill <gpu@institute.example>"));
    assert!(received.header("To").unwrap().contains("<ada@institute.example>"));
    assert!(received.header("Subject").unwrap().starts_with("=?utf-8?"));
    for kind in ["text/plain", "text/html"] {
        let body = received.part(kind);
        for said in [
            "could not start on stone-1",
            "since 14:02",
            "free of charge",
            "https://mill.lab/bookings/b-7",
            "Müller’s finetune",
        ] {
            assert!(body.contains(said), "{said} is missing in\n{body}");
        }
    }
    assert_eq!(sink.logins(), Vec::<String>::new());
}

#[tokio::test]
async fn refusals_say_whether_to_try_again() {
    let sink = Sink::start().await;
    for (fault, last) in [
        (Fault::Answer("RCPT", "550 5.1.1 no such user"), true),
        (Fault::Answer("RCPT", "451 4.7.1 come back later"), false),
        (Fault::Answer("MAIL", "452 4.3.1 no room"), false),
        (Fault::Answer(".", "554 5.7.1 looks like spam"), true),
        (Fault::Answer("EHLO", "421 4.3.2 closing"), false),
    ] {
        let shown = format!("{fault:?}");
        sink.fail_next(fault);
        let error = send(&settings(&sink), &ada(), &mail(), "notice-02", NOW).await.unwrap_err();
        let as_wanted = if last {
            matches!(error, MailError::Permanent { .. })
        } else {
            matches!(error, MailError::Transient { .. })
        };
        assert!(as_wanted && error.is_final() == last, "{shown}: {error:?}");
    }
    assert!(sink.mails().is_empty());
    sink.fail_next(Fault::Answer("RCPT", "550 5.1.1 no such user"));
    let error = send(&settings(&sink), &ada(), &mail(), "notice-02", NOW).await.unwrap_err();
    assert!(error.to_string().contains("no such user"), "{error}");
}

#[tokio::test]
async fn a_mail_sent_again_keeps_its_name() {
    let sink = Sink::start().await;
    sink.fail_next(Fault::HangUpAfterKeeping);
    let unclear = send(&settings(&sink), &ada(), &mail(), "notice-03", NOW).await.unwrap_err();
    assert!(matches!(unclear, MailError::Transient { .. }), "{unclear:?}");
    send(&settings(&sink), &ada(), &mail(), "notice-03", NOW).await.unwrap();
    let names: Vec<_> = sink.mails().iter().map(|mail| mail.header("Message-ID")).collect();
    assert_eq!(names, vec![Some("<notice-03@institute.example>".to_owned()); 2]);
}

#[tokio::test]
async fn settings_that_cannot_work_keep_the_mail() {
    let sink = Sink::start().await;
    let fine = settings(&sink);
    let broken = [
        Settings { host: "mail.institute.example".into(), ..fine.clone() },
        Settings { host: String::new(), ..fine.clone() },
        Settings { from: "nobody".into(), ..fine.clone() },
        Settings { from: "a@b.example\r\nBcc: x@y.example".into(), ..fine.clone() },
    ];
    for settings in broken {
        let error = send(&settings, &ada(), &mail(), "notice-04", NOW).await.unwrap_err();
        assert!(matches!(error, MailError::Settings { .. }) && !error.is_final(), "{settings:?}: {error:?}");
    }
    // A relay that does not offer the encryption that was chosen gets nothing.
    let unencrypted = Settings { security: SmtpSecurity::StartTls, ..fine.clone() };
    let error = send(&unencrypted, &ada(), &mail(), "notice-04", NOW).await.unwrap_err();
    assert!(matches!(error, MailError::Settings { .. }), "{error:?}");

    sink.fail_next(Fault::Answer("AUTH", "535 5.7.8 wrong password"));
    let with_user = Settings { user: Some("mill".into()), password: Some(Secret::new("s3cret")), ..fine };
    let error = send(&with_user, &ada(), &mail(), "notice-04", NOW).await.unwrap_err();
    assert!(matches!(error, MailError::Settings { .. }), "{error:?}");
    assert!(!format!("{error:?} {error} {with_user:?}").contains("s3cret"));
    assert!(sink.mails().is_empty());
    send(&with_user, &ada(), &mail(), "notice-04", NOW).await.unwrap();
    assert_eq!(sink.logins(), ["mill:s3cret"]);
}

#[tokio::test]
async fn no_header_can_be_smuggled_in() {
    let sink = Sink::start().await;
    let mut evil = mail();
    evil.subject = "Hello\r\nBcc: victim@elsewhere.example\r\n\r\nbody".into();
    let recipient = Recipient { name: Line::from("Ada\r\nBcc: victim@elsewhere.example"), ..ada() };
    send(&settings(&sink), &recipient, &evil, "notice-05", NOW).await.unwrap();
    let [received] = sink.mails().try_into().expect("one mail");
    assert_eq!(received.to, ["ada@institute.example"]);
    assert_eq!(received.header("Bcc"), None);
    for bad in ["", "a b", "a\r\nBcc: x@y.example", "a>b"] {
        let error = send(&settings(&sink), &ada(), &mail(), bad, NOW).await.unwrap_err();
        assert!(matches!(error, MailError::Permanent { .. }), "{bad}: {error:?}");
    }
}

#[tokio::test]
async fn a_relay_that_is_not_there_is_tried_later() {
    let sink = Sink::start().await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nowhere = Settings { port: free.port(), ..settings(&sink) };
    let error = send(&nowhere, &ada(), &mail(), "notice-06", NOW).await.unwrap_err();
    assert!(matches!(error, MailError::Transient { .. }), "{error:?}");
}
