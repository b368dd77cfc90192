//! Why the mill says no in matters of bookings, with the nearest thing that would work. It refuses a no without a next
//! step, and to tell a stranger whether a booking exists.
use jiff::tz::TimeZone;

use super::say;
use crate::base::text::spoken;
use crate::base::window::{Instant, Span, Window};
use crate::domain::notice::{Kind, Reason, Sentence};

/// A slot that would work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub window: Window,
    pub gpus: u32,
    pub model: String,
}

/// A refusal, told in the zone of the organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookingRefusal {
    pub why: Why,
    pub zone: TimeZone,
}

/// What is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Zero GPUs.
    NoGpus,
    /// More than any node has, of the model or at all; `all` counts the whole fleet.
    TooManyGpus {
        asked: u64,
        most: u32,
        all: u32,
        model: Option<String>,
    },
    UnknownModel {
        asked: String,
        known: Vec<String>,
    },
    /// The fleet has no node that takes bookings; `joined` counts those that do not.
    NoNodes {
        joined: usize,
    },
    /// Several nodes at once.
    ShapeNotOffered,
    /// Any model was asked for, and there are only MIG instances.
    OnlyInstances {
        known: Vec<String>,
    },
    /// Starts or ends before now.
    Past {
        now: Instant,
    },
    /// A window of no length.
    NoDuration,
    TooLong {
        longest: Span,
    },
    BeyondHorizon {
        horizon: Span,
        latest: Instant,
    },
    /// Nothing fits before `by`.
    NotBefore {
        by: Instant,
        offer: Option<Offer>,
    },
    /// Those GPUs are taken then.
    Full {
        asked: u32,
        free: u32,
        window: Window,
        offer: Option<Offer>,
    },
    /// The nodes that could serve it are away; they can be booked again from `from`.
    Away {
        from: Instant,
        offer: Option<Offer>,
    },
    /// Nothing fits between now and the horizon.
    NothingFree {
        asked: u32,
        latest: Instant,
    },
    /// Somebody else has the GPUs next.
    CannotExtend {
        next: Instant,
        offer: Option<Offer>,
    },
    /// Its node gives no more time.
    NodeNeeded(Box<NodeNeeded>),
    /// `team` names no team that the actor books for.
    NoTeam {
        asked: Option<String>,
        teams: Vec<String>,
    },
    /// The booking's state does not allow it.
    WrongState {
        action: &'static str,
        state: &'static str,
    },
    /// Belongs to somebody else of the same team.
    NotYours {
        action: &'static str,
    },
    EmptyCommand,
}

/// A node that is needed for something else: it runs empty, or from `from` on it is in maintenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeNeeded {
    pub node: String,
    pub why: String,
    pub from: Option<Instant>,
    /// How long the booking can still be made there.
    pub until: Option<Instant>,
    /// What could follow it elsewhere or later.
    pub offer: Option<Offer>,
}

impl From<Why> for BookingRefusal {
    fn from(why: Why) -> Self {
        Self { why, zone: TimeZone::UTC }
    }
}

impl Why {
    pub fn into_refusal(self, zone: &TimeZone) -> BookingRefusal {
        BookingRefusal { why: self, zone: zone.clone() }
    }

    fn offered(&self) -> Option<&Offer> {
        match self {
            Self::NotBefore { offer, .. } | Self::Full { offer, .. } | Self::CannotExtend { offer, .. } => {
                offer.as_ref()
            }
            Self::NodeNeeded(needed) => needed.offer.as_ref(),
            _ => None,
        }
    }
}

impl BookingRefusal {
    fn or_offer(&self, otherwise: &str) -> String {
        match self.why.offered() {
            Some(offer) => format!(
                "The nearest that works: {} ({}) from {}.",
                say::gpus(offer.gpus.into()),
                offer.model,
                say::window(offer.window, &self.zone)
            ),
            None => otherwise.to_owned(),
        }
    }
}

const NOT_PLACED: &str = "The booking was not placed.";

