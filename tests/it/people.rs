//! People as they come and go: setting up once, signing in, inviting, leaving; against a real store in memory.
use std::path::Path;
use std::sync::Arc;

use gristmill::app::error::AppError;
use gristmill::app::fleet::hub::Hub;
use gristmill::app::ids;
use gristmill::app::mill::Mill;
use gristmill::app::people::setup::{self, SetUp, SetupInput};
use gristmill::app::people::{actor, invite, notices, signin, teams, tokens};
use gristmill::app::trust::seal::Seal;
use gristmill::base::credits::Credits;
use gristmill::base::secret::Secret;
use gristmill::clock;
use gristmill::domain::people::installation::{Mode, Reality};
use gristmill::domain::people::rights::Actor;
use gristmill::store::tables::Table;
use gristmill::store::{IdempotencyKey, Read, Store};
use gristmill::wire::api::people::{InviteRequest, LoginRequest};

const PASSWORD: &str = "a turn at the stone";

fn mill(dir: &Path) -> Mill {
    let seal = Arc::new(Seal::load_or_create(&dir.join("keys/seal.key")).unwrap());
    Mill::new(Store::memory(clock::now), seal, Arc::new(Hub::default()), "https://mill.example/", dir)
}

fn input() -> SetupInput {
    SetupInput {
        organisation: "Mill Lab".parse().unwrap(),
        admin_email: "Ada@Lab.example".parse().unwrap(),
        admin_name: "Ada Okafor".parse().unwrap(),
        team: "Vision".parse().unwrap(),
        password: Secret::new(PASSWORD),
        currency: "EUR".to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
        mode: Mode::Showback,
        grant: Credits::from_whole(1000).unwrap(),
        reality: Reality::Simulated { gpus: 4 },
    }
}

struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("gristmill-people-{}", ids::fresh()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn set_up(folder: &Folder) -> (Mill, SetUp, Actor) {
    let mill = mill(&folder.0);
    let made = setup::set_up(&mill, None, input(), None).await.unwrap();
    let actor = load(&mill, made.member);
    (mill, made, actor)
}

fn load(mill: &Mill, member: gristmill::base::ids::MemberId) -> Actor {
    actor::load(&mill.store.read().unwrap(), member).unwrap().unwrap().1
}

fn code(error: AppError) -> &'static str {
    match error {
        AppError::Refused(refusal) => refusal.reason().code(),
        other => panic!("not a refusal: {other:?}"),
    }
}

async fn invited(mill: &Mill, who: &Actor, email: &str, role: &str) -> String {
    let request = InviteRequest { email: email.into(), team: "vision".into(), role: role.into() };
    let made = invite::invite(mill, who, request, None).await.unwrap();
    made.link.unwrap().strip_prefix("https://mill.example/join/").unwrap().to_owned()
}

#[tokio::test]
async fn setup_happens_once_and_only_by_the_newest_link() {
    let folder = Folder::new();
    let mill = mill(&folder.0);
    let old = setup::new_link(&mill).await.unwrap().unwrap();
    let link = setup::new_link(&mill).await.unwrap().unwrap();
    assert_eq!(code(setup::set_up(&mill, Some(old), input(), None).await.unwrap_err()), "link_spent");
    setup::set_up(&mill, Some(link.clone()), input(), None).await.unwrap();
    assert_eq!(code(setup::set_up(&mill, Some(link), input(), None).await.unwrap_err()), "already_set_up");
    assert_eq!(code(setup::set_up(&mill, None, input(), None).await.unwrap_err()), "already_set_up");
    assert!(setup::new_link(&mill).await.unwrap().is_none());
    let view = mill.store.read().unwrap();
    let team = teams::list(&view, &load(&mill, signed_in(&mill).await)).unwrap().remove(0);
    let balance = gristmill::app::money::balance::balance(&view, team.team).unwrap();
    assert_eq!(balance.available, Credits::from_whole(1000).unwrap());
}

async fn signed_in(mill: &Mill) -> gristmill::base::ids::MemberId {
    signin::sign_in(mill, "ada@lab.example", Secret::new(PASSWORD), None, "test").await.unwrap().1
}

#[tokio::test]
async fn bad_setup_is_named_and_changes_nothing() {
    let folder = Folder::new();
    let mill = mill(&folder.0);
    let cases = [
        SetupInput { currency: "Euro".into(), ..input() },
        SetupInput { time_zone: "Mars/Base".into(), ..input() },
        SetupInput { grant: Credits::from_micros(-1), ..input() },
        SetupInput { reality: Reality::Simulated { gpus: 65 }, ..input() },
        SetupInput { password: Secret::new("password1"), ..input() },
    ];
    for case in cases {
        let refused = code(setup::set_up(&mill, None, case, None).await.unwrap_err());
        assert!(["bad_field", "weak_password"].contains(&refused), "{refused}");
    }
    assert!(setup::installation(&mill.store.read().unwrap()).unwrap().is_none());
}

