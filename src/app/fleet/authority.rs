//! Where the mill's root lives: its certificate in the open, its key sealed, both in one row that is written once. It
//! refuses to make a second root: every node and browser that trusts the first would be lost.
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};

use crate::app::error::{Answer, AppError};
use crate::app::ids;
use crate::app::trust::seal::{Seal, Sealed};
use crate::app::trust::{self, Issued, Root};
use crate::base::window::Instant;
use crate::clock;
use crate::domain::event::Cause;
use crate::domain::people::installation::Installation;
use crate::store::Store;
use crate::store::changes::Changes;
use crate::store::command::Command;
use crate::store::people::INSTALLATION;
use crate::store::people::Only;
use crate::store::read::{Read, StoreError};
use crate::store::record::Record;
use crate::store::tables::Table;
use crate::wire::node::GATEWAY_NAME;

const ROOT: Only = Only("root");

/// The root as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RootRow {
    certificate_pem: String,
    key: Sealed,
}

impl Record for RootRow {
    const TABLE: Table = Table::Sealed;
    type Key = Only;

    fn key(&self) -> Only {
        ROOT
    }
}

/// Opens the mill's root; makes it on the very first start. The key is sealed before it first reaches the store.
pub async fn open_root(store: &Store, seal: &Seal) -> Answer<Root> {
    let (known, organisation) = {
        let view = store.read()?;
        (view.get::<RootRow>(&ROOT)?, view.get::<Installation>(&INSTALLATION)?.map(|i| i.organisation.to_string()))
    };
    let row = match known {
        Some(row) => row,
        None => make_root(store, seal, organisation.as_deref().unwrap_or("mill")).await?,
    };
    Root::open(&row.certificate_pem, &row.key, seal)
        .map_err(|error| AppError::outside("opening the mill's root", error))
}

async fn make_root(store: &Store, seal: &Seal, organisation: &str) -> Answer<RootRow> {
    let failed = |error| AppError::outside("making the mill's root", error);
    let root = Root::make(organisation, ids::fresh(), clock::now()).map_err(failed)?;
    let key = root.sealed_key(seal).map_err(failed)?;
    let made = RootRow { certificate_pem: root.certificate_pem().to_owned(), key };
    let decide = move |view: &crate::store::view::View<'_>, _: Instant| {
        let mut changes = Changes::new();
        let row = match view.get::<RootRow>(&ROOT)? {
            Some(first) => first,
            None => {
                changes.put(&made);
                made.clone()
            }
        };
        Ok((changes, row))
    };
    Ok(store.write(Command::new(Cause::Mill), decide).await?)
}

/// The root's certificate for people to download and trust; `None` before the first start made it.
pub fn root_certificate(view: &impl Read) -> Result<Option<String>, StoreError> {
    Ok(view.get::<RootRow>(&ROOT)?.map(|row| row.certificate_pem))
}

/// Its fingerprint, by which people know the right one: SHA-256, in hexadecimal.
pub fn root_fingerprint(view: &impl Read) -> Answer<Option<String>> {
    let Some(pem) = root_certificate(view)? else { return Ok(None) };
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes());
    let certificate = certificate.map_err(|error| AppError::outside("reading the mill's root", error))?;
    Ok(Some(trust::fingerprint(&certificate)))
}

/// A key and certificate for the gateway. Agents insist on its one name, whatever address they dial.
pub fn gateway_certificate(root: &Root) -> Answer<Issued> {
    root.server_certificate(&[GATEWAY_NAME.to_owned()], ids::fresh(), clock::now())
        .map_err(|error| AppError::outside("making the gateway's certificate", error))
}