impl Reason for BookingRefusal {
    fn code(&self) -> &'static str {
        match self.why {
            Why::NoGpus => "no_gpus",
            Why::TooManyGpus { .. } => "too_many_gpus",
            Why::UnknownModel { .. } => "unknown_model",
            Why::NoNodes { .. } => "no_nodes",
            Why::ShapeNotOffered => "shape_not_offered",
            Why::OnlyInstances { .. } => "only_instances",
            Why::Past { .. } => "past_window",
            Why::NoDuration => "no_duration",
            Why::TooLong { .. } => "too_long",
            Why::BeyondHorizon { .. } => "beyond_horizon",
            Why::NotBefore { .. } => "not_before_deadline",
            Why::Full { .. } => "slot_taken",
            Why::Away { .. } => "nodes_away",
            Why::NothingFree { .. } => "nothing_free",
            Why::CannotExtend { .. } => "cannot_extend",
            Why::NodeNeeded(_) => "node_needed",
            Why::NoTeam { .. } => "no_team",
            Why::WrongState { .. } => "wrong_state",
            Why::NotYours { .. } => "not_yours",
            Why::EmptyCommand => "empty_command",
        }
    }

    fn kind(&self) -> Kind {
        match self.why {
            Why::NoGpus
            | Why::TooManyGpus { .. }
            | Why::UnknownModel { .. }
            | Why::ShapeNotOffered
            | Why::OnlyInstances { .. }
            | Why::Past { .. }
            | Why::NoDuration
            | Why::TooLong { .. }
            | Why::BeyondHorizon { .. }
            | Why::NoTeam { .. }
            | Why::EmptyCommand => Kind::Invalid,
            Why::NoNodes { .. }
            | Why::NotBefore { .. }
            | Why::Full { .. }
            | Why::Away { .. }
            | Why::NothingFree { .. }
            | Why::CannotExtend { .. }
            | Why::NodeNeeded(_)
            | Why::WrongState { .. } => Kind::Conflict,
            Why::NotYours { .. } => Kind::Denied,
        }
    }

    fn sentence(&self) -> Sentence {
        match &self.why {
            Why::NoGpus
            | Why::TooManyGpus { .. }
            | Why::UnknownModel { .. }
            | Why::OnlyInstances { .. }
            | Why::NoNodes { .. } => self.about_fleet(),
            Why::Past { .. } | Why::NoDuration | Why::TooLong { .. } | Why::BeyondHorizon { .. } => self.about_time(),
            Why::NotBefore { .. }
            | Why::Full { .. }
            | Why::Away { .. }
            | Why::NothingFree { .. }
            | Why::CannotExtend { .. } => self.about_calendar(),
            Why::NodeNeeded(_) => self.about_node(),
            Why::ShapeNotOffered => Sentence::new(
                NOT_PLACED,
                "Bookings over several nodes are not offered yet.",
                "Ask for GPUs on one node; several bookings side by side are fine.",
            ),
            Why::NoTeam { asked, teams } => no_team(asked.as_deref(), teams),
            Why::WrongState { action, state } => wrong_state(action, state),
            Why::NotYours { action } => Sentence::new(
                format!("You may not {action} this booking."),
                "Another member of the team made it.",
                "Ask that person, or a lead of the team.",
            ),
            Why::EmptyCommand => Sentence::new(
                NOT_PLACED,
                "The command to run is empty.",
                "Give a command and its arguments, or none at all for a workspace.",
            ),
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self.why {
            Why::NoGpus | Why::TooManyGpus { .. } => Some("gpus"),
            Why::UnknownModel { .. } | Why::OnlyInstances { .. } => Some("model"),
            Why::Past { .. } | Why::BeyondHorizon { .. } => Some("at"),
            Why::NoDuration | Why::TooLong { .. } => Some("duration_seconds"),
            Why::NotBefore { .. } => Some("by"),
            Why::NoTeam { .. } => Some("team"),
            Why::EmptyCommand => Some("command"),
            _ => None,
        }
    }

    /// The slot as the API writes one.
    fn offer(&self) -> Option<serde_json::Value> {
        let offer = self.why.offered()?;
        Some(serde_json::json!({
            "start": say::rfc3339(offer.window.start()),
            "end": say::rfc3339(offer.window.end()),
            "gpus": offer.gpus,
            "model": offer.model,
        }))
    }
}

