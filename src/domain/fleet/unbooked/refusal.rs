//! Why the mill says no about pools and about use outside bookings.
use crate::domain::notice::{Kind, Reason, Sentence};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolRefusal {
    /// Somebody else changed the pool since it was looked at.
    ChangedMeanwhile { name: String },
    /// A figure of a policy that no pool may have.
    BadFigure { field: &'static str, why: String },
    /// All that was billed was taken back before, or nothing was.
    NothingBilled,
    /// It stands on an issued document, which never changes.
    OnDocument,
    /// The member does not belong to the team that is to pay.
    NotInTeam { member: String, team: String },
    /// Neither a number nor the name of a Unix user.
    BadUnixUser,
}

impl Reason for PoolRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::ChangedMeanwhile { .. } => "pool_changed_meanwhile",
            Self::BadFigure { .. } => "bad_pool_figure",
            Self::NothingBilled => "nothing_billed",
            Self::OnDocument => "billed_on_document",
            Self::NotInTeam { .. } => "not_in_team",
            Self::BadUnixUser => "bad_unix_user",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::ChangedMeanwhile { .. } | Self::NothingBilled | Self::OnDocument => Kind::Conflict,
            Self::BadFigure { .. } | Self::NotInTeam { .. } | Self::BadUnixUser => Kind::Invalid,
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::BadFigure { field, .. } => Some(field),
            Self::NotInTeam { .. } => Some("team"),
            Self::BadUnixUser => Some("user"),
            _ => None,
        }
    }

    fn sentence(&self) -> Sentence {
        match self {
            Self::ChangedMeanwhile { name } => Sentence::new(
                format!("{name} was not changed."),
                "Somebody else has changed it since you looked at it.",
                "Look at what holds now, and change that.",
            ),
            Self::BadFigure { why, .. } => Sentence::new(
                "The pool was not changed.",
                format!("{}.", why.trim_end_matches('.')),
                "Correct it and send again.",
            ),
            Self::NothingBilled => Sentence::new(
                "Nothing was given back.",
                "Nothing of this use is billed: it never was, or it was given back before.",
                "The team’s statement shows every posting.",
            ),
            Self::OnDocument => Sentence::new(
                "Nothing was given back.",
                "It stands on an issued document, and those never change.",
                "Grant the team the same amount, with the reason.",
            ),
            Self::NotInTeam { member, team } => Sentence::new(
                "The Unix user was not assigned.",
                format!("{member} is not in {team}, so that {team} cannot pay for what {member} does."),
                "Choose a team that the member is in.",
            ),
            Self::BadUnixUser => Sentence::new(
                "The Unix user was not assigned.",
                "A Unix user is a number such as 1001, or a name of at most 32 letters, digits, dots, dashes and \
                 underscores.",
                "Look it up on the machine: id -u NAME, or id -un NUMBER.",
            ),
        }
    }
}
