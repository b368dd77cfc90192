//! `gristmill verify --data DIR`: recomputes ledger and calendar of a stopped server from nothing. It refuses a directory in
//! use, makes no database where there is none, and mends nothing but what a crash left.
use std::path::{Path, PathBuf};

use crate::app::error::AppError;
use crate::app::upkeep;
use crate::store::open::FILE;
use crate::store::{OpenError, Store, verify as rows};
use crate::wire::api::money::VerifyAnswer;

/// Why a directory was not verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("there is no Gristmill data in {}. Name the directory that “gristmill serve --data” uses.", dir.display())]
    NothingThere { dir: PathBuf },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{0}")]
    App(#[from] AppError),
}

/// Checks every page of the file, then every row in it.
pub fn run(dir: &Path) -> Result<VerifyAnswer, VerifyError> {
    // Opening would make an empty database, and an empty database always holds.
    if !dir.join(FILE).is_file() {
        return Err(VerifyError::NothingThere { dir: dir.to_owned() });
    }
    rows::check_file(dir)?;
    let store = Store::open(dir, crate::clock::now)?;
    let found = store.read().map_err(AppError::from).and_then(|view| upkeep::recompute(&view));
    store.stop();
    Ok(found?)
}
