//! What the one who booked is told of the ordinary life of a booking: that it is placed, and how it ended and what it cost.
//! Both are written in the transaction of what they tell. It refuses figures that do not add up: what is rounded is shown
//! to the last micro-credit where the rounded parts would not make the rounded whole.
use super::{House, Message, Voice, path};
use crate::app::mail::letter::{BookingConfirmed, Letter, Settled};
use crate::app::money::balance;
use crate::app::money::hold::Delivered;
use crate::base::credits::Credits;
use crate::base::text;
use crate::base::window::{Instant, Span};
use crate::domain::bookings::booking::{Booking, BookingState, EndCause, Exit};
use crate::domain::bookings::say;
use crate::domain::money::currency;
use crate::domain::money::refusal::MoneyRefusal;
use crate::domain::people::member::Team;
use crate::store::Reject;
use crate::store::changes::Changes;
use crate::store::read::{Overlaid, Read};

/// A booking is placed and its price is held. They did it themselves, so the notice is there but not new to them.
pub fn placed(
    view: &impl Read,
    changes: &mut Changes,
    (house, voice): (&House, &Voice),
    booking: &Booking,
    now: Instant,
) -> Result<(), Reject> {
    let team: Team = view.must(&booking.team)?;
    let units = units(booking);
    let held = currency::spoken(booking.held, &house.installation.currency);
    let letter = Letter::BookingConfirmed(BookingConfirmed {
        booking: (&booking.ask.title).into(),
        units: (&units).into(),
        start: say::moment(booking.window.start(), &house.zone).into(),
        end: say::moment(booking.window.end(), &house.zone).into(),
        team: team.name.as_str().into(),
        held: (&held).into(),
        path: path(booking.id),
    });
    let message = Message {
        subject: format!("“{}” is booked", booking.ask.title),
        text: format!("{units} for {}, {}; at most {held} held.", team.name, say::window(booking.window, &house.zone)),
        letter: Some(letter),
    };
    voice.note(view, changes, booking, message, now)
}

/// A booking is over and settled; `delivered` is what its leases attested.
pub fn settled(
    view: &impl Read,
    changes: &mut Changes,
    (house, voice): (&House, &Voice),
    booking: &Booking,
    delivered: &[Delivered],
    cost: Credits,
    now: Instant,
) -> Result<(), Reject> {
    let team: Team = view.must(&booking.team)?;
    let after = balance::balance(&Overlaid::new(view, changes), booking.team)?.available;
    let returned = booking.held.checked_sub(cost).map_err(MoneyRefusal::from)?;
    let code = &house.installation.currency;
    let [held, charged, returned] = currency::sum(booking.held, [cost, returned], code);
    let lasted = delivered.iter().map(|part| part.window.span()).max().unwrap_or(Span::ZERO);
    let lasted = if lasted.as_seconds() == 0 { "nothing".to_owned() } else { text::spoken(lasted) };
    let ended = how(&booking.state);
    let message = Message {
        subject: format!("“{}” has ended: {charged} charged", booking.ask.title),
        text: format!("{ended} Delivered: {lasted}. Of {held} held for it, {returned} came back to {}.", team.name),
        letter: Some(Letter::Settled(Settled {
            booking: (&booking.ask.title).into(),
            units: units(booking).into(),
            ended: ended.into(),
            delivered: lasted.into(),
            held: held.into(),
            charged: charged.into(),
            returned: returned.into(),
            team: team.name.as_str().into(),
            balance: currency::spoken(after, code).into(),
            path: format!("/statement?team={}", team.id),
        })),
    };
    voice.tell(view, changes, booking, message, now)
}

fn units(booking: &Booking) -> String {
    format!("{} × {}", booking.ask.gpus, booking.rate.model)
}

fn how(state: &BookingState) -> String {
    let text = match state {
        BookingState::Ended { cause: EndCause::Finished, exit: Some(exit), .. } => match exit {
            Exit::Code(0) => "Its command has finished.",
            Exit::Code(code) => return format!("Its command returned {code}."),
            Exit::Signal(signal) => return format!("Its command was ended by signal {signal}."),
        },
        BookingState::Ended { cause: EndCause::Finished, .. } => "Its work has finished.",
        BookingState::Ended { cause: EndCause::Released, .. } => "It was given back early.",
        BookingState::Ended { cause: EndCause::Stopped, .. } => "It was stopped.",
        BookingState::Ended { cause: EndCause::Lost, .. } => "Its node or its work was lost.",
        BookingState::Cancelled { .. } => "It was given back before it was handed over.",
        _ => "Its time was up.",
    };
    text.to_owned()
}