#[tokio::test]
async fn unknown_and_wrong_look_the_same_and_guessing_is_slowed() {
    let folder = Folder::new();
    let (mill, ..) = set_up(&folder).await;
    let address = Some([192, 0, 2, 1].into());
    for (email, password) in [("ada@lab.example", "wrong"), ("nobody@lab.example", PASSWORD), ("not an address", "x")] {
        let error = signin::sign_in(&mill, email, Secret::new(password), address, "").await.unwrap_err();
        assert_eq!(code(error), "wrong_credentials");
    }
    let mut slowed = false;
    for _ in 0..8 {
        let error = signin::sign_in(&mill, "ada@lab.example", Secret::new("no"), address, "").await.unwrap_err();
        slowed |= code(error) == "too_many_attempts";
    }
    assert!(slowed, "after several failures the account waits");
}

#[tokio::test]
async fn sessions_end_when_told_and_hold_no_secret_in_the_store() {
    let folder = Folder::new();
    let (mill, ..) = set_up(&folder).await;
    let (cookie, _) = signin::sign_in(&mill, "ADA@lab.example ", Secret::new(PASSWORD), None, "a\nb").await.unwrap();
    let now = clock::now();
    let signed_in = signin::authenticate(&mill, cookie.expose(), now).await.unwrap();
    let secret = cookie.expose().split_once('.').unwrap().1.to_owned();
    let rows = mill.store.read().unwrap().raw_range(
        Table::Sessions,
        std::ops::Bound::Unbounded,
        std::ops::Bound::Unbounded,
        gristmill::store::Order::Ascending,
        10,
    );
    for (_, row) in rows.unwrap() {
        assert!(!String::from_utf8_lossy(&row).contains(&secret));
    }
    for forged in ["", "x", &format!("{}x", cookie.expose()), &cookie.expose().replace("ss_", "mb_")] {
        assert_eq!(code(signin::authenticate(&mill, forged, now).await.unwrap_err()), "signed_out");
    }
    let late = now.plus(signin::IDLE);
    assert_eq!(code(signin::authenticate(&mill, cookie.expose(), late).await.unwrap_err()), "signed_out");
    signin::sign_out(&mill, &signed_in).await.unwrap();
    assert_eq!(code(signin::authenticate(&mill, cookie.expose(), now).await.unwrap_err()), "signed_out");
}

#[tokio::test]
async fn an_invitation_works_once_for_its_team_and_role() {
    let folder = Folder::new();
    let (mill, made, ada) = set_up(&folder).await;
    let link = invited(&mill, &ada, "bo@lab.example", "member").await;
    let offer = invite::offer(&mill.store.read().unwrap(), &link, clock::now()).unwrap();
    assert_eq!((offer.email.as_str(), offer.team_name.as_str(), offer.known), ("bo@lab.example", "Vision", false));
    let weak = invite::accept(&mill, &link, Some("Bo".parse().unwrap()), Secret::new("short")).await;
    assert_eq!(code(weak.unwrap_err()), "weak_password");
    let joined = invite::accept(&mill, &link, Some("Bo".parse().unwrap()), Secret::new(PASSWORD)).await.unwrap();
    assert_eq!(joined.team, made.team);
    let again = invite::accept(&mill, &link, Some("Eve".parse().unwrap()), Secret::new(PASSWORD)).await;
    assert_eq!(code(again.unwrap_err()), "link_spent");
    let bo = load(&mill, joined.member);
    assert!(!bo.admin && bo.books_for(made.team));
    // A member invites nobody, and sees no invitation; to a stranger the team does not exist.
    let request = InviteRequest { email: "c@lab.example".into(), team: "Vision".into(), role: "member".into() };
    assert_eq!(code(invite::invite(&mill, &bo, request.clone(), None).await.unwrap_err()), "denied");
    let stranger = Actor { memberships: Vec::new(), ..bo };
    assert_eq!(code(invite::invite(&mill, &stranger, request, None).await.unwrap_err()), "not_found");
    let taken = InviteRequest { email: "bo@lab.example".into(), team: "Vision".into(), role: "lead".into() };
    assert_eq!(code(invite::invite(&mill, &ada, taken, None).await.unwrap_err()), "already_member");
}

