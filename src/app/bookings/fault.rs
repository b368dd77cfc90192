//! What a GPU's fault means for bookings: what runs on it ends and is not charged since its last sign of life, and what is
//! booked on it moves to equal hardware, or its people are told and choose, or it is given back. It refuses to keep a word
//! from whoever it was promised to.
use super::leases;
use super::relocate::{Need, Step, drop_waiting, elsewhere, is_waiting, moved};
use super::settle::{self, Scene};
use super::{House, Message, Voice};
use crate::app::error::Answer;
use crate::app::mill::Mill;
use crate::base::ids::{BookingId, UnitId};
use crate::base::text::spoken;
use crate::base::window::{Instant, Span};
use crate::domain::bookings::booking::{Booking, BookingState, EndCause};
use crate::domain::bookings::lease::Lease;
use crate::domain::bookings::say;
use crate::domain::event::Cause;
use crate::domain::fleet::duty::LAST_CALL;
use crate::domain::fleet::health::GpuHealth;
use crate::domain::fleet::node::{Node, Unit};
use crate::store::changes::Changes;
use crate::store::read::Read as _;
use crate::store::{Command, Reject, View};

const CAUSE: Cause = Cause::Mill;

/// What broke under a lease.
pub struct Broken<'a> {
    /// `GPU 3 of stone-1`.
    pub gpu: &'a str,
    pub what: &'a str,
    pub at: Instant,
    /// The GPU's last sign of life before that.
    pub proof: Instant,
}

/// Ends a lease whose GPU failed; nothing after the proof is charged.
pub fn end(
    (view, house, voice): (&View<'_>, &House, &Voice),
    changes: &mut Changes,
    cause: Cause,
    mut lease: Lease,
    broken: &Broken<'_>,
    now: Instant,
) -> Result<Lease, Reject> {
    let Broken { gpu, what, at, proof } = *broken;
    let proof = proof.max(lease.window.start());
    lease.proof = Some(lease.proof.map_or(proof, |known| known.min(proof)));
    let booking: Booking = view.must(&lease.booking)?;
    let ended = leases::stop(changes, cause, lease, now, EndCause::Lost, None);
    let before = Span::from_millis(at.since(proof).as_millis().max(0));
    let zone = &house.zone;
    let since = match before >= Span::from_seconds(1) {
        true => format!("Its last sign of life was {} before that; since then nothing is charged.", spoken(before)),
        false => "Since then nothing is charged.".to_owned(),
    };
    let text = format!("{gpu} failed at {} ({what}), and what ran on it ends. {since}", say::moment(at, zone));
    let subject = format!("“{}” lost its GPU", booking.ask.title);
    voice.tell(view, changes, &booking, Message { subject, text, letter: None }, now)?;
    Ok(ended)
}

/// Takes a booking that waits off a unit that is out of service; answers whether anything was changed.
pub async fn displace(mill: &Mill, booking: BookingId, unit: UnitId, _: Instant) -> Answer<bool> {
    let voice = Voice::of(mill);
    let decide = move |view: &View<'_>, now: Instant| {
        let house = House::read(view)?;
        let scene = Scene { view, house: &house, voice: &voice, now, cause: CAUSE };
        let mut changes = Changes::new();
        let changed = clear(&scene, view, &mut changes, booking, unit)?;
        Ok((changes, changed))
    };
    Ok(mill.store.write(Command::new(CAUSE), decide).await?)
}

fn clear(
    scene: &Scene<View<'_>>,
    view: &View<'_>,
    changes: &mut Changes,
    booking: BookingId,
    unit: UnitId,
) -> Result<bool, Reject> {
    let now = scene.now;
    let booking: Booking = view.must(&booking)?;
    let leases = leases::of_booking(view, &booking)?;
    let out = view.get::<GpuHealth>(&unit)?.filter(|row| !row.state.stage().is_bookable());
    let lease = leases.iter().find(|lease| lease.units.contains(&unit));
    let (Some(row), Some(lease)) = (out, lease) else { return Ok(false) };
    if booking.state != BookingState::Booked || !leases.iter().all(is_waiting) {
        return Ok(false);
    }
    let step = Step { booking: booking.id, node: lease.node, need: Need::OutOfService };
    if let Some(placement) = elsewhere(scene, view, &booking, lease, step)? {
        return moved(scene, view, changes, booking, &leases, &placement, step).map(|()| true);
    }
    if now < booking.window.start().minus(LAST_CALL) {
        return told(scene, changes, &booking, row);
    }
    drop_waiting(view, changes, &leases, now)?;
    let gpu = name(view, unit)?;
    settle::give_up(scene, changes, &booking, &format!("{gpu} is out of service, and no equal GPUs were free"))?;
    Ok(true)
}

fn name(view: &View<'_>, unit: UnitId) -> Result<String, Reject> {
    let unit: Unit = view.must(&unit)?;
    Ok(format!("GPU {} of {}", unit.index, view.must::<Node>(&unit.node)?.name))
}

/// Says once that there is nothing free elsewhere as yet.
fn told(scene: &Scene<View<'_>>, changes: &mut Changes, booking: &Booking, mut row: GpuHealth) -> Result<bool, Reject> {
    if row.told.contains(&booking.id) {
        return Ok(false);
    }
    let Scene { view, voice, now, .. } = *scene;
    let text = format!(
        "{} is out of service ({}). Equal GPUs are looked for until an hour before the start; if none come free, the booking \
         is given back and nothing is charged. You can also cancel it now and book another time.",
        name(view, row.unit)?,
        row.state.why()
    );
    let subject = format!("A GPU of “{}” is out of service", booking.ask.title);
    voice.tell(view, changes, booking, Message { subject, text, letter: None }, now)?;
    row.told.push(booking.id);
    changes.put(&row);
    Ok(true)
}
