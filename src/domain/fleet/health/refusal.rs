//! Why the mill says no in matters of a GPU's health.
use super::Refused;
use crate::domain::notice::{Kind, Reason, Sentence};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthRefusal {
    /// An admin's word that does not go together with where the GPU stands.
    Word(Refused),
    /// It weighs nothing, or was contested before.
    NothingToContest,
    /// Nobody contests it, or that was decided.
    NotContested,
}

impl Reason for HealthRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::Word(Refused::AlreadyThere) => "gpu_out_already",
            Self::Word(Refused::NotOut) => "gpu_not_out",
            Self::Word(Refused::Spent | Refused::Person) => "gpu_needs_person",
            Self::NothingToContest => "nothing_to_contest",
            Self::NotContested => "not_contested",
        }
    }

    fn kind(&self) -> Kind {
        Kind::Conflict
    }

    fn sentence(&self) -> Sentence {
        match self {
            Self::Word(Refused::AlreadyThere) => Sentence::new(
                "Nothing was changed.",
                "The GPU is out of service already, by an admin’s word.",
                "Put it back when it is mended.",
            ),
            Self::Word(_) => {
                Sentence::new("Nothing was changed.", "The GPU is not out of service.", "Look at its page.")
            }
            Self::NothingToContest => Sentence::new(
                "It was not contested.",
                "It weighs nothing in the score, or was contested before.",
                "Look at the score on the GPU’s page: each term says what it weighs.",
            ),
            Self::NotContested => Sentence::new(
                "Nothing was decided.",
                "Nobody contests this evidence, or that was decided already.",
                "Look at the GPU’s page.",
            ),
        }
    }
}
