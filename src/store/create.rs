//! Makes a new database so that a crash leaves either none or a whole one. It refuses to touch a file that has the name.
use std::fs::{self, File};
use std::path::Path;

use super::medium::builder;
use super::open::{OpenError, classify};
use super::schema;
use super::writer::explain;

/// Writes a new database under a name of its own, makes it durable, and only then gives it its name.
pub(super) fn create(dir: &Path, path: &Path) -> Result<(), OpenError> {
    let draft = path.with_extension("redb.new");
    let io = |source| OpenError::Io { path: draft.clone(), source };
    // A draft is left by a crash before its naming; nothing was ever promised on it.
    match fs::remove_file(&draft) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(io(source)),
        _ => {}
    }
    let database = builder().create(&draft).map_err(|error| classify(error, &draft))?;
    schema::prepare(&database, true, schema::MIGRATIONS)
        .map_err(|error| OpenError::Io { path: draft.clone(), source: std::io::Error::other(explain(&error)) })?;
    drop(database);
    name(&draft, dir, path).map_err(io)
}

/// Makes `draft` durable and gives it the name `path`, unless that exists.
pub(super) fn name(draft: &Path, dir: &Path, path: &Path) -> std::io::Result<()> {
    File::open(draft)?.sync_all()?;
    // A hard link refuses an existing name, where a rename would replace it.
    fs::hard_link(draft, path)?;
    fs::remove_file(draft)?;
    File::open(dir)?.sync_all()
}
