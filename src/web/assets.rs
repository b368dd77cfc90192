//! The files a page needs besides itself: styles, scripts, fonts and icons, embedded in the binary and served under an
//! address that changes with their content, so that a browser keeps them for good and never holds an old one. It refuses
//! anything that was not in `static/` when the program was built: there is no file system behind it, so no path leads out.
use std::borrow::Cow;
use std::path::PathBuf;

use rocket::http::{ContentType, Header, Status};
use rocket::request::Request;
use rocket::response::{self, Responder, Response};
use rust_embed::RustEmbed;

use crate::base::secret::hex;

#[derive(RustEmbed)]
#[folder = "static/"]
struct Files;

/// Letters of the content's hash in an address: enough to tell two versions apart.
const HASH_LETTERS: usize = 8;
/// How long a browser may keep what never changes under its address: a year, as the standard allows.
const FOR_GOOD: &str = "public, max-age=31536000, immutable";
/// For an address without the right hash: keep it, but ask each time.
const ASK: &str = "no-cache";

/// The address of an asset, such as `/static/css/base.css?v=1a2b3c4d`. A name that is not there gets an address that
/// answers 404; a test holds every name in the templates against the files.
pub fn asset(name: &str) -> String {
    match Files::get(name) {
        Some(file) => format!("/static/{name}?v={}", short(&file)),
        None => format!("/static/{name}"),
    }
}

fn short(file: &rust_embed::EmbeddedFile) -> String {
    hex(&file.metadata.sha256_hash())[..HASH_LETTERS].to_owned()
}

/// An embedded file on its way out.
pub struct Asset {
    data: Cow<'static, [u8]>,
    content_type: ContentType,
    etag: String,
    keep: &'static str,
}

impl Asset {
    fn find(name: &str, version: Option<&str>) -> Option<Self> {
        let file = Files::get(name)?;
        let extension = name.rsplit('.').next().unwrap_or_default();
        // A vendored file carries its version in its folder's name, so its address never changes its content.
        let fixed = name.starts_with("vendor/") || version == Some(short(&file).as_str());
        Some(Self {
            etag: format!("\"{}\"", hex(&file.metadata.sha256_hash())),
            content_type: ContentType::from_extension(extension).unwrap_or(ContentType::Plain),
            keep: if fixed { FOR_GOOD } else { ASK },
            data: file.data,
        })
    }
}

impl<'r> Responder<'r, 'static> for Asset {
    fn respond_to(self, request: &'r Request<'_>) -> response::Result<'static> {
        let known = request.headers().get("if-none-match").any(|tags| tags.contains(&self.etag));
        let mut built = Response::build();
        built.header(Header::new("etag", self.etag)).header(Header::new("cache-control", self.keep));
        if known {
            return built.status(Status::NotModified).ok();
        }
        let length = self.data.len();
        built.header(self.content_type).sized_body(length, std::io::Cursor::new(self.data)).ok()
    }
}

/// Everything under `/static/`; open to anybody, because it holds nothing but the program's own files.
#[rocket::get("/static/<path..>?<v>")]
pub fn serve(path: PathBuf, v: Option<&str>) -> Option<Asset> {
    Asset::find(path.to_str()?, v)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rocket::local::blocking::Client;

    fn client() -> Client {
        let quiet = rocket::Config { log_level: rocket::config::LogLevel::Off, ..rocket::Config::debug_default() };
        Client::untracked(rocket::custom(quiet).mount("/", rocket::routes![serve])).expect("a rocket of one route")
    }

    #[test]
    fn addresses_carry_the_content() {
        let client = client();
        let address = asset("css/base.css");
        assert!(address.starts_with("/static/css/base.css?v=") && address.len() == 23 + HASH_LETTERS, "{address}");
        let answer = client.get(address).dispatch();
        assert_eq!(answer.status(), Status::Ok);
        assert_eq!(answer.content_type(), Some(ContentType::CSS));
        assert_eq!(answer.headers().get_one("cache-control"), Some(FOR_GOOD));
        let etag = answer.headers().get_one("etag").expect("a tag").to_owned();
        let again = client.get("/static/css/base.css").header(Header::new("if-none-match", etag)).dispatch();
        assert_eq!(again.status(), Status::NotModified);
        assert_eq!(again.headers().get_one("cache-control"), Some(ASK));
    }

    #[test]
    fn nothing_else_is_served() {
        let client = client();
        for path in
            ["/static/../Cargo.toml", "/static/%2e%2e/Cargo.toml", "/static/css", "/static/", "/static/css/no.css"]
        {
            assert_eq!(client.get(path).dispatch().status(), Status::NotFound, "{path}");
        }
    }

    /// Every `asset("…")` in a template names a file that exists.
    #[test]
    fn templates_name_real_files() {
        let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/templates"))];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder of templates").map(|e| e.expect("an entry").path())
            {
                if entry.is_dir() {
                    folders.push(entry);
                    continue;
                }
                let text = std::fs::read_to_string(&entry).expect("a template");
                for name in text.split("asset(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                    seen += 1;
                    assert!(Files::get(name).is_some(), "{} names static/{name}, which is not there", entry.display());
                }
            }
        }
        assert!(seen > 0, "the layout names its styles");
    }
}