#[tokio::test]
async fn a_withdrawn_or_forged_link_does_not_work() {
    let folder = Folder::new();
    let (mill, _, ada) = set_up(&folder).await;
    let link = invited(&mill, &ada, "bo@lab.example", "lead").await;
    let id = link.split_once('.').unwrap().0.parse().unwrap();
    let forged = format!("{id}.{}", Secret::from_bytes(&ids::random_256()).expose());
    let view = mill.store.read().unwrap();
    assert_eq!(code(invite::offer(&view, &forged, clock::now()).unwrap_err()), "link_spent");
    drop(view);
    invite::revoke(&mill, &ada, id).await.unwrap();
    let spent = invite::offer(&mill.store.read().unwrap(), &link, clock::now());
    assert_eq!(code(spent.unwrap_err()), "link_spent");
}

#[tokio::test]
async fn a_replayed_invitation_answers_alike_but_shows_no_second_link() {
    let folder = Folder::new();
    let (mill, _, ada) = set_up(&folder).await;
    let request = InviteRequest { email: "bo@lab.example".into(), team: "Vision".into(), role: "member".into() };
    let key = IdempotencyKey::new("one").unwrap();
    let first = invite::invite(&mill, &ada, request.clone(), Some(key.clone())).await.unwrap();
    let second = invite::invite(&mill, &ada, request.clone(), Some(key.clone())).await.unwrap();
    assert_eq!(first.id, second.id);
    assert!(first.link.is_some() && second.link.is_none());
    let other = InviteRequest { role: "lead".into(), ..request };
    assert_eq!(code(invite::invite(&mill, &ada, other, Some(key)).await.unwrap_err()), "idempotency_key_reused");
}

#[tokio::test]
async fn tokens_work_until_they_are_ended() {
    let folder = Folder::new();
    let (mill, made, _) = set_up(&folder).await;
    let request =
        LoginRequest { email: "ada@lab.example".into(), password: PASSWORD.into(), label: Some("laptop".into()) };
    let answer = tokens::login(&mill, request, None).await.unwrap();
    assert!(answer.member.admin && answer.member.teams[0].name == "Vision");
    let who = tokens::authenticate(&mill, &answer.token, clock::now()).unwrap();
    assert_eq!(who.member.id, made.member);
    assert!(tokens::authenticate(&mill, &answer.token, answer.expires.0).is_err());
    let id = tokens::list(&mill.store.read().unwrap(), made.member).unwrap()[0].id;
    tokens::revoke(&mill, made.member, id).await.unwrap();
    assert!(tokens::authenticate(&mill, &answer.token, clock::now()).is_err());
}

#[tokio::test]
async fn a_changed_password_ends_the_other_sessions() {
    let folder = Folder::new();
    let (mill, ..) = set_up(&folder).await;
    let (here, _) = signin::sign_in(&mill, "ada@lab.example", Secret::new(PASSWORD), None, "here").await.unwrap();
    let (there, _) = signin::sign_in(&mill, "ada@lab.example", Secret::new(PASSWORD), None, "there").await.unwrap();
    let who = signin::authenticate(&mill, here.expose(), clock::now()).await.unwrap();
    let new = Secret::new("quite another phrase");
    tokens::change_password(&mill, &who, Secret::new(PASSWORD), new.clone()).await.unwrap();
    assert!(signin::authenticate(&mill, here.expose(), clock::now()).await.is_ok());
    assert!(signin::authenticate(&mill, there.expose(), clock::now()).await.is_err());
    assert!(signin::sign_in(&mill, "ada@lab.example", Secret::new(PASSWORD), None, "").await.is_err());
    assert!(signin::sign_in(&mill, "ada@lab.example", new, None, "").await.is_ok());
}

#[tokio::test]
async fn notices_are_there_until_read() {
    let folder = Folder::new();
    let (mill, made, _) = set_up(&folder).await;
    let then = mill.clone();
    let tell = move |view: &gristmill::store::View<'_>, now| {
        let mut changes = gristmill::store::Changes::new();
        let telling = notices::Telling {
            member: made.member,
            subject: "Your booking starts soon".into(),
            text: "2 GPUs are yours in 15 minutes.".into(),
            link: Some("/bookings".into()),
            letter: None,
        };
        notices::tell(view, &mut changes, then.post(), telling, now)?;
        Ok((changes, ()))
    };
    mill.store.write(gristmill::store::Command::new(gristmill::domain::event::Cause::Mill), tell).await.unwrap();
    assert_eq!(notices::unread(&mill.store.read().unwrap(), made.member).unwrap(), 1);
    notices::mark_read(&mill, made.member).await.unwrap();
    assert_eq!(notices::unread(&mill.store.read().unwrap(), made.member).unwrap(), 0);
    assert_eq!(notices::list(&mill.store.read().unwrap(), made.member).unwrap().len(), 1);
}
