//! The JSON API over the real front door: what a program may rely on, and what a hostile one gets.
mod strangers;

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::mill::Mill;

/// A program with a token.
struct Api {
    http: Client,
    base: String,
    token: String,
}

impl Api {
    fn new(mill: &Mill, who: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(120)).build().unwrap();
        Self { http, base: format!("{}/api/v1", mill.url), token: mill.token(who) }
    }

    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}/{path}", self.base)).bearer_auth(&self.token)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        read(self.ask(Method::GET, path).send().await.unwrap()).await
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        read(self.ask(Method::POST, path).json(body).send().await.unwrap()).await
    }
}

async fn read(answer: Response) -> (u16, Value) {
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|bad| panic!("{status} {bad}: {text}")))
}

fn is_problem(answer: &(u16, Value), status: u16, code: &str) {
    assert_eq!((answer.0, answer.1["code"].as_str()), (status, Some(code)), "{answer:?}");
    for part in ["what", "why", "next"] {
        assert!(answer.1[part].as_str().is_some_and(|text| !text.is_empty()), "{answer:?}");
    }
}

/// Invites somebody with the command line and has them join by the form of the link's page.
async fn newcomer(mill: &Mill, who: &str, team: &str, role: &str) {
    let email = format!("{who}@lab.example");
    let link = mill.run(&["invite", "--email", &email, "--team", team, "--role", role]).ok();
    let http = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let form = format!("name={who}&password=quite+a+good+password");
    let request = http.post(link.trim()).header("content-type", "application/x-www-form-urlencoded").body(form);
    let answer = request.header("sec-fetch-site", "same-origin").send().await.unwrap();
    assert!(answer.status().is_redirection(), "{answer:?}");
    mill.login(who, &email, "quite a good password");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_sent_twice_happens_once() {
    let mill = Mill::new();
    let api = Api::new(&mill, "admin");
    let body = json!({ "gpus": 1, "duration_seconds": 3600 });
    let send = |key: &'static str, body: &Value| {
        api.ask(Method::POST, "bookings").header("idempotency-key", key).json(body).send()
    };
    let first = read(send("once", &body).await.unwrap()).await;
    let again = read(send("once", &body).await.unwrap()).await;
    assert_eq!((first.0, &first.1["id"]), (200, &again.1["id"]), "{again:?}");
    let other = read(send("twice", &body).await.unwrap()).await;
    assert_ne!(first.1["id"], other.1["id"]);
    let reused = read(send("once", &json!({ "gpus": 2, "duration_seconds": 3600 })).await.unwrap()).await;
    is_problem(&reused, 409, "idempotency_key_reused");
    let list = api.get("bookings").await.1;
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");
    let bad = api.ask(Method::POST, "bookings").header("idempotency-key", "a b").json(&body).send().await.unwrap();
    is_problem(&read(bad).await, 400, "bad_key");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_named_and_changes_nothing() {
    let mill = Mill::new();
    let api = Api::new(&mill, "admin");
    let send = |body: String| api.ask(Method::POST, "bookings").body(body).send();
    is_problem(&read(send("{\"gpus\":1,".to_owned()).await.unwrap()).await, 400, "bad_json");
    is_problem(&read(send("[]".to_owned()).await.unwrap()).await, 422, "bad_body");
    let unknown = api.post("bookings", &json!({ "gpus": 1, "duration_seconds": 60, "price": 0 })).await;
    is_problem(&unknown, 422, "bad_body");
    assert!(unknown.1["why"].as_str().unwrap().contains("price"), "{unknown:?}");
    let huge = send(format!("{{\"gpus\":1,\"title\":\"{}\"", "x".repeat(2 << 20))).await.unwrap();
    is_problem(&read(huge).await, 413, "too_large");
    is_problem(&api.get("no/such/place").await, 404, "not_found");
    is_problem(&api.get("bookings?state=lost").await, 422, "bad_field");
    assert_eq!(api.get("bookings?all=true").await.1, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_token_counts() {
    let mill = Mill::new();
    let api = Api::new(&mill, "admin");
    for request in [
        api.http.get(format!("{}/status", api.base)),
        api.http.get(format!("{}/status", api.base)).bearer_auth("tk_00000000000000000000000000.secret"),
        api.http.get(format!("{}/status", api.base)).header("cookie", format!("gristmill={}", api.token)),
    ] {
        is_problem(&read(request.send().await.unwrap()).await, 401, "signed_out");
    }
    let cookies = api.ask(Method::GET, "status").send().await.unwrap();
    assert!(cookies.headers().get("set-cookie").is_none());
    let described = api.http.get(format!("{}/openapi.json", api.base)).send().await.unwrap();
    assert_eq!(read(described).await.1["openapi"].as_str().unwrap().split('.').next(), Some("3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_colleague_sees_and_does_not_change() {
    let mill = Mill::new();
    let admin = Api::new(&mill, "admin");
    let (_, booking) = admin.post("bookings", &json!({ "gpus": 1, "duration_seconds": 3600 })).await;
    let taken = booking["id"].as_str().unwrap();
    newcomer(&mill, "bob", crate::mill::TEAM, "member").await;
    let bob = Api::new(&mill, "bob");
    assert_eq!(bob.get(&format!("bookings/{taken}")).await.0, 200, "a colleague sees the team's bookings");
    for (path, body) in [
        ("grants", json!({ "team": crate::mill::TEAM, "amount": "5", "reason": "mine" })),
        ("rates", json!({ "model": "H200", "per_gpu_hour": "0.01" })),
        ("verify", json!({})),
        ("backup", json!({})),
        ("invoices", json!({ "team": crate::mill::TEAM, "period": "2026-11" })),
    ] {
        let answer = bob.post(path, &body).await;
        is_problem(&answer, 403, "denied");
    }
    for (change, body) in [("cancel", json!({})), ("release", json!({})), ("extend", json!({ "by_seconds": 60 }))] {
        let answer = bob.post(&format!("bookings/{taken}/{change}"), &body).await;
        is_problem(&answer, 403, "not_yours");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_read_from_any_byte_and_followed_to_its_end() {
    let mill = Mill::new();
    let api = Api::new(&mill, "admin");
    let command = json!(["sh", "-c", "printf 0123456789; sleep 1; printf abc; exit 7"]);
    let (_, booking) = api.post("bookings", &json!({ "gpus": 1, "duration_seconds": 600, "command": command })).await;
    let id = booking["id"].as_str().unwrap().to_owned();
    mill.until("it has begun", |mill| {
        let allowed = &mill.json(&["show", &id])["allowed"];
        allowed.as_array().unwrap().iter().any(|may| may == "logs")
    });
    let mut events = String::new();
    // Until its shim runs there is nothing to follow yet: a stream that stops without an end is asked for again.
    while !events.contains("event:end") {
        let answer = api.ask(Method::GET, &format!("bookings/{id}/log/follow")).send().await.unwrap();
        events = answer.text().await.unwrap();
    }
    assert!(events.contains("\"exit_code\":7"), "{events}");
    let whole = api.ask(Method::GET, &format!("bookings/{id}/log")).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(&whole[..], b"0123456789abc");
    let rest = api.ask(Method::GET, &format!("bookings/{id}/log?from=8")).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(&rest[..], b"89abc");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminals_ticket_is_good_once_and_not_for_pages() {
    let mill = Mill::new();
    let api = Api::new(&mill, "admin");
    let (_, booking) = api.post("bookings", &json!({ "gpus": 1, "duration_seconds": 600 })).await;
    let id = booking["id"].as_str().unwrap().to_owned();
    mill.until("it runs", |mill| mill.json(&["show", &id])["state"] == "active");
    let (status, ticket) = api.post(&format!("bookings/{id}/terminal"), &json!({})).await;
    assert_eq!(status, 200, "{ticket}");
    let path = format!("{}{}&tab=1&cols=80&rows=24", mill.url, ticket["path"].as_str().unwrap());
    let open = |origin: Option<&str>| {
        let request = api.http.get(&path).header("connection", "Upgrade").header("upgrade", "websocket");
        let request =
            request.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        match origin {
            Some(origin) => request.header("origin", origin),
            None => request,
        }
        .send()
    };
    assert_eq!(open(Some("https://evil.example")).await.unwrap().status(), 403);
    let opened = open(None).await.unwrap();
    assert_eq!(opened.status(), 101);
    assert_eq!(open(None).await.unwrap().status(), 404, "spent");
    let strange = path.replace("ticket=", "ticket=x");
    assert_eq!(api.http.get(strange).send().await.unwrap().status().as_u16() / 100, 4);
}
