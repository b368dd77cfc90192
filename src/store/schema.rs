//! Which form the file has, and how an older form becomes today's: a numbered list of migrations, run at open in one
//! transaction. It refuses files that a newer program wrote in a way this one cannot read, and files that are no mill's.
use redb::{Database, ReadableDatabase, TableHandle};
use serde::{Deserialize, Serialize};

use super::batch::{Tables, begin};
use super::changes::RowChange;
use super::engine::{definition, engine, get};
use super::read::StoreError;
use super::record::{Key, Record};
use super::tables::Table;
use crate::base::window::Instant;

/// The form this program writes: the number of the last migration.
pub const SCHEMA: u32 = 1;
/// The oldest program (by its own `SCHEMA`) that may still open what this one writes.
pub const MIN_READER: u32 = 1;

/// The form of a file, kept in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    pub schema: u32,
    pub min_reader: u32,
}

impl Record for Form {
    const TABLE: Table = Table::Meta;
    type Key = &'static str;

    fn key(&self) -> &'static str {
        "schema"
    }
}

/// The latest instant the mill has decided at; its time never falls behind this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MillTime {
    pub latest: Instant,
}

impl Record for MillTime {
    const TABLE: Table = Table::Meta;
    type Key = &'static str;

    fn key(&self) -> &'static str {
        "time"
    }
}

/// One step from the form before `to` to `to`.
pub(super) struct Migration {
    pub to: u32,
    pub name: &'static str,
    pub run: fn(&Tables<'_>) -> Result<(), StoreError>,
}

/// In order, without gaps; an entry is never changed once a version with it was released.
pub(super) const MIGRATIONS: &[Migration] = &[Migration { to: 1, name: "the first form", run: |_| Ok(()) }];

/// Why a file's form cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FormError {
    #[error("it has form {found}, which needs a program that knows form {needs}; this one knows {known}")]
    Newer { found: u32, needs: u32, known: u32 },
    #[error("it holds no mill's data")]
    Foreign,
    #[error("the step to form {to} ({name}) failed")]
    Step {
        to: u32,
        name: &'static str,
        #[source]
        source: StoreError,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads the form of a file; `None` when it was never given one.
fn form(database: &Database) -> Result<Option<Form>, StoreError> {
    let transaction = database.begin_read().map_err(engine)?;
    let table = match transaction.open_table(definition(Table::Meta)) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(engine(error)),
    };
    let row = get(&table, &Key::bytes(&"schema"))?;
    Ok(row.map(|bytes| Form::decode(&bytes)).transpose()?)
}

fn lacks_tables(database: &Database) -> Result<bool, StoreError> {
    let transaction = database.begin_read().map_err(engine)?;
    let there: std::collections::HashSet<String> =
        transaction.list_tables().map_err(engine)?.map(|table| table.name().to_owned()).collect();
    Ok(Table::ALL.iter().any(|table| !there.contains(table.name())))
}

/// Brings a file to today's form. `fresh` says that it was made a moment ago, so that having no form is no surprise.
pub(super) fn prepare(database: &Database, fresh: bool, steps: &[Migration]) -> Result<(), FormError> {
    let known = steps.last().map_or(0, |step| step.to);
    let found = match form(database)? {
        Some(form) if form.min_reader > known => {
            return Err(FormError::Newer { found: form.schema, needs: form.min_reader, known });
        }
        Some(form) => form.schema,
        None if fresh => 0,
        None => return Err(FormError::Foreign),
    };
    if found >= known && !lacks_tables(database)? {
        return Ok(());
    }
    let transaction = begin(database)?;
    let tables = Tables::new(&transaction);
    for &table in Table::ALL {
        tables.with(table, |_| Ok(()))?;
    }
    for step in steps.iter().filter(|step| step.to > found) {
        tracing::info!(to = step.to, name = step.name, "bringing the database to a newer form");
        (step.run)(&tables).map_err(|source| FormError::Step { to: step.to, name: step.name, source })?;
    }
    if found < known {
        let form = Form { schema: known, min_reader: MIN_READER.min(known) };
        tables.set(&RowChange::of(&form))?;
    }
    drop(tables);
    transaction.commit().map_err(engine)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Database {
        redb::Builder::new().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap()
    }

    fn mark(tables: &Tables<'_>, key: &str) -> Result<(), StoreError> {
        tables.set(&RowChange { table: Table::Cursors, key: key.bytes().collect(), value: Some(vec![1]) })
    }

    const ONE: Migration = Migration { to: 1, name: "one", run: |tables| mark(tables, "one") };
    const TWO: Migration = Migration { to: 2, name: "two", run: |tables| mark(tables, "two") };
    const BROKEN: Migration = Migration {
        to: 2,
        name: "broken",
        run: |tables| mark(tables, "half").and(Err(StoreError::Missing { table: "cursors" })),
    };

    fn marks(database: &Database) -> Vec<String> {
        let transaction = database.begin_read().unwrap();
        let table = transaction.open_table(definition(Table::Cursors)).unwrap();
        redb::ReadableTable::iter(&table)
            .unwrap()
            .map(|row| String::from_utf8(row.unwrap().0.value().to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn the_list_has_no_gaps_and_ends_at_the_schema() {
        assert!(MIGRATIONS.iter().zip(1..).all(|(step, number)| step.to == number));
        assert_eq!(MIGRATIONS.last().map(|step| step.to), Some(SCHEMA));
    }

    #[test]
    fn each_step_runs_once() {
        let database = database();
        prepare(&database, true, &[ONE]).unwrap();
        assert_eq!(marks(&database), ["one"]);
        prepare(&database, false, &[ONE, TWO]).unwrap();
        prepare(&database, false, &[ONE, TWO]).unwrap();
        assert_eq!(marks(&database), ["one", "two"]);
        assert_eq!(form(&database).unwrap().map(|form| form.schema), Some(2));
    }

    #[test]
    fn a_failed_step_leaves_the_file_as_it_was() {
        let database = database();
        prepare(&database, true, &[ONE]).unwrap();
        let error = prepare(&database, false, &[ONE, BROKEN]).unwrap_err();
        assert!(matches!(error, FormError::Step { to: 2, .. }), "{error}");
        assert_eq!(marks(&database), ["one"]);
        assert_eq!(form(&database).unwrap().map(|form| form.schema), Some(1));
    }

    #[test]
    fn foreign_and_newer_files_are_refused() {
        let foreign = database();
        assert!(matches!(prepare(&foreign, false, &[ONE]), Err(FormError::Foreign)));
        let newer = database();
        prepare(&newer, true, &[ONE]).unwrap();
        let transaction = begin(&newer).unwrap();
        let form = Form { schema: 9, min_reader: 7 };
        Tables::new(&transaction).set(&RowChange::of(&form)).unwrap();
        transaction.commit().unwrap();
        let error = prepare(&newer, false, &[ONE]).unwrap_err();
        assert!(matches!(error, FormError::Newer { found: 9, needs: 7, known: 1 }), "{error}");
    }
}
