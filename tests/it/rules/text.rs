//! The project's own text, file by file, and what to look for in it. It refuses to follow links or to read what is built.
use std::path::Path;

/// A text file of the project; its path is relative to the root, with `/`.
pub struct File {
    pub path: String,
    pub text: String,
}

/// Endings of files that hold text; others (fonts, pictures) are not read.
const TEXT: &[&str] = &["rs", "html", "txt", "css", "js", "toml", "md", "sh", "svg", "json", "lock", "yml", "service"];
/// Never part of what is delivered.
const SKIPPED: &[&str] = &["target", ".git", ".data", "node_modules"];

/// Every text file of the project.
pub fn project() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(root, root, &mut found);
    assert!(found.len() > 100, "only {} files were found: the walk is broken", found.len());
    found
}

fn walk(root: &Path, dir: &Path, found: &mut Vec<File>) {
    let mut entries: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                walk(root, &path, found);
            }
            continue;
        }
        let relative = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        let plain = relative.starts_with("scripts/") || relative.starts_with(".ci/") || name == "LICENSE";
        let known = name.rsplit_once('.').is_some_and(|(_, ending)| TEXT.contains(&ending));
        if kind.is_file()
            && (plain || known)
            && let Ok(text) = std::fs::read_to_string(&path)
        {
            found.push(File { path: relative, text });
        }
    }
}

/// Whether a source file holds nothing but tests.
pub fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.starts_with("tests/")
}

/// The files that may declare this file as a module, and its name; `None` for the roots.
pub fn parents(path: &str) -> Option<(Vec<String>, String)> {
    if ["src/lib.rs", "src/main.rs", "tests/it/main.rs"].contains(&path) {
        return None;
    }
    let path = path.strip_suffix("/mod.rs").or_else(|| path.strip_suffix(".rs"))?;
    let (folder, name) = path.rsplit_once('/')?;
    let parents = match folder {
        "src" => vec!["src/lib.rs".to_owned(), "src/main.rs".to_owned()],
        "tests/it" => vec!["tests/it/main.rs".to_owned()],
        other => vec![format!("{other}.rs"), format!("{other}/mod.rs")],
    };
    Some((parents, name.to_owned()))
}

/// Inline script and style of a template: line and what.
pub fn inline(template: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, line) in template.lines().enumerate() {
        let lower = line.to_lowercase();
        let script = lower.match_indices("<script").any(|(from, _)| {
            let tag = lower[from..].split('>').next().unwrap_or_default();
            !tag.contains(" src=")
        });
        let handler = lower.match_indices(" on").any(|(from, _)| {
            let word: String = lower[from + 3..].chars().take_while(char::is_ascii_alphabetic).collect();
            !word.is_empty() && lower[from + 3 + word.len()..].starts_with("=\"")
        });
        for (is, what) in [
            (script, "a script without src"),
            (handler, "a handler in an attribute"),
            (lower.contains(" style="), "a style attribute"),
            (lower.contains("<style"), "a style element"),
            (lower.contains("javascript:"), "a javascript: address"),
        ] {
            if is {
                found.push(format!("{} {what}", at + 1));
            }
        }
    }
    found
}

/// Hosts that may be named: examples, this machine, and where a person is sent to read or install something.
const HOSTS: &[&str] = &[
    "localhost",
    "127.0.0.1",
    "0.0.0.0",
    "rustup.rs",
    "www.w3.org",
    "github.com",
    "a",
    "elsewhere",
    "mill",
    "mill.lab",
    "other.lab",
];
/// Names that no one owns (RFC 2606), and the two that stand for a lab's own network here.
const RESERVED: &[&str] =
    &[".test", ".example", ".example.org", ".example.com", ".example.net", ".invalid", ".localhost", ".lab"];

/// Machine paths and hosts that are not examples.
pub fn foreign(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    let homes = ["/work/", "/root/", "/home/runner", "/Users/", "C:\\Users"];
    for (at, line) in file.text.lines().enumerate() {
        let place = format!("{}:{}", file.path, at + 1);
        if file.path == "Cargo.lock" {
            if line.starts_with("source = ")
                && line != "source = \"registry+https://github.com/rust-lang/crates.io-index\""
            {
                found.push(format!("{place}: {line}"));
            }
            continue;
        }
        found.extend(homes.iter().filter(|home| line.contains(**home)).map(|home| format!("{place}: {home}")));
        for scheme in ["http://", "https://", "ssh://", "git://"] {
            for (from, _) in line.match_indices(scheme) {
                let rest = &line[from + scheme.len()..];
                let host: String = rest
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || "-.".contains(*c))
                    .collect::<String>()
                    .to_lowercase();
                let reserved = RESERVED.iter().any(|end| host.ends_with(end) || format!(".{host}") == *end);
                if !host.is_empty() && !reserved && !HOSTS.contains(&host.as_str()) && file.path != "LICENSE" {
                    found.push(format!("{place}: {scheme}{host}"));
                }
            }
        }
    }
    found
}

#[test]
fn what_is_planted_is_found() {
    let planted = |text: &str| foreign(&File { path: "README.md".into(), text: text.into() }).len();
    assert_eq!(planted("see https://mill.lab/x and http://localhost:1"), 0);
    assert_eq!(planted("cd /work/here"), 1);
    assert_eq!(planted("fetch https://packages.corp.internal/simple"), 1);
    assert_eq!(inline("<p>\n<script>x()</script>"), ["2 a script without src"]);
    assert_eq!(inline("<script src=\"/a.js\" defer></script><b class=\"one\">"), [""; 0]);
    assert_eq!(inline("<a style=\"x\" onclick=\"y\">").len(), 2);
    assert_eq!(
        parents("src/web/people/team.rs"),
        Some((vec!["src/web/people.rs".into(), "src/web/people/mod.rs".into()], "team".into()))
    );
    assert_eq!(parents("src/web/mod.rs").unwrap().1, "web");
}
