//! The floor plan as a table: which floor may name which, and where each engine may be named. It refuses exceptions beyond
//! those written here with their reason.

/// A floor and the floors it may name besides itself. The launch and the roots name everything.
const MAY: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("clock", &["base"]),
    ("config", &["base"]),
    ("wire", &["base"]),
    ("domain", &["base"]),
    ("store", &["domain", "base"]),
    ("app", &["store", "domain", "wire", "base", "clock"]),
    // The console must know the names of the headers that the front door sets; it knows nothing else of it.
    ("web", &["app", "store", "domain", "wire", "base", "clock", "edge"]),
    ("edge", &["base"]),
    ("agent", &["wire", "base", "config", "clock"]),
    ("cli", &["wire", "base", "config", "clock"]),
];

/// Who may name an engine: prefixes of paths in `src`.
const ENGINES: &[(&str, &[&str])] = &[
    ("redb", &["store/"]),
    ("rocket", &["web/", "launch/"]),
    ("rocket_ws", &["web/"]),
    ("askama", &["web/", "app/mail"]),
    ("nvml_wrapper", &["agent/"]),
    ("cudarc", &["agent/"]),
    ("krilla", &["app/money/paper"]),
    ("skrifa", &["app/money/paper"]),
    ("lettre", &["app/mail"]),
    ("argon2", &["app/people/password.rs"]),
    // The command line makes certificates in its tests alone.
    ("rcgen", &["app/trust", "agent/", "app/fleet", "cli/tls.rs"]),
    ("reqwest", &["cli/", "agent/"]),
    ("hyper", &["edge/", "agent/", "cli/"]),
    ("clap", &["main.rs", "launch/", "config.rs", "cli/", "agent/"]),
];

/// What the pure floors do without.
const IMPURE: &[&[&str]] = &[
    &["tokio"],
    &["rustix"],
    &["tracing"],
    &["std", "fs"],
    &["std", "process"],
    &["std", "env"],
    &["std", "thread"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["std", "net", "TcpStream"],
    &["std", "net", "TcpListener"],
    &["uuid"],
    &["ring", "rand"],
];

/// The floor that a source file stands on.
pub fn of(path: &str) -> Option<&'static str> {
    let inside = path.strip_prefix("src/")?;
    let head = inside.split_once('/').map_or_else(|| inside.trim_end_matches(".rs"), |(head, _)| head);
    MAY.iter().map(|(floor, _)| *floor).find(|floor| *floor == head).or(match head {
        "launch" | "lib" | "main" => Some("launch"),
        _ => None,
    })
}

/// Why this file may not name that path, if it may not.
pub fn breach(file: &str, from: &'static str, path: &[String]) -> Option<String> {
    let inside = file.strip_prefix("src/").unwrap_or(file);
    let head = path.first()?.as_str();
    if head == "crate" || (head == "gristmill" && from == "launch") {
        let to = path.get(1)?.as_str();
        let target = MAY.iter().map(|(floor, _)| *floor).find(|floor| *floor == to);
        return match (from, target) {
            ("launch", _) => None,
            (_, Some(target)) if target == from => None,
            (_, Some(target)) => {
                let may = MAY.iter().find(|(floor, _)| *floor == from).map_or(&[][..], |(_, may)| may);
                (!may.contains(&target)).then(|| format!("{from} may name {}", listed(may)))
            }
            (_, None) if to == "launch" => Some("only the roots name the launch".into()),
            (_, None) => None,
        };
    }
    if let Some((engine, rooms)) = ENGINES.iter().find(|(engine, _)| *engine == head)
        && !rooms.iter().any(|room| inside.starts_with(room))
    {
        return Some(format!("{engine} is named only in {}", rooms.join(", ")));
    }
    let pure = ["base", "domain", "wire"].contains(&from);
    let impure = IMPURE.iter().find(|stem| path.len() >= stem.len() && path.iter().zip(**stem).all(|(a, b)| a == b));
    // base makes fresh ids and secrets from bytes that it is given; nothing beneath the store does I/O.
    impure.filter(|_| pure).map(|stem| format!("{from} is pure and does without {}", stem.join("::")))
}

fn listed(floors: &[&str]) -> String {
    if floors.is_empty() { "nothing beside itself".to_owned() } else { floors.join(", ") }
}

#[test]
fn planted_breaches_are_found() {
    let path = |text: &str| text.split("::").map(str::to_owned).collect::<Vec<_>>();
    let judge = |file: &str, text: &str| breach(file, of(file).unwrap(), &path(text)).is_some();
    assert!(judge("src/domain/money/hold.rs", "crate::store::Read"));
    assert!(judge("src/agent/lease.rs", "crate::app::mill::Mill"));
    assert!(judge("src/cli/mod.rs", "crate::domain::notice"));
    assert!(judge("src/wire/node.rs", "crate::domain::event"));
    assert!(judge("src/store/open.rs", "crate::app::ids"));
    assert!(judge("src/web/site.rs", "crate::launch::serve"));
    assert!(judge("src/app/mill.rs", "redb::Database"));
    assert!(judge("src/app/mill.rs", "rocket::State"));
    assert!(judge("src/domain/event.rs", "std::fs::read"));
    assert!(!judge("src/web/site.rs", "crate::app::mill::Mill"));
    assert!(!judge("src/store/open.rs", "redb::Database"));
    assert!(!judge("src/launch/serve.rs", "crate::web::console"));
    assert!(!judge("src/main.rs", "gristmill::launch"));
}
