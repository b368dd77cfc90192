//! Every route as every role: who is answered what, that nothing is changed by looking or by a forged form, that what is
//! another team's looks like what does not exist, and that no input makes the mill itself fail.
mod goods;
mod hostile;
mod table;
mod world;

use std::collections::BTreeSet;

use rocket::http::Method;
use table::{Row, Want, rows};
use world::{Answer, Ask, Role, World, changed};

fn verdict(answer: &Answer) -> Option<Want> {
    match answer.status {
        _ if answer.to_sign_in() => Some(Want::SignIn),
        200..=299 | 303 => Some(Want::Yes),
        401 => Some(Want::Out),
        403 => Some(Want::Denied),
        404 => Some(Want::Gone),
        409 | 422 => Some(Want::Bad),
        503 => Some(Want::Away),
        _ => None,
    }
}

/// Sends a row as a role, with its names filled in.
async fn tried(world: &World, row: &Row, role: Role, there: bool) -> Answer {
    let uri = world.fill(row.uri, there);
    let mut ask = Ask::new(row.method, &uri, role);
    if row.method == Method::Post {
        ask = ask.body(world.fill(row.body, there));
    }
    if row.uri.contains("/terminal/ws") {
        // A page names itself; a program that did would be taken for one.
        if !row.api() {
            ask = ask.header("origin", "http://mill.example");
        }
        for (name, value) in [
            ("upgrade", "websocket"),
            ("connection", "upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            ask = ask.header(name, value);
        }
    }
    world.send(ask).await
}

fn none(what: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{what}:\n  {}\n", wrong.join("\n  "));
}

#[rocket::async_test]
async fn every_mounted_route_has_its_row() {
    let world = World::new().await;
    let mounted: BTreeSet<String> =
        world.client.rocket().routes().map(|route| format!("{} {}", route.method, route.uri.path())).collect();
    let listed: Vec<String> = rows().map(Row::name).collect();
    let known: BTreeSet<String> = listed.iter().cloned().collect();
    let missing: Vec<String> = mounted.difference(&known).cloned().collect();
    none("Routes without a row in tests/it/routes/table.rs", &missing);
    let lost: Vec<String> = known.difference(&mounted).cloned().collect();
    none("Rows without a route", &lost);
    assert_eq!(listed.len(), known.len(), "a row stands twice");
}

#[rocket::async_test]
async fn each_role_is_answered_as_the_table_says_and_looking_changes_nothing() {
    let mut wrong = Vec::new();
    let world = World::new().await;
    let before = world.dump();
    for row in rows().filter(|row| row.method == Method::Get) {
        for role in Role::ALL {
            let answer = tried(&world, row, role, true).await;
            let said = verdict(&answer);
            if said != Some(row.want(role)) {
                wrong.push(format!("{} as {role:?}: {} instead of {:?}", row.name(), answer.status, row.want(role)));
            }
        }
        let changes = changed(&before, &world.dump());
        if !changes.is_empty() {
            wrong.push(format!("{} changed {}", row.name(), changes.join(", ")));
            break;
        }
    }
    none("Pages answered otherwise than the table says", &wrong);
}

#[rocket::async_test]
async fn each_role_may_do_what_the_table_says_and_a_refusal_changes_nothing() {
    let mut wrong = Vec::new();
    let mut world = World::new().await;
    let mut before = world.dump();
    for row in rows().filter(|row| row.method == Method::Post) {
        for role in Role::ALL {
            let answer = tried(&world, row, role, true).await;
            let changes = changed(&before, &world.dump());
            // Signing out leads to the sign-in page as well, and does something.
            let said = if answer.to_sign_in() && !changes.is_empty() { Some(Want::Yes) } else { verdict(&answer) };
            let want = row.want(role);
            if said != Some(want) {
                wrong.push(format!("{} as {role:?}: {} instead of {want:?}", row.name(), answer.status));
            }
            if want != Want::Yes && !changes.is_empty() {
                wrong.push(format!("{} as {role:?} was refused and changed {}", row.name(), changes.join(", ")));
            }
            if !changes.is_empty() {
                world = World::new().await;
                before = world.dump();
            }
        }
    }
    none("Actions answered otherwise than the table says", &wrong);
}

/// For whoever may not see it, a thing of another team is answered byte for byte like one that is not there.
#[rocket::async_test]
async fn what_is_anothers_looks_like_what_does_not_exist() {
    let mut wrong = Vec::new();
    let mut compared = 0;
    let world = World::new().await;
    let names = |row: &&Row| row.uri.contains('{') || (row.api() && row.body.contains("\"{"));
    for row in rows().filter(names) {
        for role in Role::ALL {
            // Lead and admin see the booking whose inside they may not see: that it exists is no secret from them.
            let sees = role > Role::Stranger && (row.uri.contains("/terminal") || row.uri.contains("/log"));
            let hidden = match row.want(role) {
                Want::Gone => true,
                Want::Denied | Want::Bad => role == Role::Stranger,
                _ => false,
            };
            if !hidden || sees {
                continue;
            }
            compared += 1;
            let anothers = tried(&world, row, role, true).await;
            let nothing = tried(&world, row, role, false).await;
            // An answer that repeats what was asked may do so, in the place of the id alone.
            let (one, other) = (world.mask(&anothers.text(), true), world.mask(&nothing.text(), false));
            if (anothers.status, &one) != (nothing.status, &other)
                || (row.want(role) == Want::Gone && anothers != nothing)
            {
                let line = one.lines().zip(other.lines()).find(|(one, other)| one != other);
                wrong.push(format!("{} as {role:?}: {}, {}: {line:?}", row.name(), anothers.status, nothing.status));
            }
        }
    }
    none("Answers that tell another's from nothing", &wrong);
    assert!(compared >= 3, "only {compared} answers were compared");
}

#[rocket::async_test]
async fn a_forged_form_is_refused_and_changes_nothing() {
    let mut wrong = Vec::new();
    let world = World::new().await;
    let before = world.dump();
    let foreign = [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ];
    for row in rows().filter(|row| row.method == Method::Post && !row.api()) {
        let uri = world.fill(row.uri, true);
        let body = world.fill(row.body, true);
        for role in [Role::Anonymous, Role::Lead, Role::Admin] {
            if role == Role::Anonymous && !row.public() {
                continue;
            }
            for (name, value) in foreign {
                let ask = Ask::new(Method::Post, &uri, role).body(body.clone());
                let status = world.send(ask.header(name, value)).await.status;
                // Who may not see the route at all learns nothing of its form either.
                if status != 403 && !(status == 404 && row.want(role) == Want::Gone) {
                    wrong.push(format!("{} as {role:?} with {name}: {value} answered {status}", row.name()));
                }
            }
            if role == Role::Anonymous {
                continue;
            }
            let stolen = format!("{body}&csrf={}", world.token_of(Role::Member));
            for forged in [body.clone(), format!("{body}&csrf="), stolen] {
                let status = world.send(Ask::new(Method::Post, &uri, role).body(forged).without_token()).await.status;
                if status != 403 && !(status == 404 && row.want(role) == Want::Gone) {
                    wrong.push(format!("{} as {role:?} without its session's token answered {status}", row.name()));
                }
            }
        }
        let changes = changed(&before, &world.dump());
        assert!(changes.is_empty(), "{}: a forged form changed {}", row.name(), changes.join(", "));
    }
    none("Forged forms that were taken", &wrong);
}

/// A browser's cookie means nothing to the API, so that no page can use it.
#[rocket::async_test]
async fn the_api_knows_no_cookies() {
    let mut wrong = Vec::new();
    let world = World::new().await;
    let cookie = format!("gristmill={}", world.cookie_of(Role::Admin));
    for row in rows().filter(|row| row.api() && !row.public() && !row.uri.contains("/ws")) {
        let uri = world.fill(row.uri, true);
        let ask = Ask::new(row.method, &uri, Role::Anonymous).body(world.fill(row.body, true));
        let status = world.send(ask.header("cookie", &cookie)).await.status;
        if status != 401 {
            wrong.push(format!("{}: {status}", row.name()));
        }
    }
    none("Routes of the API that took a cookie", &wrong);
}

#[rocket::async_test]
async fn nothing_is_there_beside_the_front_door() {
    let mut wrong = Vec::new();
    let world = World::new().await;
    let before = world.dump();
    for row in rows().filter(|row| !row.static_file()) {
        let uri = world.fill(row.uri, true);
        for door in [None, Some(""), Some("a guess")] {
            for role in [Role::Anonymous, Role::Admin] {
                let ask = Ask::new(row.method, &uri, role).body(world.fill(row.body, true)).door(door);
                let status = world.send(ask).await.status;
                if status != 404 {
                    wrong.push(format!("{} as {role:?} with {door:?}: {status}", row.name()));
                }
            }
        }
    }
    none("Routes that answer beside the front door", &wrong);
    assert!(changed(&before, &world.dump()).is_empty());
}
