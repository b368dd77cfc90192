//! Somebody of another team, no admin, who holds real ids of the first team's things: over the real front door each answer
//! is byte for byte the one for an id that was never given out, in the API and on the pages, headers included.
use std::collections::BTreeMap;

use gristmill::app::ids;
use gristmill::base::ids::{BookingId, DocumentId, InvitationId, NodeId, TeamId, TokenId};
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::{Api, newcomer};
use crate::mill::{ADMIN, Mill, PASSWORD, TEAM};

/// A browser, as far as a session goes.
pub struct Browser {
    http: Client,
    base: String,
    cookie: String,
    csrf: String,
}

impl Browser {
    pub async fn sign_in(mill: &Mill, email: &str, password: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
        let form = format!("email={}&password={}", email.replace('@', "%40"), password.replace(' ', "+"));
        let request = http.post(format!("{}/sign-in", mill.url)).header("sec-fetch-site", "same-origin");
        let answer =
            request.header("content-type", "application/x-www-form-urlencoded").body(form).send().await.unwrap();
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let mut browser = Self { http, base: mill.url.clone(), cookie, csrf: String::new() };
        let page = String::from_utf8(browser.ask(Method::GET, "/account", "").await.body).unwrap();
        browser.csrf = between(&page, "name=\"csrf\" value=\"", "\"").to_owned();
        browser
    }

    pub async fn ask(&self, method: Method, path: &str, form: &str) -> Said {
        let posts = method == Method::POST;
        let mut request = self.http.request(method, format!("{}{path}", self.base)).header("cookie", &self.cookie);
        if posts {
            let body = format!("{form}{}csrf={}", if form.is_empty() { "" } else { "&" }, self.csrf);
            request = request.header("sec-fetch-site", "same-origin");
            request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        }
        Said::read(request.send().await.unwrap()).await
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split_once(after).unwrap().0
}

/// An answer, whole.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Said {
    async fn read(answer: reqwest::Response) -> Self {
        let status = answer.status().as_u16();
        let kept = |headers: &HeaderMap| {
            // The time of day alone may differ.
            let each = headers.iter().filter(|(name, _)| *name != "date");
            each.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
        };
        let headers = kept(answer.headers());
        Self { status, headers, body: answer.bytes().await.unwrap().to_vec() }
    }

    /// Without what is fresh in each form, and with the names that were asked for put back for their values.
    fn masked(&self, asked: &str, given: &BTreeMap<&str, String>) -> (u16, BTreeMap<String, String>, String) {
        let put_back = |text: &str| {
            let all = given.iter().filter(|(name, _)| asked.contains(&format!("{{{name}}}")));
            all.fold(text.to_owned(), |text, (name, value)| text.replace(value.as_str(), &format!("{{{name}}}")))
        };
        let body = String::from_utf8_lossy(&self.body).into_owned();
        // The calendar around the form's answer shows what time it is.
        let answer = body.split_once("id=\"quote\"").and_then(|(_, rest)| rest.split_once("</form>"));
        let mut text = put_back(answer.map_or(&body, |(answer, _)| answer));
        let mut from = 0;
        while let Some(at) = text[from..].find("name=\"key\" value=\"") {
            let start = from + at + "name=\"key\" value=\"".len();
            let end = start + text[start..].find('"').unwrap();
            text.replace_range(start..end, "");
            from = start;
        }
        let mut headers = self.headers.clone();
        // A text that was put back may be longer or shorter.
        headers.remove("content-length");
        headers.values_mut().for_each(|value| *value = put_back(value));
        (self.status, headers, text)
    }
}

