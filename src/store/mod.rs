//! redb and nothing else: tables, records, the one writer, migrations, backup. It refuses rules; it applies what an intent
//! decided, whole or not at all.
pub mod answers;
pub mod backup;
mod batch;
pub mod bookings;
pub mod changes;
pub mod checkpoint;
pub mod command;
mod create;
mod engine;
pub mod events;
pub mod fleet;
mod lock;
mod medium;
pub mod money;
pub mod occupancy;
pub mod open;
pub mod people;
pub mod read;
pub mod record;
pub mod restore;
pub mod samples;
pub mod schema;
mod supply;
pub mod tables;
pub mod verify;
pub mod view;
mod writer;

pub use changes::{CalendarChange, Changes};
pub use command::{Command, IdempotencyKey, Reject, WriteError};
pub use events::{Committed, Subscription};
pub use medium::Medium;
pub use open::{OpenError, OpenOptions, Readiness, Store};
pub use read::{Order, Read, StoreError};
pub use view::{Snapshot, View};
