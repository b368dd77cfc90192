//! What every mail must be, whatever somebody put into a name; sending is tested in `tests/it/mail.rs`.
use proptest::prelude::*;

use super::letter::{
    BookingConfirmed, Invitation, InvoiceIssued, Letter, Line, Near, Problem, Reminder, Settled, Test,
};
use super::{House, MailError, render};
use crate::domain::notice::Sentence;

fn house() -> House {
    House { organisation: "Institute".into(), public_url: "https://mill.lab/".to_owned(), simulated: false }
}

/// One letter of each kind, with `text` wherever a person or a program can put one.
fn letters(text: &str) -> Vec<Letter> {
    let line = || Line::from(text);
    let path = || "/bookings/b-1".to_owned();
    let sentence = Sentence::new(text, text, text);
    let reminder = |near| {
        Letter::Reminder(Reminder { near, lead: line(), at: line(), booking: line(), units: line(), path: path() })
    };
    vec![
        Letter::Invitation(Invitation { inviter: line(), team: line(), role: line(), expires: line(), path: path() }),
        Letter::BookingConfirmed(BookingConfirmed {
            booking: line(),
            units: line(),
            start: line(),
            end: line(),
            team: line(),
            held: line(),
            path: path(),
        }),
        reminder(Near::Start),
        reminder(Near::End),
        Letter::Problem(Problem::new(text, &sentence, path())),
        Letter::Settled(Settled {
            booking: line(),
            units: line(),
            ended: line(),
            delivered: line(),
            held: line(),
            charged: line(),
            returned: line(),
            team: line(),
            balance: line(),
            path: path(),
        }),
        Letter::InvoiceIssued(InvoiceIssued {
            title: line(),
            number: line(),
            team: line(),
            period: line(),
            outstanding: line(),
            due: Some(line()),
            path: path(),
        }),
        Letter::Test(Test { asked_by: line(), path: path() }),
    ]
}

#[test]
fn every_letter_says_its_values_and_links_home() {
    for letter in letters("2 × H200 <b>&") {
        let mail = render(&letter, &house()).unwrap();
        assert!(mail.text.contains("2 × H200 <b>&"), "{}", mail.text);
        assert!(mail.html.contains("2 × H200 &#60;b&#62;&#38;") && !mail.html.contains("<b>"), "{}", mail.html);
        for body in [&mail.text, &mail.html] {
            assert!(body.contains("https://mill.lab/bookings/b-1"), "{body}");
            assert!(body.contains("Institute") && !body.contains("imulated") && !body.contains("{{"), "{body}");
        }
    }
}

#[test]
fn a_simulated_mill_says_so() {
    for letter in letters("x") {
        let mail = render(&letter, &House { simulated: true, ..house() }).unwrap();
        assert!(mail.subject.starts_with("[simulated] "));
        assert!(mail.text.contains("Simulated installation") && mail.html.contains("Simulated installation"));
    }
}

#[test]
fn a_text_reads_as_a_person_would_write_it() {
    let letter = Letter::InvoiceIssued(InvoiceIssued {
        title: "Internal charge".into(),
        number: "IC-2026-000012".into(),
        team: "Vision".into(),
        period: "November 2026".into(),
        outstanding: "1,261.82 EUR".into(),
        due: Some("15 December 2026".into()),
        path: "/invoices/i-12".to_owned(),
    });
    let mail = render(&letter, &house()).unwrap();
    assert_eq!(mail.subject, "Internal charge IC-2026-000012 for November 2026: 1,261.82 EUR");
    assert_eq!(
        mail.text,
        "Internal charge IC-2026-000012\n\
         \n\
         The document for Vision over November 2026 was issued. It can be read and downloaded as PDF.\n\
         \n\
         Number:      IC-2026-000012\n\
         Team:        Vision\n\
         Period:      November 2026\n\
         Outstanding: 1,261.82 EUR\n\
         Due:         15 December 2026\n\
         \n\
         Open the document:\n\
         https://mill.lab/invoices/i-12\n\
         \n\
         -- \n\
         Gristmill at Institute"
    );
}

#[test]
fn links_stay_in_the_mill() {
    let with = |path: &str| Letter::Test(Test { asked_by: "Ada".into(), path: path.to_owned() });
    for bad in ["", "https://elsewhere", "//elsewhere", "/a b", "/a\r\nb", "/\"onclick", "javascript:x"] {
        assert!(matches!(render(&with(bad), &house()), Err(MailError::Permanent { .. })), "{bad}");
    }
    for bad in ["", "mill.lab", "https://", "javascript:alert(1)", "https://mill.lab\r\n", "https://a\"b"] {
        let house = House { public_url: bad.to_owned(), ..house() };
        assert!(matches!(render(&with("/"), &house), Err(MailError::Settings { .. })), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_value_writes_a_line_of_its_own(text: String, extra in "[\r\n\t\u{0}\u{85}\u{2028}a-z:.]{0,40}") {
        let empty_lines: Vec<usize> = letters("x").iter().map(|l| render(l, &house()).unwrap().text.lines().count()).collect();
        for (letter, lines) in letters(&format!("x{text}{extra}")).iter().zip(empty_lines) {
            let mail = render(letter, &house()).unwrap();
            prop_assert!(!mail.subject.chars().any(char::is_control));
            prop_assert_eq!(mail.text.lines().count(), lines);
        }
    }
}