impl BookingRefusal {
    fn about_fleet(&self) -> Sentence {
        match &self.why {
            Why::TooManyGpus { asked, most, all, model } => {
                let of = model.as_ref().map_or_else(String::new, |model| format!(" of the model {model}"));
                Sentence::new(
                    NOT_PLACED,
                    format!(
                        "The largest node has {}{of}, the whole fleet {}; {} cannot be had together.",
                        say::gpus((*most).into()),
                        say::gpus((*all).into()),
                        say::gpus(*asked)
                    ),
                    format!("Ask for at most {}.", say::gpus((*most).into())),
                )
            }
            Why::UnknownModel { asked, known } => Sentence::new(
                NOT_PLACED,
                format!("No node here has a GPU of the model “{asked}”."),
                format!("There is: {}. Name one of them, or no model to take any.", known.join(", ")),
            ),
            Why::OnlyInstances { known } => Sentence::new(
                NOT_PLACED,
                "All GPUs here are cut into MIG instances, and those are given only to whoever names them.",
                format!("Name one: {}.", known.join(", ")),
            ),
            Why::NoNodes { joined: 0 } => Sentence::new(
                NOT_PLACED,
                "No machine with GPUs has joined this mill yet.",
                "Ask an admin to let a node join.",
            ),
            Why::NoNodes { joined } => Sentence::new(
                NOT_PLACED,
                match joined {
                    1 => {
                        "The one node here takes no bookings at present: it is closed, waits to be admitted, or has no \
                          GPU in service."
                            .to_owned()
                    }
                    n => format!(
                        "None of the {n} nodes takes bookings at present: they are closed, wait to be admitted, or have \
                         no GPU in service."
                    ),
                },
                "The page of each node says why; an admin can change it.",
            ),
            _ => Sentence::new(NOT_PLACED, "It asks for no GPU at all.", "Ask for at least one GPU."),
        }
    }

    fn about_time(&self) -> Sentence {
        match &self.why {
            Why::Past { now } => Sentence::new(
                NOT_PLACED,
                format!("Its time has passed already; it is {} now.", say::moment(*now, &self.zone)),
                "Choose a start that is still to come, or as soon as possible.",
            ),
            Why::TooLong { longest } => Sentence::new(
                "That is too long.",
                format!("A booking here lasts at most {}.", spoken(*longest)),
                "Make it shorter; it can be followed by another.",
            ),
            Why::BeyondHorizon { horizon, latest } => Sentence::new(
                NOT_PLACED,
                format!("Bookings start at most {} ahead.", spoken(*horizon)),
                format!("Choose a start until {}.", say::moment(*latest, &self.zone)),
            ),
            _ => Sentence::new(NOT_PLACED, "It has no length.", "Give a duration such as 3h."),
        }
    }

