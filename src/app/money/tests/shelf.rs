//! Rows in a map, with what every test of money needs around it.
use std::collections::BTreeMap;
use std::ops::Bound;

use jiff::tz::TimeZone;

use crate::app::money::hold::{Delivered, Reserve};
use crate::app::money::{Occasion, balance, document, grant, hold, verify};
use crate::base::credits::Credits;
use crate::base::hardware::Share;
use crate::base::ids::*;
use crate::base::window::{Instant, Span, Window};
use crate::domain::bookings::booking::*;
use crate::domain::event::Cause;
use crate::domain::money::account::Balance;
use crate::domain::money::invoice::Document;
use crate::domain::money::period;
use crate::domain::money::transfer::Transfer;
use crate::domain::people::installation::{Installation, Mode, Reality};
use crate::domain::people::member::Team;
use crate::store::bookings::put_booking;
use crate::store::read::RawRow;
use crate::store::tables::Table;
use crate::store::{Changes, Order, Read, Reject, StoreError};

pub struct Shelf {
    pub rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    pub now: Instant,
    pub zone: TimeZone,
    pub mode: Mode,
    next: u128,
}

impl Read for Shelf {
    fn raw(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.rows.get(&(table, key.to_vec())).cloned())
    }

    fn raw_range(
        &self,
        table: Table,
        from: Bound<Vec<u8>>,
        to: Bound<Vec<u8>>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<RawRow>, StoreError> {
        let bounds = (from, to);
        let inside = self
            .rows
            .range((table, Vec::new())..)
            .take_while(|((t, _), _)| *t == table)
            .filter(|((_, key), _)| std::ops::RangeBounds::contains(&bounds, key))
            .map(|((_, key), value)| (key.clone(), value.clone()));
        let mut rows: Vec<RawRow> = inside.collect();
        if order == Order::Descending {
            rows.reverse();
        }
        rows.truncate(limit);
        Ok(rows)
    }
}

pub fn credits(text: &str) -> Credits {
    text.parse().unwrap()
}

