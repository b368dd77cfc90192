//! Reads the paths that a source file names (`crate::a::b`, `super::c`, `redb::D`, groups of a `use`), resolved to where
//! they lead. It refuses to be a compiler: it knows comments, texts and nested modules, and no macros.

/// A path that a file names, and on which line.
#[derive(Debug, PartialEq, Eq)]
pub struct PathUse {
    pub line: usize,
    pub path: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Colons,
    Mark(char),
}

/// The text with comments, strings and characters blanked out; lines stay where they are.
pub fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skip(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

/// Where the comment, string or character that begins at `at` ends; `at` itself when none begins there.
fn skip(chars: &[char], at: usize) -> usize {
    let get = |index: usize| chars.get(index).copied().unwrap_or('\0');
    match (get(at), get(at + 1)) {
        ('/', '/') => (at..chars.len()).find(|&i| chars[i] == '\n').unwrap_or(chars.len()),
        ('/', '*') => {
            (at + 2..chars.len()).find(|&i| get(i) == '*' && get(i + 1) == '/').map_or(chars.len(), |i| i + 2)
        }
        ('"', _) => string(chars, at),
        ('r', '"' | '#') if at == 0 || !get(at - 1).is_alphanumeric() && get(at - 1) != '_' => raw(chars, at),
        // A lifetime is no character.
        ('\'', '\\') => (at + 3..chars.len()).find(|&i| chars[i] == '\'').map_or(chars.len(), |i| i + 1),
        ('\'', _) if get(at + 2) == '\'' => at + 3,
        _ => at,
    }
}

fn string(chars: &[char], at: usize) -> usize {
    let mut index = at + 1;
    while index < chars.len() && chars[index] != '"' {
        index += if chars[index] == '\\' { 2 } else { 1 };
    }
    (index + 1).min(chars.len())
}

fn raw(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return at;
    }
    let closes = |i: usize| chars[i] == '"' && (1..=hashes).all(|n| chars.get(i + n) == Some(&'#'));
    (at + 2 + hashes..chars.len()).find(|&i| closes(i)).map_or(chars.len(), |i| i + 1 + hashes)
}

/// Code with the inline test modules blanked out.
pub fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut depth: Option<i64> = None;
    let mut armed = false;
    for line in code.lines() {
        let trimmed = line.trim();
        let opens =
            i64::try_from(line.matches('{').count()).unwrap() - i64::try_from(line.matches('}').count()).unwrap();
        if let Some(level) = depth.as_mut() {
            *level += opens;
            if *level <= 0 {
                depth = None;
            }
        } else if armed && opens > 0 {
            (depth, armed) = (Some(opens), false);
        } else {
            armed = trimmed.starts_with("#[cfg(test)]") || (armed && !trimmed.ends_with(';'));
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

fn tokens(code: &str) -> Vec<(usize, Token)> {
    let mut found = Vec::new();
    for (at, line) in code.lines().enumerate() {
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            let token = if c.is_alphabetic() || c == '_' {
                let mut word = c.to_string();
                while let Some(next) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(next);
                }
                Token::Word(word)
            } else if c == ':' && chars.next_if_eq(&':').is_some() {
                Token::Colons
            } else if c.is_whitespace() {
                continue;
            } else {
                Token::Mark(c)
            };
            found.push((at + 1, token));
        }
    }
    found
}

