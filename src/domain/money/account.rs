//! Accounts and what stands on them. It refuses to know why something is posted; that is the posting table's matter.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::table::{Phase, Side};
use crate::base::credits::Credits;
use crate::base::ids::{TeamId, TransferId};

/// An account of the mill's books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// What a team can spend: the mill owes it in GPU time.
    Team(TeamId),
    /// What an owner has earned and was not paid yet.
    Owner(TeamId),
    /// What a team owes from issued documents.
    Receivable(TeamId),
    /// What a team's documents say less what was posted: less than a minor unit per line, carried to its next document.
    Rounding(TeamId),
    /// The budget that grants come from.
    Grants,
    /// Money received and paid.
    Cash,
    /// Revenue of delivered time, before owners get their share.
    Usage,
    /// The operator's fee on time delivered by other owners' nodes.
    Fees,
    /// The budget that rewards come from.
    Rewards,
    /// Receivables given up.
    WriteOffs,
}

impl Account {
    const fn word(self) -> &'static str {
        match self {
            Self::Team(_) => "team",
            Self::Owner(_) => "owner",
            Self::Receivable(_) => "receivable",
            Self::Rounding(_) => "rounding",
            Self::Grants => "grants",
            Self::Cash => "cash",
            Self::Usage => "usage",
            Self::Fees => "fees",
            Self::Rewards => "rewards",
            Self::WriteOffs => "write_offs",
        }
    }

    /// The team whose account it is, where it is a team's.
    pub const fn team(self) -> Option<TeamId> {
        match self {
            Self::Team(team) | Self::Owner(team) | Self::Receivable(team) | Self::Rounding(team) => Some(team),
            Self::Grants | Self::Cash | Self::Usage | Self::Fees | Self::Rewards | Self::WriteOffs => None,
        }
    }

    /// The number it is keyed by; part of the stored bytes, never reused.
    pub const fn tag(self) -> u8 {
        match self {
            Self::Team(_) => 1,
            Self::Owner(_) => 2,
            Self::Receivable(_) => 3,
            Self::Rounding(_) => 4,
            Self::Grants => 16,
            Self::Cash => 17,
            Self::Usage => 18,
            Self::Fees => 19,
            Self::Rewards => 20,
            Self::WriteOffs => 21,
        }
    }
}

/// `team:tm_…`, `usage`: the form in transfers, frozen in the chain.
impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.team() {
            Some(team) => write!(f, "{}:{team}", self.word()),
            None => f.write_str(self.word()),
        }
    }
}

/// Not the text form of an account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an account: {0}")]
pub struct NotAnAccount(String);

impl FromStr for Account {
    type Err = NotAnAccount;

    fn from_str(text: &str) -> Result<Self, NotAnAccount> {
        let not = || NotAnAccount(text.to_owned());
        if let Some((word, team)) = text.split_once(':') {
            let team: TeamId = team.parse().map_err(|_| not())?;
            let of_teams = [Self::Team(team), Self::Owner(team), Self::Receivable(team), Self::Rounding(team)];
            return of_teams.into_iter().find(|account| account.word() == word).ok_or_else(not);
        }
        [Self::Grants, Self::Cash, Self::Usage, Self::Fees, Self::Rewards, Self::WriteOffs]
            .into_iter()
            .find(|account| account.word() == text)
            .ok_or_else(not)
    }
}

impl Serialize for Account {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Account {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Totals of an account, in micro-credits; they only grow, except that what is held goes down when it is resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRow {
    pub account: Account,
    /// Of its newest entry; entries count from 1.
    pub sequence: u64,
    pub debits: i64,
    pub credits: i64,
    pub debits_held: i64,
    pub credits_held: i64,
}

/// Why a posting cannot be put on an account: the books would be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbookable {
    #[error("a total would exceed 64 bits")]
    TooLarge,
    #[error("more would be resolved than is held")]
    NotHeld,
}

impl AccountRow {
    pub const fn new(account: Account) -> Self {
        Self { account, sequence: 0, debits: 0, credits: 0, debits_held: 0, credits_held: 0 }
    }

    /// Credits less debits: what the account's party has.
    pub const fn posted(&self) -> Credits {
        Credits::from_micros(self.credits - self.debits)
    }

    /// Promised away and not yet resolved; negative where it is promised to come.
    pub const fn held(&self) -> Credits {
        Credits::from_micros(self.debits_held - self.credits_held)
    }

    /// Books one side of a transfer and answers the entry it leaves.
    pub fn book(
        &mut self,
        transfer: TransferId,
        phase: Phase,
        side: Side,
        amount: Credits,
    ) -> Result<Entry, Unbookable> {
        let (posted, held) = phase.moves();
        let (total, pending) = match side {
            Side::Debit => (&mut self.debits, &mut self.debits_held),
            Side::Credit => (&mut self.credits, &mut self.credits_held),
        };
        let moved = |total: i64, direction: i64| {
            amount.micros().checked_mul(direction).and_then(|change| total.checked_add(change))
        };
        let (new_total, new_pending) = (moved(*total, posted), moved(*pending, held));
        let (new_total, new_pending) =
            (new_total.ok_or(Unbookable::TooLarge)?, new_pending.ok_or(Unbookable::TooLarge)?);
        if new_pending < 0 {
            return Err(Unbookable::NotHeld);
        }
        (*total, *pending) = (new_total, new_pending);
        self.sequence += 1;
        Ok(Entry { account: self.account, sequence: self.sequence, transfer, posted: self.posted(), held: self.held() })
    }
}

/// One transfer on one account, with what stood there afterwards: a statement reads entries and never adds up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub account: Account,
    pub sequence: u64,
    pub transfer: TransferId,
    /// Running balance: credits less debits.
    pub posted: Credits,
    /// Running holds: debits less credits.
    pub held: Credits,
}

/// What a team has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    pub posted: Credits,
    pub held: Credits,
    /// Posted less held.
    pub available: Credits,
}

impl From<&AccountRow> for Balance {
    fn from(row: &AccountRow) -> Self {
        let available = row.posted().micros().saturating_sub(row.held().micros());
        Self { posted: row.posted(), held: row.held(), available: Credits::from_micros(available) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_returns_and_tags_differ() {
        let team = TeamId::from_u128(7);
        let all = [
            Account::Team(team),
            Account::Owner(team),
            Account::Receivable(team),
            Account::Rounding(team),
            Account::Grants,
            Account::Cash,
            Account::Usage,
            Account::Fees,
            Account::Rewards,
            Account::WriteOffs,
        ];
        for account in all {
            assert_eq!(account.to_string().parse(), Ok(account));
            assert_eq!(all.iter().filter(|other| other.tag() == account.tag()).count(), 1);
        }
        for bad in ["", "team", "team:", "usage:tm_00000000000000000000000007", "team:bk_00000000000000000000000007"] {
            assert!(bad.parse::<Account>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_is_resolved_that_is_not_held() {
        let mut row = AccountRow::new(Account::Team(TeamId::from_u128(1)));
        let transfer = TransferId::from_u128(1);
        let before = row.clone();
        assert_eq!(row.book(transfer, Phase::Release, Side::Debit, Credits::from_micros(1)), Err(Unbookable::NotHeld));
        assert_eq!(row, before);
    }
}
