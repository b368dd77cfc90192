//! The end of a booking: what its leases delivered is posted, the rest given back, and the booking says how it ended, all
//! in the transaction that learned of it. It refuses to bill beyond what was granted, attested, and asked for.
use super::leases;
use super::{House, Message, Voice, tell, with_occasion};
use crate::app::mail::letter::{Letter, Problem};
use crate::app::money::hold::{self, Delivered};
use crate::base::credits::Credits;
use crate::base::window::Instant;
use crate::domain::bookings::booking::{Booking, BookingState, EndCause};
use crate::domain::bookings::grant;
use crate::domain::bookings::lease::{Lease, LeaseState};
use crate::domain::bookings::transition::{self, Over};
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::node::Node;
use crate::domain::notice::Sentence;
use crate::store::Reject;
use crate::store::changes::Changes;
use crate::store::read::{Read, StoreError};

/// What leases delivered, nothing after `limit`.
pub fn delivered(view: &impl Read, leases: &[Lease], limit: Instant) -> Result<Vec<Delivered>, StoreError> {
    let mut all = Vec::new();
    for lease in leases {
        let until = match lease.state {
            LeaseState::Ended { at, .. } => at.min(limit),
            _ => limit,
        };
        let until = lease.proof.map_or(until, |proof| until.min(proof));
        let Some(window) = grant::delivered(lease.window, leases::ready(lease), until) else { continue };
        let owner = view.must::<Node>(&lease.node)?.owner;
        let gpus = u32::try_from(lease.units.len()).unwrap_or(u32::MAX);
        all.push(Delivered { window, gpus, owner, lease: Some(lease.id) });
    }
    Ok(all)
}

/// Nothing after this instant is billed: what was given back is not, whenever the node got round to it.
pub fn limit(booking: &Booking, now: Instant) -> Instant {
    match booking.state {
        BookingState::Ending { since, cause: EndCause::Released | EndCause::Stopped } => since.ceil_second().min(now),
        _ => now,
    }
}

/// In what circumstances a booking ends.
pub struct Scene<'a, R: Read> {
    pub view: &'a R,
    pub house: &'a House,
    pub voice: &'a Voice,
    pub now: Instant,
    pub cause: Cause,
}

/// Settles a booking whose leases are over (or given up) and closes it. `limit` bounds what is billed.
pub fn finish<R: Read>(
    scene: &Scene<R>,
    changes: &mut Changes,
    before: &Booking,
    leases: &[Lease],
    limit: Instant,
) -> Result<Booking, Reject> {
    let Scene { view, house, voice, now, cause } = *scene;
    let delivered = delivered(view, leases, limit)?;
    let cost = with_occasion(now, cause, |o| hold::settle(view, changes, before.id, &delivered, o))?;
    let over = how(leases, limit, cost);
    let after = transition::end(before.clone(), over)?;
    let lost = matches!(after.state, BookingState::Ended { cause: EndCause::Lost, .. });
    changes.event(
        cause,
        match after.state {
            BookingState::Cancelled { .. } => Event::BookingCancelled { booking: after.id },
            _ => Event::BookingEnded { booking: after.id },
        },
    );
    if lost {
        let until = match leases.iter().any(|lease| lease.proof.is_some()) {
            true => "A GPU of it failed. It was charged {} credits, up to that GPU’s last sign of life.",
            false => "Its node or its work was lost. It was charged {} credits, up to the last word of the node.",
        };
        let text = until.replace("{}", &cost.to_string());
        let message = Message { subject: format!("“{}” was lost", after.ask.title), text, letter: None };
        voice.tell(view, changes, &after, message, now)?;
    } else {
        tell::settled(view, changes, (house, voice), &after, &delivered, cost, now)?;
    }
    Ok(house.put(changes, Some(before), after, now))
}

fn how(leases: &[Lease], limit: Instant, cost: Credits) -> Over {
    let mut over = Over {
        at: limit,
        cause: EndCause::Lost,
        exit: None,
        cost,
        delivered: leases.iter().any(|lease| leases::ready(lease).is_some()),
    };
    let ends = leases.iter().filter_map(|lease| match lease.state {
        LeaseState::Ended { at, cause, exit, .. } => Some((at, cause, exit)),
        _ => None,
    });
    if let Some((at, cause, exit)) = ends.max_by_key(|(at, ..)| *at) {
        // A node that stopped by itself at the end of the window says so; the word of the last lease counts.
        over = Over { at, cause, exit, ..over };
    }
    over
}

/// The mill could not deliver: what was held is given back, apart from what was delivered before.
pub fn give_up<R: Read>(
    scene: &Scene<R>,
    changes: &mut Changes,
    before: &Booking,
    why: &str,
) -> Result<Booking, Reject> {
    let Scene { view, house, voice, now, cause } = *scene;
    let cost = with_occasion(now, cause, |o| hold::settle(view, changes, before.id, &[], o))?;
    let after = transition::fail(before.clone(), now, why.to_owned(), cost)?;
    changes.event(cause, Event::BookingFailed { booking: after.id });
    let said = Sentence::new(
        sentence(why),
        if cost.is_zero() {
            "Nothing was charged, and what was held is free again."
        } else {
            "The rest of what was held is free again."
        },
        "Place it anew: the mill offers the earliest slot.",
    );
    let subject = format!("“{}” could not be started", after.ask.title);
    let letter = Letter::Problem(Problem::new(&after.ask.title, &said, super::path(after.id)));
    let text = format!("{} {} {}", said.what, said.why, said.next);
    voice.tell(view, changes, &after, Message { subject, text, letter: Some(letter) }, now)?;
    Ok(house.put(changes, Some(before), after, now))
}

fn sentence(why: &str) -> String {
    format!("{}.", why.trim_end_matches('.'))
}
