//! The posting table: every event that moves money, with the accounts it debits and credits. Code posts only by naming a
//! row; what is not listed here cannot be posted.
use serde::{Deserialize, Serialize};

use super::account::Account;
use crate::base::ids::TeamId;

/// An event that moves money. Its word is part of stored bytes and of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Grant,
    GrantCorrection,
    GrantExpiry,
    Prepayment,
    Hold,
    Delivery,
    OwnDelivery,
    Void,
    Expire,
    Refund,
    Fee,
    FeeRefund,
    Payout,
    PayoutRefund,
    Reward,
    RoundingUp,
    RoundingDown,
    Issue,
    Settle,
    WriteOff,
    CashOut,
    Unbooked,
    UnbookedVoid,
}

/// How a transfer moves what is posted and what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Posted at once.
    Post,
    /// Reserved for later.
    Reserve,
    /// What was reserved is posted.
    PostHeld,
    /// What was reserved is let go.
    Release,
}

impl Phase {
    /// Directions (posted, held): 1 up, −1 down, 0 untouched.
    pub const fn moves(self) -> (i64, i64) {
        match self {
            Self::Post => (1, 0),
            Self::Reserve => (0, 1),
            Self::PostHeld => (1, -1),
            Self::Release => (0, -1),
        }
    }
}

/// The side of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Debit,
    Credit,
}

/// A kind of account; with the parties of a posting it becomes an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Team,
    Owner,
    Receivable,
    Rounding,
    Grants,
    Cash,
    Usage,
    Fees,
    Rewards,
    WriteOffs,
}

/// Who takes part in a posting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parties {
    /// Who pays.
    pub team: Option<TeamId>,
    /// Whose node did the work.
    pub owner: Option<TeamId>,
}

impl Place {
    /// `None` when the posting does not name the party whose account it is.
    pub fn account(self, parties: Parties) -> Option<Account> {
        match self {
            Self::Team => parties.team.map(Account::Team),
            Self::Receivable => parties.team.map(Account::Receivable),
            Self::Rounding => parties.team.map(Account::Rounding),
            Self::Owner => parties.owner.map(Account::Owner),
            Self::Grants => Some(Account::Grants),
            Self::Cash => Some(Account::Cash),
            Self::Usage => Some(Account::Usage),
            Self::Fees => Some(Account::Fees),
            Self::Rewards => Some(Account::Rewards),
            Self::WriteOffs => Some(Account::WriteOffs),
        }
    }

