//! How a booking is said in a word, a headline and a line: the same on every page. It refuses to explain; the intent's own
//! explanation does.
use crate::base::window::{Instant, Span};
use crate::web::figure::Money;
use crate::web::format::{self, Zone};
use crate::wire::api::bookings::BookingView;

/// The colour of a state; the badge says the word as well.
pub fn tone(state: &str) -> &'static str {
    match state {
        "booked" => "wheat",
        "starting" | "active" | "ending" => "water",
        "ended" => "moss",
        "failed" => "rust",
        _ => "",
    }
}

pub fn live(booking: &BookingView) -> bool {
    matches!(booking.state.as_str(), "booked" | "starting" | "active" | "ending")
}

pub fn title(booking: &BookingView) -> String {
    if booking.title.is_empty() { format!("Booking {}", booking.id.short()) } else { booking.title.clone() }
}

/// The answer on the booking's page.
pub fn headline(booking: &BookingView, zone: &Zone, now: Instant) -> String {
    let (start, end) = (booking.start.0, booking.end.0);
    match booking.state.as_str() {
        "booked" => format!("Booked for {}", zone.moment(start, now)),
        "starting" => "Starting now".to_owned(),
        "active" => format!("Active until {}", zone.end(now, end, now)),
        "ending" => "Ending now".to_owned(),
        "ended" => match (booking.cause.as_deref(), booking.exit_code) {
            (Some("finished"), Some(0)) => "Finished well".to_owned(),
            (Some("finished"), Some(code)) => format!("Finished with exit code {code}"),
            (Some("finished"), None) => "Finished".to_owned(),
            (Some("released"), _) => "Given back early".to_owned(),
            (Some("lost"), _) => "Ended: its node was lost".to_owned(),
            (Some("stopped"), _) => "Ended by an admin".to_owned(),
            _ => "Ended: its time was up".to_owned(),
        },
        "cancelled" => "Cancelled".to_owned(),
        "failed" => "It could not be delivered".to_owned(),
        other => other.to_owned(),
    }
}

/// `2 × H200 on stone-1, in 3 h`.
pub fn beneath(booking: &BookingView, now: Instant) -> String {
    let (start, end) = (booking.start.0, booking.end.0);
    let what = format!("{} × {}{}", booking.gpus, booking.model, nodes(booking));
    let minutes = |span: Span| format::span(Span::from_minutes((span.as_seconds() + 59) / 60));
    match booking.state.as_str() {
        "booked" if start > now => format!("{what}. Starts in {}.", minutes(start.since(now))),
        "active" if end > now => format!("{what}. {} left.", minutes(end.since(now))),
        _ => format!("{what}."),
    }
}

fn nodes(booking: &BookingView) -> String {
    let mut names: Vec<&str> = booking.leases.iter().map(|lease| lease.node_name.as_str()).collect();
    names.dedup();
    if names.is_empty() { String::new() } else { format!(" on {}", names.join(", ")) }
}

/// `Tue 24 Nov 18:00 to 20:00`.
pub fn window(booking: &BookingView, zone: &Zone, now: Instant) -> String {
    let (start, end) = (booking.start.0, booking.end.0);
    format!("{} to {}", zone.moment(start, now), zone.end(start, end, now))
}

/// What it cost, or may cost at most while that is open.
pub fn cost(booking: &BookingView, money: &Money) -> String {
    match &booking.cost {
        Some(cost) => money.alone(cost.credits()),
        None => format!("≤ {}", money.alone(booking.price.credits())),
    }
}

/// As a shell line: what `sh -c` was given, or the arguments with quotes where they need some.
pub fn command(arguments: &[String]) -> String {
    if let [shell, flag, line] = arguments
        && shell == "sh"
        && flag == "-c"
    {
        return line.clone();
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    let quoted = arguments.iter().map(|argument| match argument.chars().all(plain) && !argument.is_empty() {
        true => argument.clone(),
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_read_as_a_shell_takes_them() {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(command(&words(&["sh", "-c", "echo hello; exit 3"])), "echo hello; exit 3");
        assert_eq!(command(&words(&["python", "train it.py", "--lr=1"])), "python 'train it.py' --lr=1");
        assert_eq!(command(&words(&["echo", "it's", ""])), r"echo 'it'\''s' ''");
    }
}
