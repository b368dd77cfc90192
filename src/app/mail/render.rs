//! From occasion to mail: subject, text and HTML, from a pair of templates each. It refuses links that leave the mill.
use askama::Template;

use super::letter::{
    BookingConfirmed, Invitation, InvoiceIssued, Letter, Line, Near, Problem, Reminder, Settled, Test,
};
use super::{House, Mail, MailError};

/// What the templates of one occasion see.
struct Page<'a> {
    house: &'a House,
    subject: &'a str,
    link: &'a str,
}

/// The pair of templates of one occasion.
macro_rules! pair {
    ($values:ident, $html:ident, $html_path:tt, $text:ident, $text_path:tt) => {
        #[derive(Template)]
        #[template(path = $html_path)]
        struct $html<'a> {
            page: &'a Page<'a>,
            letter: &'a $values,
        }

        #[derive(Template)]
        #[template(path = $text_path)]
        struct $text<'a> {
            page: &'a Page<'a>,
            letter: &'a $values,
        }

        impl Pair for $values {
            fn write(&self, page: &Page<'_>) -> Result<(String, String), askama::Error> {
                let text = $text { page, letter: self }.render()?;
                Ok((text, $html { page, letter: self }.render()?))
            }
        }
    };
}

trait Pair {
    fn write(&self, page: &Page<'_>) -> Result<(String, String), askama::Error>;
}

pair!(Invitation, InvitationHtml, "mail/invitation.html", InvitationText, "mail/invitation.txt");
pair!(BookingConfirmed, ConfirmedHtml, "mail/booking_confirmed.html", ConfirmedText, "mail/booking_confirmed.txt");
pair!(Reminder, ReminderHtml, "mail/reminder.html", ReminderText, "mail/reminder.txt");
pair!(Problem, ProblemHtml, "mail/problem.html", ProblemText, "mail/problem.txt");
pair!(Settled, SettledHtml, "mail/settled.html", SettledText, "mail/settled.txt");
pair!(InvoiceIssued, InvoiceHtml, "mail/invoice_issued.html", InvoiceText, "mail/invoice_issued.txt");
pair!(Test, TestHtml, "mail/test.html", TestText, "mail/test.txt");

/// Writes the mail for an occasion.
pub fn render(letter: &Letter, house: &House) -> Result<Mail, MailError> {
    let mark = if house.simulated { "[simulated] " } else { "" };
    let subject = Line::from(format!("{mark}{}", subject(letter, house))).to_string();
    let (path, pair): (&str, &dyn Pair) = match letter {
        Letter::Invitation(values) => (&values.path, values),
        Letter::BookingConfirmed(values) => (&values.path, values),
        Letter::Reminder(values) => (&values.path, values),
        Letter::Problem(values) => (&values.path, values),
        Letter::Settled(values) => (&values.path, values),
        Letter::InvoiceIssued(values) => (&values.path, values),
        Letter::Test(values) => (&values.path, values),
    };
    let link = link(&house.public_url, path)?;
    let (text, html) = pair.write(&Page { house, subject: &subject, link: &link })?;
    Ok(Mail { subject, text, html })
}

fn subject(letter: &Letter, house: &House) -> String {
    match letter {
        Letter::Invitation(it) => format!("{} invites you to the GPUs of {}", it.inviter, house.organisation),
        Letter::BookingConfirmed(it) => format!("Booked: {}, {} from {}", it.booking, it.units, it.start),
        Letter::Reminder(Reminder { near: Near::Start, lead, booking, .. }) => format!("{booking} starts in {lead}"),
        Letter::Reminder(Reminder { near: Near::End, lead, booking, .. }) => format!("{booking} ends in {lead}"),
        Letter::Problem(it) => format!("{}: {}", it.about, it.what.as_str().trim_end_matches('.')),
        Letter::Settled(it) => format!("{} has ended: {} charged", it.booking, it.charged),
        Letter::InvoiceIssued(it) => format!("{} {} for {}: {}", it.title, it.number, it.period, it.outstanding),
        Letter::Test(_) => format!("Test mail from Gristmill at {}", house.organisation),
    }
}

/// The address of a page of this mill.
fn link(public_url: &str, path: &str) -> Result<String, MailError> {
    let base = public_url.trim_end_matches('/');
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_graphic() && !"\"'<>\\`".contains(c));
    let known =
        ["https://", "http://"].iter().any(|scheme| base.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    if !known || !plain(base) {
        return Err(MailError::Settings {
            cause: format!("the public address {public_url:?} is not an https:// or http:// address; set --public-url"),
        });
    }
    if !path.starts_with('/') || path.starts_with("//") || !plain(path) {
        return Err(MailError::Permanent { cause: "its link does not lead to a page of this mill".to_owned() });
    }
    Ok(format!("{base}{path}"))
}
