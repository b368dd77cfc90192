//! Why the mill says no in matters of people.
use crate::domain::notice::{Kind, Reason, Sentence};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeopleRefusal {
    /// No session or token, or an expired one.
    SignedOut,
    /// Unknown address, wrong password, disabled: one answer for all.
    WrongCredentials,
    TooManyAttempts {
        wait_seconds: i64,
    },
    /// Seen, but not allowed.
    Denied {
        what: &'static str,
        who_may: &'static str,
    },
    /// The one-time link is spent, expired or was never made.
    LinkSpent,
    AlreadySetUp,
    NotSetUp,
    WeakPassword {
        why: &'static str,
    },
    AlreadyMember,
    EmailTaken,
    NameTaken {
        field: &'static str,
    },
    LastAdmin,
}

impl Reason for PeopleRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::SignedOut => "signed_out",
            Self::WrongCredentials => "wrong_credentials",
            Self::TooManyAttempts { .. } => "too_many_attempts",
            Self::Denied { .. } => "denied",
            Self::LinkSpent => "link_spent",
            Self::AlreadySetUp => "already_set_up",
            Self::NotSetUp => "not_set_up",
            Self::WeakPassword { .. } => "weak_password",
            Self::AlreadyMember => "already_member",
            Self::EmailTaken => "email_taken",
            Self::NameTaken { .. } => "name_taken",
            Self::LastAdmin => "last_admin",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::SignedOut | Self::WrongCredentials => Kind::SignedOut,
            Self::TooManyAttempts { .. } => Kind::Throttled,
            Self::Denied { .. } => Kind::Denied,
            Self::LinkSpent => Kind::NotFound,
            Self::NotSetUp => Kind::Unavailable,
            Self::WeakPassword { .. } => Kind::Invalid,
            Self::AlreadySetUp | Self::AlreadyMember | Self::EmailTaken | Self::NameTaken { .. } | Self::LastAdmin => {
                Kind::Conflict
            }
        }
    }

    fn sentence(&self) -> Sentence {
        match self {
            Self::SignedOut => Sentence::new(
                "You are not signed in.",
                "There is no session, or it has ended.",
                "Sign in and try again; on the command line, run “gristmill login”.",
            ),
            Self::WrongCredentials => Sentence::new(
                "Signing in did not work.",
                "The address and the password do not belong together.",
                "Check both and try again, or ask an admin for a new invitation link.",
            ),
            Self::TooManyAttempts { wait_seconds } => Sentence::new(
                "Signing in is paused.",
                "There were too many failed attempts.",
                format!("Wait {wait_seconds} seconds and try again."),
            ),
            Self::Denied { what, who_may } => {
                Sentence::new(format!("You may not {what}."), format!("Only {who_may} may."), "Ask one of them.")
            }
            Self::LinkSpent => Sentence::new(
                "This link does not work.",
                "It was used, has expired, or was withdrawn.",
                "Ask the person who sent it for a new one.",
            ),
            Self::AlreadySetUp => Sentence::new(
                "This mill is already set up.",
                "Setup happens once for a data directory.",
                "Sign in instead, or give another data directory with --data.",
            ),
            Self::NotSetUp => Sentence::new(
                "This mill is not set up yet.",
                "Nobody has opened the one-time setup link.",
                "Open the link that the server printed at its start, or run “gristmill setup”.",
            ),
            Self::WeakPassword { why } => Sentence::new(
                "This password cannot be used.",
                *why,
                "Choose one of at least 8 characters that is not on every list; a few words in a row do well.",
            ),
            Self::AlreadyMember => Sentence::new(
                "No invitation was made.",
                "This person is already in the team.",
                "There is nothing to do.",
            ),
            Self::EmailTaken => Sentence::new(
                "The account was not made.",
                "There is already one with this address.",
                "Sign in with it.",
            ),
            Self::NameTaken { .. } => {
                Sentence::new("The name was not taken.", "Something else already has it.", "Choose another one.")
            }
            Self::LastAdmin => Sentence::new(
                "The last admin cannot go.",
                "Nobody could administer the mill afterwards.",
                "Make somebody else an admin first.",
            ),
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::WeakPassword { .. } => Some("password"),
            Self::NameTaken { field } => Some(field),
            _ => None,
        }
    }
}