/// Every path of at least two parts in a file.
pub fn paths_in(file: &str, text: &str) -> Vec<PathUse> {
    let tokens = tokens(&code_only(text));
    let mut found = Vec::new();
    let mut here = module(file);
    let (base, mut depth, mut inner) = (here.len(), 0_i64, Vec::<i64>::new());
    let mut at = 0;
    while at < tokens.len() {
        let word = |index: usize| match tokens.get(index) {
            Some((_, Token::Word(word))) => word.as_str(),
            _ => "",
        };
        match &tokens[at].1 {
            Token::Mark('{') => depth += 1,
            Token::Mark('}') => {
                depth -= 1;
                if inner.last() == Some(&depth) {
                    inner.pop();
                    here.truncate(base + inner.len());
                }
            }
            Token::Word(first) if first == "mod" && tokens.get(at + 2).map(|t| &t.1) == Some(&Token::Mark('{')) => {
                here.push(word(at + 1).to_owned());
                inner.push(depth);
            }
            Token::Word(_) if tokens.get(at + 1).map(|t| &t.1) == Some(&Token::Colons) => {
                let (end, paths) = tree(&tokens, at, &[]);
                found.extend(paths.into_iter().map(|(line, path)| PathUse { line, path: resolve(&here, path) }));
                at = end;
                continue;
            }
            Token::Word(first) if first == "use" => {
                // `use redb;` and `use crate::{…}` alike; the tree begins behind the word.
                let (end, paths) = tree(&tokens, at + 1, &[]);
                found.extend(paths.into_iter().map(|(line, path)| PathUse { line, path: resolve(&here, path) }));
                at = end.max(at + 1);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// One path or group from `at` on: where it ends, and what it names.
fn tree(tokens: &[(usize, Token)], mut at: usize, stem: &[String]) -> (usize, Vec<(usize, Vec<String>)>) {
    let mut path = stem.to_vec();
    let line = tokens.get(at).map_or(0, |(line, _)| *line);
    if tokens.get(at).map(|t| &t.1) == Some(&Token::Colons) {
        at += 1;
    }
    loop {
        match tokens.get(at).map(|t| &t.1) {
            Some(Token::Word(word)) => {
                path.push(word.clone());
                at += 1;
            }
            Some(Token::Mark('*')) => {
                path.push("*".into());
                return (at + 1, vec![(line, path)]);
            }
            Some(Token::Mark('{')) => return group(tokens, at + 1, &path),
            _ => return (at.max(1), vec![(line, path)]),
        }
        if tokens.get(at).map(|t| &t.1) != Some(&Token::Colons) {
            return (at, vec![(line, path)]);
        }
        at += 1;
    }
}

fn group(tokens: &[(usize, Token)], mut at: usize, stem: &[String]) -> (usize, Vec<(usize, Vec<String>)>) {
    let mut found = Vec::new();
    while let Some((_, token)) = tokens.get(at) {
        match token {
            Token::Mark('}') => return (at + 1, found),
            Token::Word(_) | Token::Colons | Token::Mark('*') => {
                let (end, paths) = tree(tokens, at, stem);
                found.extend(paths);
                at = end.max(at + 1);
            }
            Token::Mark(_) => at += 1,
        }
    }
    (at, found)
}

/// `src/web/people/team.rs` is `crate::web::people::team`.
fn module(file: &str) -> Vec<String> {
    let inside = file.strip_prefix("src/").unwrap_or(file).trim_end_matches(".rs");
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    let parts = inside.split('/').filter(|part| !["lib", "main"].contains(part));
    std::iter::once("crate").chain(parts).map(str::to_owned).collect()
}

fn resolve(here: &[String], path: Vec<String>) -> Vec<String> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    let selves = usize::from(path.first().is_some_and(|part| part == "self"));
    if ups + selves == 0 {
        return path;
    }
    let base = here.len().saturating_sub(ups).max(1);
    here[..base].iter().cloned().chain(path.into_iter().skip(ups + selves)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(file: &str, text: &str) -> Vec<String> {
        paths_in(file, text).into_iter().map(|found| found.path.join("::")).collect()
    }

    #[test]
    fn groups_and_supers_are_followed() {
        let text = "use crate::{app::{mill::Mill, ids}, store::*};\nuse super::super::page;\nfn f() { redb::open(); }";
        assert_eq!(
            named("src/web/people/team.rs", text),
            ["crate::app::mill::Mill", "crate::app::ids", "crate::store::*", "crate::web::page", "redb::open"]
        );
    }

    #[test]
    fn an_inner_module_has_a_super_of_its_own() {
        let text = "mod tests { use super::*; use super::super::x; }\nuse super::y;";
        assert_eq!(named("src/clock.rs", text), ["crate::clock::*", "crate::x", "crate::y"]);
    }

    #[test]
    fn comments_and_texts_name_nothing() {
        let text = "// crate::a::b\n/* redb::x */ const A: &str = \"redb::y\"; const B: char = '\"'; const C: &str = r#\"redb::\"z\"#;";
        assert_eq!(named("src/clock.rs", text), [""; 0]);
        assert_eq!(named("src/clock.rs", "fn f<'a>(x: &'a redb::Database) {}"), ["redb::Database"]);
        assert_eq!(named("src/clock.rs", "use redb;"), ["redb"]);
    }

    #[test]
    fn test_modules_are_left_out() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() { x.unwrap() }\n}\nfn c() {}\n#[cfg(test)]\nmod tests;\nfn d() {\n}\n";
        let left = without_tests(text);
        assert!(left.contains("fn a") && left.contains("fn c") && left.contains("fn d") && !left.contains("unwrap"));
    }
}
