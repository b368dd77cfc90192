//! What can go wrong for the one who asked: a refusal with its sentence, or a failure of the mill whose cause is for the
//! log alone. It refuses to mix the two.
use crate::domain::notice::{Reason, Refusal};
use crate::store::read::StoreError;
use crate::store::{Reject, WriteError};

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

impl From<WriteError> for AppError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(refusal) => Self::Refused(refusal),
            WriteError::Store(error) => Self::Store(error),
        }
    }
}

impl From<Reject> for AppError {
    fn from(reject: Reject) -> Self {
        match reject {
            Reject::Refusal(refusal) => Self::Refused(refusal),
            Reject::Store(error) => Self::Store(error),
        }
    }
}

/// An error with everything beneath it, for the log.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}

/// What every intent answers.
pub type Answer<T> = Result<T, AppError>;
