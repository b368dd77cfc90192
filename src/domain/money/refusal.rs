//! Why the mill says no in matters of money.
use super::account::Unbookable;
use crate::base::credits::{AmountError, Credits};
use crate::domain::notice::{Kind, Reason, Sentence};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoneyRefusal {
    /// In chargeback: the team cannot pay for it.
    NotEnough {
        price: Credits,
        available: Credits,
    },
    /// An amount beyond what can be counted.
    TooLarge,
    /// Grants, prepayments and rates must be above zero (rates: not below).
    NotPositive {
        field: &'static str,
    },
    /// A rate so high that it is likelier a slip.
    RateTooHigh {
        highest: i64,
    },
    /// The books do not agree with what was asked of them: a fault, never a person's.
    Inconsistent {
        what: String,
    },
    NothingToInvoice {
        period: String,
    },
    PeriodNotBegun {
        period: String,
    },
    /// What the draft lists was issued in another document meanwhile.
    DraftStale,
    NotADraft {
        number: String,
    },
    NotIssued,
    AlreadySettled {
        number: String,
    },
    /// Tax invoices need a tax number and rates, which this version does not keep.
    NoTax {
        team: String,
    },
}

impl From<AmountError> for MoneyRefusal {
    fn from(_: AmountError) -> Self {
        Self::TooLarge
    }
}

impl From<Unbookable> for MoneyRefusal {
    fn from(unbookable: Unbookable) -> Self {
        match unbookable {
            Unbookable::TooLarge => Self::TooLarge,
            Unbookable::NotHeld => Self::Inconsistent { what: unbookable.to_string() },
        }
    }
}

impl Reason for MoneyRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotEnough { .. } => "not_enough_credits",
            Self::TooLarge => "amount_too_large",
            Self::NotPositive { .. } => "amount_not_positive",
            Self::RateTooHigh { .. } => "rate_too_high",
            Self::Inconsistent { .. } => "ledger_inconsistent",
            Self::NothingToInvoice { .. } => "nothing_to_invoice",
            Self::PeriodNotBegun { .. } => "period_not_begun",
            Self::DraftStale => "draft_stale",
            Self::NotADraft { .. } => "not_a_draft",
            Self::NotIssued => "not_issued",
            Self::AlreadySettled { .. } => "already_settled",
            Self::NoTax { .. } => "no_tax",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::TooLarge | Self::NotPositive { .. } | Self::RateTooHigh { .. } => Kind::Invalid,
            Self::Inconsistent { .. } => Kind::Unavailable,
            Self::NotEnough { .. }
            | Self::NothingToInvoice { .. }
            | Self::PeriodNotBegun { .. }
            | Self::DraftStale
            | Self::NotADraft { .. }
            | Self::NotIssued
            | Self::AlreadySettled { .. }
            | Self::NoTax { .. } => Kind::Conflict,
        }
    }

    fn sentence(&self) -> Sentence {
        match self {
            Self::NotEnough { price, available } => {
                let missing = Credits::from_micros(price.micros().saturating_sub(available.micros()));
                Sentence::new(
                    "The team's credits do not cover this.",
                    format!("It costs up to {price} credits, {available} are available: {missing} are missing."),
                    "Ask for fewer GPUs or less time, or ask an admin for a grant of the missing credits.",
                )
            }
            Self::TooLarge => Sentence::new(
                "This amount cannot be booked.",
                "It is larger than the ledger can count.",
                "Use a smaller amount; nothing was changed.",
            ),
            Self::NotPositive { .. } => Sentence::new(
                "This amount cannot be used.",
                "It must be above zero (a rate may be zero).",
                "Enter a number such as 1000 or 2.50.",
            ),
            Self::RateTooHigh { highest } => Sentence::new(
                "This rate was not set.",
                format!("It is above {highest} credits per GPU and hour, which is likelier a slip than a price."),
                "Check the decimal point and send again.",
            ),
            Self::Inconsistent { what } => Sentence::new(
                "The mill did not touch the money.",
                format!("The ledger does not agree with the request: {what}."),
                "Tell an admin, who can run “gristmill verify”; nothing was changed.",
            ),
            other => other.about_documents(),
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::NotPositive { field } => Some(field),
            Self::RateTooHigh { .. } => Some("per_gpu_hour"),
            Self::NothingToInvoice { .. } | Self::PeriodNotBegun { .. } => Some("period"),
            _ => None,
        }
    }

    fn offer(&self) -> Option<serde_json::Value> {
        match self {
            Self::NotEnough { price, available } => Some(serde_json::json!({
                "price_micros": price.micros(),
                "available_micros": available.micros(),
                "missing_micros": price.micros().saturating_sub(available.micros()),
            })),
            _ => None,
        }
    }
}

impl MoneyRefusal {
    fn about_documents(&self) -> Sentence {
        match self {
            Self::NothingToInvoice { period } => Sentence::new(
                "There is nothing to put on a document.",
                format!("In {period} nothing was delivered to this team that no document lists yet."),
                "Wait until a booking has ended, or choose another month.",
            ),
            Self::PeriodNotBegun { period } => Sentence::new(
                "The document was not drafted.",
                format!("{period} has not begun."),
                "Choose this month or an earlier one.",
            ),
            Self::DraftStale => Sentence::new(
                "The document was not issued.",
                "Another document was issued since this was drafted, and some of its lines are on that one.",
                "Draft it again and look at it once more.",
            ),
            Self::NotADraft { number } => Sentence::new(
                "The document stays as it is.",
                format!("It was issued as {number}; issued documents never change."),
                "Open it; a mistake on it is corrected by a credit note.",
            ),
            Self::NotIssued => Sentence::new(
                "This cannot be done with a draft.",
                "A draft has no number and is owed by nobody.",
                "Issue it first.",
            ),
            Self::AlreadySettled { number } => Sentence::new(
                "Nothing was changed.",
                format!("{number} is settled already."),
                "There is nothing to do.",
            ),
            Self::NoTax { team } => Sentence::new(
                "No tax invoice was drafted.",
                format!(
                    "“{team}” is a legal entity of its own and needs an invoice with tax, which this mill is not set up for."
                ),
                "Invoice it from your accounting system with the team's statement, or unmark the team.",
            ),
            _ => Sentence::new("Nothing was changed.", "The request cannot be carried out.", "Reload and try again."),
        }
    }
}