/// Something of everything that the first team has, by name; all of the same length as what stands for nothing.
async fn goods(mill: &Mill) -> BTreeMap<&'static str, String> {
    let ada = Api::new(mill, "admin");
    mill.run(&["run", "--team", TEAM, "--gpus", "1", "--for", "10m", "--", "sleep", "2"]).ok();
    mill.until("it is paid", |mill| {
        mill.json(&["statement", "--team", TEAM])["lines"].as_array().unwrap().iter().any(|l| l["kind"] == "delivery")
    });
    let month = chronicle_month(&mill.json(&["statement", "--team", TEAM]));
    let document = async || {
        let (status, draft) = ada.post("invoices", &json!({ "team": TEAM, "period": month })).await;
        assert_eq!(status, 200, "{draft}");
        draft["id"].as_str().unwrap().to_owned()
    };
    let issued = document().await;
    assert_eq!(ada.post(&format!("invoices/{issued}/issue"), &json!({})).await.0, 200);
    mill.run(&["run", "--team", TEAM, "--gpus", "1", "--for", "10m", "--", "sleep", "2"]).ok();
    mill.until("that is paid as well", |mill| {
        let lines = mill.json(&["statement", "--team", TEAM])["lines"].clone();
        lines.as_array().unwrap().iter().filter(|line| line["kind"] == "delivery").count() == 2
    });
    let draft = document().await;
    let book = async |command: Option<Value>| {
        let mut body = json!({ "gpus": 1, "duration_seconds": 3600, "title": "unspoken", "team": TEAM });
        if let Some(command) = command {
            body["command"] = command;
        }
        let id = ada.post("bookings", &body).await.1["id"].as_str().unwrap().to_owned();
        mill.until("it runs", |mill| mill.json(&["show", &id])["state"] == "active");
        id
    };
    let work = book(None).await;
    let batch = book(Some(json!(["sh", "-c", "echo secret; sleep 600"]))).await;
    let team = ada.get("teams").await.1;
    let team = team.as_array().unwrap().iter().find(|team| team["name"] == TEAM).unwrap();
    let invited = json!({ "email": "new@lab.example", "team": TEAM, "role": "member" });
    let invitation = ada.post("invitations", &invited).await.1["id"].as_str().unwrap().to_owned();
    BTreeMap::from([
        ("work", work),
        ("batch", batch),
        ("issued", issued),
        ("draft", draft),
        ("team", team["team"].as_str().unwrap().to_owned()),
        ("named", TEAM.to_owned()),
        ("invitation", invitation),
        ("token", mill.token("admin").split_once('.').unwrap().0.to_owned()),
        ("node", mill.json(&["nodes"])[0]["id"].as_str().unwrap().to_owned()),
    ])
}

/// The month of the newest line, in the statement's own words.
fn chronicle_month(statement: &Value) -> String {
    statement["lines"][0]["at"].as_str().unwrap()[..7].to_owned()
}

fn nothing() -> BTreeMap<&'static str, String> {
    let fresh = ids::fresh;
    BTreeMap::from([
        ("work", BookingId::from_u128(fresh()).to_string()),
        ("batch", BookingId::from_u128(fresh()).to_string()),
        ("issued", DocumentId::from_u128(fresh()).to_string()),
        ("draft", DocumentId::from_u128(fresh()).to_string()),
        ("team", TeamId::from_u128(fresh()).to_string()),
        ("named", "Nobodys".to_owned()),
        ("invitation", InvitationId::from_u128(fresh()).to_string()),
        ("token", TokenId::from_u128(fresh()).to_string()),
        ("node", NodeId::from_u128(fresh()).to_string()),
    ])
}

const GET: Method = Method::GET;
const POST: Method = Method::POST;