pub fn at(text: &str) -> Instant {
    Instant::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

pub fn window(start: &str, end: &str) -> Window {
    Window::new(at(start), at(end)).unwrap()
}

pub fn team(number: u128) -> TeamId {
    TeamId::from_u128(number)
}

pub fn pin(rate: &str) -> RatePin {
    RatePin { model: "H200".to_owned(), version: 1, per_gpu_hour: credits(rate) }
}

pub fn ready(window: Window, gpus: u32) -> Delivered {
    Delivered { window, gpus, owner: None, lease: None }
}

pub fn team_row(id: TeamId) -> Team {
    let name = format!("Team {}", id.short()).parse().unwrap();
    Team { id, name, cost_centre: Some("4711".to_owned()), separate_entity: false, created: at("2026-01-01T00:00:00Z") }
}

pub fn installation(zone: &str, mode: Mode) -> Installation {
    Installation {
        organisation: "Mill & Co".parse().unwrap(),
        currency: "EUR".to_owned(),
        time_zone: zone.to_owned(),
        mode,
        reality: Reality::Real,
        created: at("2026-01-01T00:00:00Z"),
        smtp: None,
        address: Vec::new(),
    }
}

impl Shelf {
    pub fn new(zone: &str, mode: Mode) -> Self {
        let now = at("2026-10-01T00:00:00Z");
        Self { rows: BTreeMap::new(), now, zone: period::zone(zone), mode, next: 1000 }
    }

    /// Runs a step and applies what it changes; a refusal changes nothing.
    pub fn run<T>(
        &mut self,
        step: impl FnOnce(&Self, &mut Changes, &mut Occasion) -> Result<T, Reject>,
    ) -> Result<T, Reject> {
        let mut changes = Changes::new();
        let mut next = self.next;
        let mut ids = || {
            next += 1;
            next
        };
        let mut occasion = Occasion { now: self.now, cause: Cause::Mill, ids: &mut ids };
        let answer = step(self, &mut changes, &mut occasion)?;
        self.next = next;
        self.apply(changes);
        Ok(answer)
    }

    pub fn apply(&mut self, changes: Changes) {
        for row in changes.rows {
            match row.value {
                Some(value) => self.rows.insert((row.table, row.key), value),
                None => self.rows.remove(&(row.table, row.key)),
            };
        }
    }

    pub fn grant(&mut self, team: TeamId, amount: Credits) {
        self.run(|view, changes, occasion| grant::post(view, changes, team, amount, "a test", occasion)).unwrap();
    }

    /// A booking row with its hold, as the booking intent writes them together.
    pub fn place(
        &mut self,
        id: BookingId,
        team: TeamId,
        window: Window,
        gpus: u32,
        pin: &RatePin,
    ) -> Result<Credits, Reject> {
        let (zone, mode) = (self.zone.clone(), self.mode);
        self.run(|view, changes, occasion| {
            let booking = booking(id, team, window, gpus, pin);
            put_booking(changes, None, &booking);
            let reserve = Reserve { booking: id, team, window, gpus, pin, zone: &zone, mode };
            hold::place(view, changes, reserve, occasion)
        })
    }

    pub fn extend(
        &mut self,
        id: BookingId,
        team: TeamId,
        added: Window,
        gpus: u32,
        pin: &RatePin,
    ) -> Result<Credits, Reject> {
        let (zone, mode) = (self.zone.clone(), self.mode);
        self.run(|view, changes, occasion| {
            let reserve = Reserve { booking: id, team, window: added, gpus, pin, zone: &zone, mode };
            hold::place(view, changes, reserve, occasion)
        })
    }

    pub fn settle(&mut self, id: BookingId, delivered: &[Delivered]) -> Credits {
        self.run(|view, changes, occasion| {
            let cost = hold::settle(view, changes, id, delivered, occasion)?;
            if let Some(before) = view.get::<Booking>(&id)? {
                let state = BookingState::Ended { at: occasion.now, cause: EndCause::TimeUp, exit: None, cost };
                put_booking(changes, Some(&before), &Booking { state, ..before.clone() });
            }
            Ok(cost)
        })
        .unwrap()
    }

    pub fn settle_through(&mut self, id: BookingId, delivered: &[Delivered], until: Instant) -> Credits {
        self.run(|view, changes, occasion| hold::settle_through(view, changes, id, delivered, until, occasion)).unwrap()
    }

    pub fn draft(&mut self, team: TeamId, month: &str, installation: &Installation) -> Result<Document, Reject> {
        let (row, member) = (team_row(team), MemberId::from_u128(1));
        let month = month.parse().unwrap();
        self.run(|view, changes, occasion| {
            document::draft(view, changes, (&row, month), installation, member, occasion)
        })
    }

    pub fn issue(&mut self, id: DocumentId, installation: &Installation) -> Result<Document, Reject> {
        let print = |document: &Document| Ok(format!("{document:?}").into_bytes());
        self.run(|view, changes, occasion| document::issue(view, changes, id, installation, &print, occasion))
    }

    pub fn settle_document(&mut self, id: DocumentId) -> Result<Document, Reject> {
        self.run(|view, changes, occasion| document::settle(view, changes, id, occasion))
    }

    pub fn balance(&self, team: TeamId) -> Balance {
        balance::balance(self, team).unwrap()
    }

    /// The words and amounts of all transfers, in order.
    pub fn postings(&self) -> Vec<(&'static str, String)> {
        let mut transfers: Vec<Transfer> = self.list(&[], Order::Ascending, usize::MAX).unwrap();
        transfers.sort_by_key(|transfer| transfer.sequence);
        transfers.iter().map(|transfer| (transfer.kind.word(), transfer.amount.to_string())).collect()
    }

    pub fn breaches(&self) -> Vec<verify::Breach> {
        verify::recompute(self).unwrap().1
    }
}

pub fn code(reject: Reject) -> &'static str {
    match reject {
        Reject::Refusal(refusal) => refusal.reason().code(),
        Reject::Store(error) => panic!("the store failed: {error}"),
    }
}

fn booking(id: BookingId, team: TeamId, window: Window, gpus: u32, pin: &RatePin) -> Booking {
    let ask = Ask {
        model: None,
        gpus,
        shape: AskShape::OneNode,
        when: When::At { window },
        workload: Workload::Workspace,
        title: format!("Work {}", id.short()),
    };
    Booking {
        id,
        team,
        member: MemberId::from_u128(1),
        ask,
        window,
        share: Share::default(),
        held: Credits::ZERO,
        rate: pin.clone(),
        leases: Vec::new(),
        attempt: 1,
        state: BookingState::Booked,
        created: window.start().minus(Span::from_hours(1)),
        warned: Vec::new(),
        due: None,
    }
}
