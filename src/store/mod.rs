//! redb and nothing else: tables, records, the one writer, migrations, backup. It refuses rules; it applies what an intent
//! decided, whole or not at all.
pub mod bookings;
pub mod changes;
pub mod fleet;
pub mod money;
pub mod people;
pub mod read;
pub mod record;
pub mod tables;
