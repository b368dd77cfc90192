//! The mill as the intents see it: the store and the few things that live beside it in memory. It refuses globals: whoever
//! needs it is given it.
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::app::fleet::doors::Doors;
use crate::app::fleet::health::Watch;
use crate::app::fleet::hub::Hub;
use crate::app::fleet::program::Known;
use crate::app::fleet::samples::Telemetry;
use crate::app::fleet::unbooked::Watch as UnbookedWatch;
use crate::app::people::password::Passwords;
use crate::app::people::throttle::Throttle;
use crate::app::trust::seal::Seal;
use crate::store::Store;

/// Shared by all handlers and tasks; cheap to clone.
#[derive(Clone)]
pub struct Mill(Arc<Inner>);

/// What [`Mill`] leads to.
pub struct Inner {
    pub store: Store,
    pub passwords: Passwords,
    pub throttle: Throttle,
    pub seal: Arc<Seal>,
    /// Wakes the sender of mails.
    pub outbox: Notify,
    /// Told once when setup is done.
    pub set_up_done: Notify,
    pub hub: Arc<Hub>,
    /// What GPUs read, now and before.
    pub telemetry: Telemetry,
    /// What GPUs told that a rule may be about.
    pub health: Watch,
    /// What nodes say of use outside bookings, between two readings.
    pub unbooked: UnbookedWatch,
    /// Where people reach this server, without a trailing slash.
    pub public_url: String,
    pub data: PathBuf,
    /// Told once the doors are open.
    pub told_doors: OnceLock<Doors>,
    /// This program as a file.
    pub program: Known,
}

impl Mill {
    pub fn new(store: Store, seal: Arc<Seal>, hub: Arc<Hub>, public_url: &str, data: &Path) -> Self {
        Self(Arc::new(Inner {
            store,
            passwords: Passwords::new(),
            throttle: Throttle::default(),
            seal,
            outbox: Notify::new(),
            set_up_done: Notify::new(),
            hub,
            telemetry: Telemetry::default(),
            health: Watch::default(),
            unbooked: UnbookedWatch::default(),
            public_url: public_url.trim_end_matches('/').to_owned(),
            data: data.to_path_buf(),
            told_doors: OnceLock::new(),
            program: Known::default(),
        }))
    }

    /// A path on this server as people outside can open it. Never taken from a request's Host.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.public_url)
    }
}

impl std::ops::Deref for Mill {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}
