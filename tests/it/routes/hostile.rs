//! Bodies and queries that nobody would send by hand: too long, too deep, too many, not text. Each is answered in the four
//! hundreds, never by a fault of the mill, and never with what was sent in a place where a browser would run it.
use rocket::http::Method;

use super::table::{Row, rows};
use super::world::{Ask, Role, World, changed};
use super::{Want, none};

/// The role with the most rights that the row admits.
fn best(row: &Row) -> Role {
    let admitted = Role::ALL.into_iter().rev().find(|&role| [Want::Yes, Want::Bad].contains(&row.want(role)));
    admitted.unwrap_or(Role::Admin)
}

#[rocket::async_test]
async fn a_body_beyond_the_limit_is_too_large() {
    let mut wrong = Vec::new();
    let world = World::new().await;
    for row in rows().filter(|row| row.method == Method::Post) {
        let uri = world.fill(row.uri, true);
        let huge = if row.api() {
            format!("{{\"a\":\"{}\"}}", "x".repeat(5 << 20))
        } else {
            format!("a={}", "x".repeat(5 << 20))
        };
        let status = world.send(Ask::new(Method::Post, &uri, best(row)).body(huge)).await.status;
        if status != 413 {
            wrong.push(format!("{}: {status}", row.name()));
        }
    }
    none("Routes that do not answer 413 to a body of 5 MiB", &wrong);
}

#[rocket::async_test]
async fn no_body_makes_the_mill_fail() {
    let mut wrong = Vec::new();
    let world = World::new().await;
    let before = world.dump();
    for row in rows().filter(|row| row.method == Method::Post) {
        let uri = world.fill(row.uri, true);
        for (what, body) in bodies(row.api()) {
            let status = world.send(Ask::new(Method::Post, &uri, best(row)).body(body)).await.status;
            let no_fields = row.body.is_empty() || row.body == "{}";
            // A form without fields has nothing to refuse in them; everything else is the sender's fault.
            if status >= 500 || (row.api() && !(400..500).contains(&status) && !no_fields) {
                wrong.push(format!("{} with {what}: {status}", row.name()));
            }
        }
    }
    none("Bodies that the mill did not refuse as it should", &wrong);
    let _ = before;
}

fn bodies(json: bool) -> Vec<(&'static str, Vec<u8>)> {
    if json {
        return vec![
            ("a deep nest", [vec![b'['; 30_000], vec![b']'; 30_000]].concat()),
            ("deep objects", "{\"a\":".repeat(8_000).into_bytes()),
            ("100,000 fields", (0..100_000).map(|n| format!("\"f{n}\":1,")).collect::<String>().into_bytes()),
            ("bytes that are no text", vec![b'{', b'"', 0xff, 0xfe, b'"', b':', b'1', b'}']),
            ("half a character", b"{\"email\":\"\\ud800\"}".to_vec()),
            ("another shape", b"[1,2,3]".to_vec()),
            ("a number beyond all", b"{\"gpus\":1e999}".to_vec()),
            ("an unknown field", b"{\"owner\":\"me\"}".to_vec()),
            ("nothing", Vec::new()),
            ("null", b"null".to_vec()),
        ];
    }
    vec![
        ("100,000 fields", "a=1&".repeat(100_000).into_bytes()),
        ("10,000 fields", "a=1&".repeat(10_000).into_bytes()),
        ("bytes that are no text", vec![b'n', b'=', 0xff, 0xfe, 0x00]),
        ("half a character", b"name=%ff%fe%c3&team=%ed%a0%80".to_vec()),
        ("separators alone", b"&&&===&&=".to_vec()),
        ("signs that are no codes", b"name=%zz%&password=%".to_vec()),
        ("nothing", Vec::new()),
    ]
}

/// Values that break what trusts its input.
const ODD: &[&str] = &[
    "%00",
    "-1",
    "0",
    "18446744073709551616",
    "1e309",
    "NaN",
    "0.0000001",
    "999999999999999999",
    "%F0%9F%92%A3%E2%80%AE%CC%81",
    "%0D%0ASet-Cookie:%20a=b",
    "..%2F..%2Fetc%2Fpasswd",
    "%27%3B%20--",
    "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "9999999h",
    "2026-02-30T25:61",
];

/// Each field of each form, and each part of each query, holds each odd value once.
#[rocket::async_test]
async fn no_value_of_a_field_makes_the_mill_fail() {
    let mut wrong = Vec::new();
    let mut world = World::new().await;
    for row in rows() {
        let (uri, body) = (world.fill(row.uri, true), world.fill(row.body, true));
        for odd in ODD {
            let asked = if row.method == Method::Get {
                replaced_query(&uri, odd).into_iter().map(|uri| (uri, String::new())).collect::<Vec<_>>()
            } else if row.api() {
                replaced_json(&body, odd).into_iter().map(|body| (uri.clone(), body)).collect()
            } else {
                replaced_form(&body, odd).into_iter().map(|body| (uri.clone(), body)).collect()
            };
            for (uri, body) in asked {
                let answer = world.send(Ask::new(row.method, &uri, best(row)).body(body.clone())).await;
                let runs = answer.html && answer.text().contains("<script>alert(1)");
                // A mill without mail says so with 503, and that is no fault.
                if (answer.status >= 500 && answer.status != 503) || runs {
                    wrong.push(format!("{} {uri} {body}: {}", row.method, answer.status));
                }
            }
        }
        if row.method == Method::Post {
            world = World::new().await;
        }
    }
    none("Odd values that the mill fell over, or gave back to be run", &wrong);
}

fn replaced_form(body: &str, odd: &str) -> Vec<String> {
    let fields: Vec<&str> = body.split('&').filter(|field| !field.is_empty()).collect();
    (0..fields.len())
        .map(|at| {
            let field = |(n, field): (usize, &&str)| match field.split_once('=') {
                Some((name, _)) if n == at => format!("{name}={odd}"),
                _ => (*field).to_owned(),
            };
            fields.iter().enumerate().map(field).collect::<Vec<_>>().join("&")
        })
        .collect()
}

fn replaced_query(uri: &str, odd: &str) -> Vec<String> {
    let Some((path, query)) = uri.split_once('?') else { return Vec::new() };
    replaced_form(query, odd).into_iter().map(|query| format!("{path}?{query}")).collect()
}

fn replaced_json(body: &str, odd: &str) -> Vec<String> {
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(body) else { return Vec::new() };
    let plain = rocket::http::RawStr::new(odd).url_decode_lossy().into_owned();
    let values =
        [serde_json::Value::String(plain.clone()), plain.parse::<i64>().map_or(serde_json::Value::Null, Into::into)];
    let mut made = Vec::new();
    for name in fields.keys() {
        for value in &values {
            let mut changed = fields.clone();
            changed.insert(name.clone(), value.clone());
            made.push(serde_json::Value::Object(changed).to_string());
        }
    }
    made
}

#[test]
fn fields_are_replaced_one_at_a_time() {
    assert_eq!(replaced_form("a=1&b=2", "X"), ["a=X&b=2", "a=1&b=X"]);
    assert_eq!(replaced_query("/p?a=1", "X"), ["/p?a=X"]);
    assert_eq!(replaced_json("{\"a\":1}", "7"), ["{\"a\":\"7\"}", "{\"a\":7}"]);
    assert!(!changed(&[("t", vec![(vec![1], vec![1])])].into(), &[("t", vec![])].into()).is_empty());
}
