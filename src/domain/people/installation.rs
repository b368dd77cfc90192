//! The organisation itself: what the first start decides. It refuses defaults that are not documented here.
use serde::{Deserialize, Serialize};

use crate::base::text::Name;
use crate::base::window::Instant;

/// How money is meant. Chosen at setup, changeable at the start of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Everything is priced and reported; quotas refuse, a balance never does.
    Showback,
    /// Balances and credit limits refuse too.
    Chargeback,
}

/// Whether the hardware exists. A property of the whole installation, stored at setup and never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Reality {
    Real,
    /// For evaluation, tests and load: marked everywhere, invoices are SPECIMEN.
    Simulated {
        gpus: u32,
    },
}

/// The one installation record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    pub organisation: Name,
    /// ISO 4217, such as `EUR`.
    pub currency: String,
    /// IANA name, such as `Europe/Berlin`; rules invoice boundaries and default display.
    pub time_zone: String,
    pub mode: Mode,
    pub reality: Reality,
    pub created: Instant,
    pub smtp: Option<Smtp>,
    /// Printed on documents.
    pub address: Vec<String>,
}

/// Outgoing mail. The password is sealed, never stored open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Smtp {
    pub host: String,
    pub port: u16,
    pub security: SmtpSecurity,
    pub user: Option<String>,
    pub sealed_password: Option<String>,
    pub from: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpSecurity {
    Tls,
    StartTls,
    /// Loopback relays only.
    None,
}

impl Installation {
    /// Defaults of the first start, shown on the setup page and in the README.
    pub const DEFAULT_CURRENCY: &'static str = "EUR";
    pub const DEFAULT_TIME_ZONE: &'static str = "UTC";
    /// Credits granted to the first team.
    pub const DEFAULT_GRANT: i64 = 1000;

    pub fn simulated(&self) -> bool {
        matches!(self.reality, Reality::Simulated { .. })
    }
}
