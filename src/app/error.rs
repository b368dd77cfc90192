//! What can go wrong for the one who asked: a refusal with its sentence, or a failure of the mill whose cause is for the
//! log alone. It refuses to mix the two.
use crate::domain::notice::{Reason, Refusal};
use crate::store::read::StoreError;

/// The answer of an intent that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("{0}")]
    Refused(Refusal),
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// A node, a mail server, a file: something outside did not do its part.
    #[error("{doing} failed")]
    Outside {
        doing: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl AppError {
    pub fn outside(doing: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Outside { doing, source: source.into() }
    }
}

impl<R: Reason + 'static> From<R> for AppError {
    fn from(reason: R) -> Self {
        Self::Refused(reason.into())
    }
}

/// What every intent answers.
pub type Answer<T> = Result<T, AppError>;