/// How the API is asked: method, path, body.
const API: &[(Method, &str, &str)] = &[
    (GET, "bookings/{work}", ""),
    (POST, "bookings/{work}/extend", r#"{"by_seconds":60}"#),
    (POST, "bookings/{work}/extend", r#"{"by_seconds":-60}"#),
    (POST, "bookings/{work}/release", "{}"),
    (POST, "bookings/{work}/cancel", "{}"),
    (GET, "bookings/{batch}/log", ""),
    (GET, "bookings/{batch}/log?from=3", ""),
    (GET, "bookings/{batch}/log/follow", ""),
    (POST, "bookings/{work}/terminal", "{}"),
    (GET, "bookings/{work}/terminal/ws?ticket=x&tab=1&cols=80&rows=24", ""),
    (POST, "bookings", r#"{"gpus":1,"duration_seconds":60,"team":"{team}"}"#),
    (POST, "bookings", r#"{"gpus":1,"duration_seconds":60,"team":"{named}"}"#),
    (POST, "quotes", r#"{"gpus":1,"duration_seconds":60,"team":"{team}"}"#),
    (POST, "quotes", r#"{"gpus":1,"duration_seconds":60,"team":"{named}"}"#),
    (GET, "teams/{team}/statement", ""),
    (GET, "teams/{named}/statement?limit=1", ""),
    (POST, "invitations", r#"{"email":"x@lab.example","team":"{team}","role":"member"}"#),
    (POST, "invitations", r#"{"email":"x@lab.example","team":"{named}","role":"lead"}"#),
    (GET, "invoices/{issued}", ""),
    (GET, "invoices/{draft}", ""),
    (GET, "invoices/{issued}/pdf", ""),
    (GET, "invoices/{draft}/pdf", ""),
    (POST, "invoices", r#"{"team":"{team}","period":"2026-01"}"#),
    (POST, "invoices/{draft}/issue", "{}"),
    (POST, "invoices/{issued}/settle", "{}"),
    (POST, "grants", r#"{"team":"{named}","amount":"5","reason":"mine"}"#),
];

/// How the pages are asked: method, path, fields.
const PAGES: &[(Method, &str, &str)] = &[
    (GET, "/bookings/{work}", ""),
    (POST, "/bookings/{work}/extend", "by=3600"),
    (POST, "/bookings/{work}/release", ""),
    (POST, "/bookings/{work}/cancel", ""),
    (GET, "/bookings/{batch}/log?from=0", ""),
    (GET, "/bookings/{batch}/log.txt", ""),
    (GET, "/bookings/{work}/terminal", ""),
    (POST, "/bookings/{work}/terminal/ticket", ""),
    (GET, "/bookings/{work}/terminal/ws?ticket=x&tab=1&cols=80&rows=24", ""),
    (
        POST,
        "/calendar",
        "action=book&seen=0&gpus=1&when=soon&for=1h&work=batch&command=true&team={team}&model=&title=x",
    ),
    (POST, "/calendar/quote", "gpus=1&when=soon&for=1h&work=batch&command=true&team={named}&model=&title=x"),
    (GET, "/statement?team={team}", ""),
    (GET, "/statement?team={named}&before=3", ""),
    (POST, "/grants", "team={team}&amount=5&reason=mine"),
    (GET, "/invoices/{issued}", ""),
    (GET, "/invoices/{draft}", ""),
    (GET, "/invoices/{issued}/pdf", ""),
    (POST, "/invoices/{draft}/issue", ""),
    (POST, "/invoices/{issued}/settle", ""),
    (GET, "/people?team={team}", ""),
    (GET, "/people?team={named}", ""),
    (POST, "/people/invite", "email=x%40lab.example&team={team}&role=member"),
    (POST, "/people/invitations/{invitation}/revoke", ""),
    (POST, "/account/tokens/{token}/revoke", ""),
    (POST, "/nodes/{node}/revoke", ""),
    (POST, "/nodes/{node}/admit", ""),
    (GET, "/find?q={work}", ""),
    (GET, "/find?q={named}", ""),
    (GET, "/find?q={issued}", ""),
];

fn fill(text: &str, given: &BTreeMap<&'static str, String>) -> String {
    given.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_holds_the_id_of_is_answered_like_nothing() {
    let mill = Mill::new();
    let ada = Browser::sign_in(&mill, ADMIN, PASSWORD).await;
    assert_eq!(ada.ask(POST, "/people/teams", "name=Sound&cost_centre=").await.status, 303);
    newcomer(&mill, "sam", "Sound", "lead").await;
    let sam = Api::new(&mill, "sam");
    let page = Browser::sign_in(&mill, "sam@lab.example", "quite a good password").await;
    let (there, nowhere) = (goods(&mill).await, nothing());
    let (mut wrong, mut gone) = (Vec::new(), 0);
    let mut compare = |what: String, real: Said, fake: Said| {
        gone += usize::from(real.status == 404);
        // Searches answer with nothing found, and the form's part for the price with its refusal.
        let said = real.status < 400 && ["/find", "/calendar/quote"].iter().any(|path| what.contains(path));
        assert!((400..500).contains(&real.status) || said, "{what}: {real:?}");
        // What is not there says so in the same bytes; only a refusal may repeat what was asked, in its place.
        if real.status == 404 && real != fake || real.masked(&what, &there) != fake.masked(&what, &nowhere) {
            let (real, fake) = (real.masked(&what, &there), fake.masked(&what, &nowhere));
            wrong.push(format!("{what}\n    {real:?}\n    {fake:?}"));
        }
    };
    for (method, path, body) in API {
        let ask = async |given| {
            let request = sam.ask(method.clone(), &fill(path, given));
            let request = if *method == POST { request.body(fill(body, given)) } else { request };
            Said::read(request.send().await.unwrap()).await
        };
        compare(format!("API {method} {path} {body}"), ask(&there).await, ask(&nowhere).await);
    }
    for (method, path, form) in PAGES {
        let ask = async |given| page.ask(method.clone(), &fill(path, given), &fill(form, given)).await;
        compare(format!("page {method} {path} {form}"), ask(&there).await, ask(&nowhere).await);
    }
    assert!(wrong.is_empty(), "told apart:\n{}", wrong.join("\n"));
    assert!(gone >= 40, "only {gone} of the answers said that there is nothing");
    // And nothing of it was done.
    for booking in ["work", "batch"] {
        assert_eq!(mill.json(&["show", &there[booking]])["state"], "active");
    }
    assert!(mill.json(&["bookings", "--all"]).as_array().unwrap().iter().all(|booking| booking["team_name"] == TEAM));
    let (lists, own) = (sam.get("bookings?all=true").await.1, sam.get("invoices").await.1);
    assert_eq!((lists, own), (json!([]), json!([])));
    // What every member sees of the fleet does not name the booking that holds it.
    for path in ["gpus", "nodes"] {
        let seen = sam.get(path).await.1.to_string();
        assert!(!seen.contains(&there["work"]) && !seen.contains("unspoken"), "{seen}");
    }
}