    fn about_calendar(&self) -> Sentence {
        match &self.why {
            Why::NotBefore { by, .. } => Sentence::new(
                NOT_PLACED,
                format!("Nothing is free that is over by {}.", say::moment(*by, &self.zone)),
                self.or_offer("Allow more time, fewer GPUs, or another model."),
            ),
            Why::Full { asked, free, window, .. } => Sentence::new(
                NOT_PLACED,
                format!(
                    "From {} {} of the {} asked for {} free on one node.",
                    say::window(*window, &self.zone),
                    if *free == 0 { "none".to_owned() } else { format!("only {free}") },
                    say::gpus((*asked).into()),
                    if *free == 1 { "is" } else { "are" },
                ),
                self.or_offer("Choose another time, fewer GPUs, or another model."),
            ),
            Why::Away { from, .. } => Sentence::new(
                NOT_PLACED,
                format!(
                    "The nodes that could serve it are not connected at present; until {} nothing is promised on them.",
                    say::moment(*from, &self.zone)
                ),
                self.or_offer("Try again in a few minutes, or ask an admin to look after the node."),
            ),
            Why::CannotExtend { next, .. } => Sentence::new(
                "The booking was not extended.",
                format!("Its GPUs are promised to somebody else from {}.", say::moment(*next, &self.zone)),
                match self.why.offered() {
                    Some(offer) => {
                        format!("It can be extended until {}.", say::moment(offer.window.end(), &self.zone))
                    }
                    None => "Save your work, and place another booking for the time after.".to_owned(),
                },
            ),
            Why::NothingFree { asked, latest } => Sentence::new(
                NOT_PLACED,
                format!(
                    "There is no start until {} from which {} on one node {} free for so long.",
                    say::moment(*latest, &self.zone),
                    say::gpus((*asked).into()),
                    if *asked == 1 { "is" } else { "are" }
                ),
                "Ask for fewer GPUs, a shorter time, or another model.",
            ),
            _ => Sentence::new(NOT_PLACED, "The time asked for is taken.", "Choose another time."),
        }
    }
}

impl BookingRefusal {
    fn about_node(&self) -> Sentence {
        let Why::NodeNeeded(needed) = &self.why else { return self.about_calendar() };
        let NodeNeeded { node, why, from, until, .. } = &**needed;
        let because = match from {
            Some(from) => {
                format!("Its node {node} is in maintenance from {} ({why}).", say::moment(*from, &self.zone))
            }
            None => format!("Its node {node} is to run empty and gives no more time: {}.", why.trim_end_matches('.')),
        };
        let next = match (until, self.why.offered()) {
            (Some(until), _) => format!("It can be extended until {}.", say::moment(*until, &self.zone)),
            (None, Some(offer)) => format!(
                "Save your work by its end, and book what can follow it: {} ({}) from {}.",
                say::gpus(offer.gpus.into()),
                offer.model,
                say::window(offer.window, &self.zone)
            ),
            (None, None) => "Save your work by its end; nothing equal is free elsewhere for so long.".to_owned(),
        };
        Sentence::new("The booking was not extended.", because, next)
    }
}

fn no_team(asked: Option<&str>, teams: &[String]) -> Sentence {
    let why = match asked {
        Some(asked) => format!("You book for no team called “{asked}”."),
        None if teams.is_empty() => "You are in no team, so nobody would pay.".to_owned(),
        None => "You are in several teams, and the request does not say which one pays.".to_owned(),
    };
    let next = match teams {
        [] => "Ask an admin, or the lead of a team, for an invitation.".to_owned(),
        [only] => format!("Your team is {only}."),
        several => format!("Name one of your teams: {}.", several.join(", ")),
    };
    Sentence::new(NOT_PLACED, why, next)
}

fn wrong_state(action: &str, state: &str) -> Sentence {
    let next = match (action, state) {
        ("release", "booked") => "Cancel it instead; that costs nothing.",
        ("cancel", "active") => "Release it instead; you pay what was used.",
        (_, "ending") => "It is being taken back; wait a moment.",
        (_, "ended" | "cancelled" | "failed") => "It is over; place a new booking if you need more time.",
        _ => "Look at the booking's page for what can be done with it now.",
    };
    Sentence::new(format!("This booking cannot be {}.", participle(action)), format!("It is {state}."), next)
}

fn participle(action: &str) -> String {
    match action {
        "start" => "started".to_owned(),
        "hand over" => "handed over".to_owned(),
        "cancel" => "cancelled".to_owned(),
        "stop" => "stopped".to_owned(),
        action if action.ends_with('e') => format!("{action}d"),
        action => format!("{action}ed"),
    }
}

#[cfg(test)]
mod tests;