    /// Whether an account is of this kind.
    pub const fn fits(self, account: Account) -> bool {
        matches!(
            (self, account),
            (Self::Team, Account::Team(_))
                | (Self::Owner, Account::Owner(_))
                | (Self::Receivable, Account::Receivable(_))
                | (Self::Rounding, Account::Rounding(_))
                | (Self::Grants, Account::Grants)
                | (Self::Cash, Account::Cash)
                | (Self::Usage, Account::Usage)
                | (Self::Fees, Account::Fees)
                | (Self::Rewards, Account::Rewards)
                | (Self::WriteOffs, Account::WriteOffs)
        )
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub kind: Kind,
    pub phase: Phase,
    pub debit: Place,
    pub credit: Place,
    /// What a person reads on a statement.
    pub says: &'static str,
}

const fn row(kind: Kind, phase: Phase, debit: Place, credit: Place, says: &'static str) -> Row {
    Row { kind, phase, debit, credit, says }
}

/// Every event, in the order of [`Kind`].
#[rustfmt::skip]
pub const TABLE: [Row; 23] = [
    row(Kind::Grant,           Phase::Post,     Place::Grants,     Place::Team,       "Granted"),
    row(Kind::GrantCorrection, Phase::Post,     Place::Team,       Place::Grants,     "Grant taken back"),
    row(Kind::GrantExpiry,     Phase::Post,     Place::Team,       Place::Grants,     "Grant expired"),
    row(Kind::Prepayment,      Phase::Post,     Place::Cash,       Place::Team,       "Paid in advance"),
    row(Kind::Hold,            Phase::Reserve,  Place::Team,       Place::Usage,      "Held"),
    row(Kind::Delivery,        Phase::PostHeld, Place::Team,       Place::Usage,      "Delivered"),
    row(Kind::OwnDelivery,     Phase::PostHeld, Place::Team,       Place::Usage,      "Delivered by the team's own node"),
    row(Kind::Void,            Phase::Release,  Place::Team,       Place::Usage,      "Not used, given back"),
    row(Kind::Expire,          Phase::Release,  Place::Team,       Place::Usage,      "Hold expired, given back"),
    row(Kind::Refund,          Phase::Post,     Place::Usage,      Place::Team,       "Refunded"),
    row(Kind::Fee,             Phase::Post,     Place::Usage,      Place::Fees,       "Operator's fee"),
    row(Kind::FeeRefund,       Phase::Post,     Place::Fees,       Place::Usage,      "Operator's fee given back"),
    row(Kind::Payout,          Phase::Post,     Place::Usage,      Place::Owner,      "Owner's share"),
    row(Kind::PayoutRefund,    Phase::Post,     Place::Owner,      Place::Usage,      "Owner's share taken back"),
    row(Kind::Reward,          Phase::Post,     Place::Rewards,    Place::Owner,      "Reward for availability"),
    row(Kind::RoundingUp,      Phase::Post,     Place::Team,       Place::Rounding,   "Rounded up to the document's lines"),
    row(Kind::RoundingDown,    Phase::Post,     Place::Rounding,   Place::Team,       "Rounded down to the document's lines"),
    row(Kind::Issue,           Phase::Post,     Place::Receivable, Place::Team,       "Charged by a document"),
    row(Kind::Settle,          Phase::Post,     Place::Cash,       Place::Receivable, "Document settled"),
    row(Kind::WriteOff,        Phase::Post,     Place::WriteOffs,  Place::Receivable, "Document written off"),
    row(Kind::CashOut,         Phase::Post,     Place::Owner,      Place::Cash,       "Paid to the owner"),
    row(Kind::Unbooked,        Phase::Post,     Place::Team,       Place::Usage,      "Used outside bookings"),
    row(Kind::UnbookedVoid,    Phase::Post,     Place::Usage,      Place::Team,       "Use outside bookings given back"),
];

impl Kind {
    /// Its line of the table.
    pub const fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Time that was used: what documents are made of. Only these may be of zero credits, because zero-priced time is
    /// still counted.
    pub const fn is_delivery(self) -> bool {
        matches!(self, Self::Delivery | Self::OwnDelivery | Self::Unbooked)
    }

    /// The word in records and in the API.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::GrantCorrection => "grant_correction",
            Self::GrantExpiry => "grant_expiry",
            Self::Prepayment => "prepayment",
            Self::Hold => "hold",
            Self::Delivery => "delivery",
            Self::OwnDelivery => "own_delivery",
            Self::Void => "void",
            Self::Expire => "expire",
            Self::Refund => "refund",
            Self::Fee => "fee",
            Self::FeeRefund => "fee_refund",
            Self::Payout => "payout",
            Self::PayoutRefund => "payout_refund",
            Self::Reward => "reward",
            Self::RoundingUp => "rounding_up",
            Self::RoundingDown => "rounding_down",
            Self::Issue => "issue",
            Self::Settle => "settle",
            Self::WriteOff => "write_off",
            Self::CashOut => "cash_out",
            Self::Unbooked => "unbooked",
            Self::UnbookedVoid => "unbooked_void",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_the_line_of_its_number() {
        for (number, row) in TABLE.iter().enumerate() {
            assert_eq!(row.kind as usize, number);
            assert_eq!(row.kind.row(), row);
            assert_eq!(serde_json::to_value(row.kind).unwrap(), row.kind.word());
            assert_ne!(row.debit, row.credit, "{:?}", row.kind);
        }
    }

    /// What is reserved must be resolved between the same two accounts, or holds would be stranded.
    #[test]
    fn holds_are_resolved_where_they_were_made() {
        let hold = Kind::Hold.row();
        for row in TABLE.iter().filter(|row| row.phase != Phase::Post) {
            assert_eq!((row.debit, row.credit), (hold.debit, hold.credit), "{:?}", row.kind);
        }
    }

    #[test]
    fn each_correction_mirrors_what_it_corrects() {
        for (of, by) in [
            (Kind::Grant, Kind::GrantCorrection),
            (Kind::Delivery, Kind::Refund),
            (Kind::Fee, Kind::FeeRefund),
            (Kind::Payout, Kind::PayoutRefund),
            (Kind::RoundingUp, Kind::RoundingDown),
            (Kind::Unbooked, Kind::UnbookedVoid),
        ] {
            assert_eq!((of.row().debit, of.row().credit), (by.row().credit, by.row().debit), "{of:?} and {by:?}");
        }
    }
}
