//! A database as each released form wrote it, opened by today's program: it must hold in every check, and what its makers
//! knew of it must still be read from it. `GRISTMILL_WRITE_FIXTURE=1` makes the one of the present form where there is none;
//! one that is there is never made anew, because files like it are out in the world.
mod facts;
mod make;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use gristmill::app::fleet::authority;
use gristmill::app::trust::seal::Seal;
use gristmill::app::upkeep;
use gristmill::base::ids::{LeaseId, UnitId};
use gristmill::base::window::{Instant, Span, Window};
use gristmill::clock;
use gristmill::domain::event::Cause;
use gristmill::store::open::FILE;
use gristmill::store::schema::{Form, SCHEMA};
use gristmill::store::{Changes, Command, OpenError, Store, verify};

use crate::store_open::Scratch;

const WRITE: &str = "GRISTMILL_WRITE_FIXTURE";
/// zstd's strongest ordinary level: the file is packed once and read for ever.
const LEVEL: i32 = 19;

fn home(form: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/form-{form}"))
}

/// Packs a stopped mill's directory, with what was known of it.
fn pack(dir: &Path, known: &str, home: &Path) {
    std::fs::create_dir_all(home).unwrap();
    let plain = std::fs::read(dir.join(FILE)).unwrap();
    std::fs::write(home.join("mill.redb.zst"), zstd::encode_all(plain.as_slice(), LEVEL).unwrap()).unwrap();
    std::fs::copy(dir.join("keys/seal.key"), home.join("seal.key")).unwrap();
    std::fs::write(home.join("facts.txt"), known).unwrap();
}

/// Unpacks a form's database into a data directory.
fn unpack(home: &Path, dir: &Path) {
    std::fs::create_dir_all(dir.join("keys")).unwrap();
    let packed = std::fs::read(home.join("mill.redb.zst")).unwrap();
    std::fs::write(dir.join(FILE), zstd::decode_all(packed.as_slice()).unwrap()).unwrap();
    let key = dir.join("keys/seal.key");
    std::fs::copy(home.join("seal.key"), &key).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn the_database_of_every_form_opens_and_holds() {
    if std::env::var_os(WRITE).is_some() && !home(SCHEMA).exists() {
        let dir = Scratch::new("fixture-made");
        let known = make::mill(&dir.0).await;
        pack(&dir.0, &known, &home(SCHEMA));
    }
    for form in 1..=SCHEMA {
        let home = home(form);
        assert!(home.exists(), "form {form} has no database in {}; make it with {WRITE}=1", home.display());
        let dir = Scratch::new(&format!("fixture-{form}"));
        unpack(&home, &dir.0);
        verify::check_file(&dir.0).unwrap();
        let store = Store::open(&dir.0, clock::now).unwrap();
        {
            let view = store.read().unwrap();
            let found = upkeep::recompute(&view).unwrap();
            assert!(found.holds, "form {form}: {:#?}", found.breaches);
            let known = std::fs::read_to_string(home.join("facts.txt")).unwrap();
            assert_eq!(facts::of(&view), known, "form {form} is read otherwise than it was written");
        }
        let seal = Seal::load(&dir.0.join("keys/seal.key")).unwrap();
        authority::open_root(&store, &seal).await.expect("the root's key, sealed then, is opened now");
        // It is not only read: the next writes go on from where it ended.
        let (before, unit) = (store.latest(), UnitId::from_u128(7));
        let wrote = Command::new(Cause::Operator);
        let hour = Window::lasting(Instant::from_seconds(0), Span::from_hours(1)).unwrap();
        let decide = move |_: &gristmill::store::View<'_>, now| {
            let mut changes = Changes::new();
            changes.occupy(unit, hour, LeaseId::from_u128(1));
            Ok((changes, now))
        };
        assert!(store.write(wrote, decide).await.unwrap() >= before);
        store.stop();
    }
}

#[test]
fn an_older_program_refuses_a_newer_file_and_leaves_it_alone() {
    let dir = Scratch::new("fixture-newer");
    unpack(&home(1), &dir.0);
    let store = Store::open(&dir.0, clock::now).unwrap();
    let raise = |_: &gristmill::store::View<'_>, _| {
        let mut changes = Changes::new();
        changes.put(&Form { schema: SCHEMA + 2, min_reader: SCHEMA + 1 });
        Ok((changes, ()))
    };
    store.write_blocking(Command::new(Cause::Operator), raise).unwrap();
    store.stop();
    for _ in 0..2 {
        // The second time tells that the first left the form as it was, and the check that every page is whole.
        let refused = Store::open(&dir.0, clock::now).map(Store::stop).unwrap_err();
        assert!(refused.to_string().contains("newer Gristmill"), "{refused}");
        let OpenError::Newer { found, known, .. } = refused else { panic!("{refused}") };
        assert_eq!((found, known), (SCHEMA + 2, SCHEMA));
        verify::check_file(&dir.0).unwrap();
    }
}
