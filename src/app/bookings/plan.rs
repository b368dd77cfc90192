//! From an ask to a placement, or to the reason why not with the nearest slot that works. It refuses to write: the same
//! plan is made on a snapshot and, where that one was overtaken, inside the transaction.
use jiff::tz::TimeZone;

use crate::base::window::{Instant, Span, Window};
use crate::domain::bookings::booking::{Ask, AskShape, When};
use crate::domain::bookings::refusal::{BookingRefusal, Offer, Why};
use crate::domain::bookings::search::{BusyTimes, Group, Placement, Want, earliest, exactly_at};
use crate::domain::bookings::supply::Supply;

/// The earliest slot in which something else can be had: what to offer to whoever is refused.
pub fn soonest(supply: &Supply, busy: &impl BusyTimes, want: &Want) -> Option<Offer> {
    let groups = supply.groups.iter().filter(|group| supply.takes(group, want.duration));
    let found = earliest(groups, busy, want)?;
    Some(Offer { window: found.window, gpus: want.gpus, model: found.model })
}

/// A plan in the making.
struct Planner<'a, B> {
    supply: &'a Supply,
    /// The groups that take bookings of this length.
    groups: Vec<&'a Group>,
    busy: &'a B,
    ask: &'a Ask,
    now: Instant,
    /// The last start that any node accepts.
    latest: Instant,
}

/// Where and when the ask is served.
pub fn choose<B: BusyTimes>(
    supply: &Supply,
    busy: &B,
    ask: &Ask,
    now: Instant,
    zone: &TimeZone,
) -> Result<Placement, BookingRefusal> {
    let planner = Planner {
        supply,
        groups: supply.groups.iter().filter(|group| supply.takes(group, duration(ask))).collect(),
        busy,
        ask,
        now,
        latest: now.plus(supply.horizon),
    };
    planner.choose().map_err(|why| why.into_refusal(zone))
}

pub fn duration(ask: &Ask) -> Span {
    match ask.when {
        When::At { window } => window.span(),
        When::AsSoonAsPossible { duration, .. } => duration,
    }
}

impl<B: BusyTimes> Planner<'_, B> {
    fn choose(&self) -> Result<Placement, Why> {
        self.possible()?;
        match self.ask.when {
            When::At { window } => self.at(window),
            When::AsSoonAsPossible { not_before, deadline, .. } => self.soon(not_before.unwrap_or(self.now), deadline),
        }
    }

    /// What no calendar could help.
    fn possible(&self) -> Result<(), Why> {
        if self.ask.shape != AskShape::OneNode {
            return Err(Why::ShapeNotOffered);
        }
        if self.ask.gpus == 0 {
            return Err(Why::NoGpus);
        }
        if self.supply.groups.is_empty() {
            return Err(Why::NoNodes { joined: self.supply.joined });
        }
        let want = self.want(self.now, self.latest);
        let sizes: Vec<u32> = self
            .supply
            .groups
            .iter()
            .filter(|group| want.of_model(group))
            .map(|group| u32::try_from(group.units.len()).unwrap_or(u32::MAX))
            .collect();
        let Some(&most) = sizes.iter().max() else {
            if self.ask.model.is_none() {
                return Err(Why::OnlyInstances { known: self.supply.models() });
            }
            let asked = self.ask.model.clone().unwrap_or_default();
            return Err(Why::UnknownModel { asked, known: self.supply.models() });
        };
        if self.ask.gpus > most {
            let like = self.supply.groups.iter().filter(|group| want.of_model(group) || !group.portion.is_instance());
            let all = like.map(|group| group.units.len()).sum::<usize>();
            let all = u32::try_from(all).unwrap_or(u32::MAX);
            return Err(Why::TooManyGpus { asked: self.ask.gpus.into(), most, all, model: self.ask.model.clone() });
        }
        let longest = self.supply.longest;
        if duration(self.ask) > longest || !self.groups.iter().any(|group| want.suits(group)) {
            return Err(Why::TooLong { longest });
        }
        Ok(())
    }

    fn want(&self, not_before: Instant, latest_start: Instant) -> Want {
        let Ask { gpus, model, .. } = self.ask;
        Want {
            gpus: *gpus,
            model: model.clone(),
            duration: duration(self.ask),
            now: self.now,
            not_before,
            latest_start,
        }
    }

    fn at(&self, window: Window) -> Result<Placement, Why> {
        let start = window.start();
        if start > self.latest {
            return Err(Why::BeyondHorizon { horizon: self.supply.horizon, latest: self.latest });
        }
        let want = self.want(start, start);
        if let Some(placement) = exactly_at(self.groups.iter().copied(), self.busy, &want) {
            return Ok(placement);
        }
        let offer = self.nearest(start);
        if let Some(from) = self.all_away(start, &want) {
            return Err(Why::Away { from, offer });
        }
        let free = (1..self.ask.gpus)
            .rev()
            .find(|&gpus| exactly_at(self.groups.iter().copied(), self.busy, &Want { gpus, ..want.clone() }).is_some());
        Err(Why::Full { asked: self.ask.gpus, free: free.unwrap_or(0), window, offer })
    }

    fn soon(&self, not_before: Instant, deadline: Option<Instant>) -> Result<Placement, Why> {
        let from = not_before.max(self.now);
        let latest = deadline.map_or(self.latest, |by| self.latest.min(by.minus(duration(self.ask))));
        if let Some(placement) = earliest(self.groups.iter().copied(), self.busy, &self.want(from, latest)) {
            return Ok(placement);
        }
        match deadline {
            Some(by) => Err(Why::NotBefore { by, offer: self.nearest(from) }),
            None => Err(Why::NothingFree { asked: self.ask.gpus, latest: self.latest }),
        }
    }

    /// The earliest slot from `start` on; if there is none until the horizon, the earliest at all.
    fn nearest(&self, start: Instant) -> Option<Offer> {
        let after = earliest(self.groups.iter().copied(), self.busy, &self.want(start, self.latest));
        let found =
            after.or_else(|| earliest(self.groups.iter().copied(), self.busy, &self.want(self.now, self.latest)))?;
        Some(Offer { window: found.window, gpus: self.ask.gpus, model: found.model })
    }

    /// From when on the first node that suits can be booked, if none of them can at `start`.
    fn all_away(&self, start: Instant, want: &Want) -> Option<Instant> {
        let suiting = || self.groups.iter().filter(|group| want.suits(group));
        let first = suiting().map(|group| group.opens(self.now)).min()?;
        (first > start).then_some(first)
    }
}
