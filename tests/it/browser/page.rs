//! A browser as a person uses it: look, fill in, press, wait until something stands there. Each page that is looked at is
//! photographed in light and dark at three widths, and held against axe. It refuses to wait for time instead of for a fact.
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use fantoccini::elements::Element;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

/// Nothing here takes this long unless it hangs.
const GUARD: Duration = Duration::from_secs(90);
const AXE: &str = include_str!("../../browser/vendor/axe-core-4.14.1/axe.min.js");
/// A phone, a tablet, a desk.
const WIDTHS: [u32; 3] = [390, 820, 1440];

pub struct Page {
    pub client: Client,
    base: String,
    /// What axe and the photographs found; told all at once at the end.
    pub found: Vec<String>,
}

/// A command of Chromium's own protocol.
#[derive(Debug)]
struct Devtools {
    name: &'static str,
    parameters: Value,
}

type Url = reqwest::Url;

impl WebDriverCompatibleCommand for Devtools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as std::str::FromStr>::Err> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (hyper::Method, Option<String>) {
        (hyper::Method::POST, Some(json!({ "cmd": self.name, "params": self.parameters }).to_string()))
    }
}

pub fn photographs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/screenshots")
}

impl Page {
    /// A browser with a profile of its own.
    pub async fn open(driver: &str, base: &str, profile: PathBuf) -> Self {
        let arguments = json!([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            format!("--user-data-dir={}", profile.display()),
        ]);
        let wanted = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
            "unhandledPromptBehavior": "accept",
        });
        let wanted = wanted.as_object().unwrap().clone();
        let client = ClientBuilder::new(HttpConnector::new()).capabilities(wanted).connect(driver).await.unwrap();
        let page = Self { client, base: base.to_owned(), found: Vec::new() };
        page.size(1440).await;
        page
    }

    async fn devtools(&self, name: &'static str, parameters: Value) -> Value {
        self.client.issue_cmd(Devtools { name, parameters }).await.unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    async fn size(&self, width: u32) {
        let shape = json!({ "width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", shape).await;
    }

    async fn scheme(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    pub async fn go(&self, path: &str) {
        let to = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        self.client.goto(&to).await.unwrap_or_else(|e| panic!("{to}: {e}"));
    }

    pub async fn path(&self) -> String {
        let url = self.client.current_url().await.unwrap();
        url.path().to_owned()
    }

    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, vec![]).await.unwrap_or_else(|e| panic!("{script}: {e}"))
    }

    /// The page's text as a person sees it, or one part's.
    pub async fn text(&self, css: &str) -> String {
        let script = "return document.querySelector(arguments[0])?.innerText ?? ''";
        let said = self.client.execute(script, vec![json!(css)]).await;
        said.ok().and_then(|said| said.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Waits until a part's text fits; answers it.
    pub async fn until(&self, css: &str, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let text = self.text(css).await;
            if fits(&text) {
                return text;
            }
            if begun.elapsed() > GUARD {
                let path = self.path().await;
                self.photograph("failed", 1440, "light").await;
                panic!("{path}: {what} never came; {css} says:\n{text}\nand the page:\n{}", self.text("body").await);
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    /// Waits until a part says something.
    pub async fn says(&self, css: &str, words: &str) -> String {
        self.until(css, words, |text| text.to_lowercase().contains(&words.to_lowercase())).await
    }

    pub async fn at(&self, css: &str) -> Element {
        let begun = Instant::now();
        loop {
            match self.client.find(Locator::Css(css)).await {
                Ok(element) => return element,
                Err(_) if begun.elapsed() < GUARD => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(error) => {
                    self.photograph("failed", 1440, "light").await;
                    panic!("{} on {}: {error}\n{}", css, self.path().await, self.text("body").await)
                }
            }
        }
    }

    /// Presses what stands there, also when the page replaces it in that very moment.
    pub async fn press(&self, css: &str) {
        let begun = Instant::now();
        loop {
            let element = self.at(css).await;
            // In the middle of the window: bars that stay at its edges take no press meant for another.
            let script = "document.querySelector(arguments[0])?.scrollIntoView({ block: 'center' })";
            self.client.execute(script, vec![json!(css)]).await.unwrap();
            match element.click().await {
                Ok(()) => return,
                Err(error) => assert!(begun.elapsed() < GUARD, "{css} on {}: {error}", self.path().await),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the booking form has been answered for all that was filled in, and the answer fits.
    pub async fn quoted(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        // The form asks half a second after the last change.
        tokio::time::sleep(Duration::from_millis(700)).await;
        let begun = Instant::now();
        while self.run("return document.querySelector('.htmx-request') !== null").await == json!(true) {
            assert!(begun.elapsed() < GUARD, "the form is never answered");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.until("#quote", what, fits).await
    }

    /// Presses, and waits until another page has come.
    pub async fn lead(&self, css: &str) {
        self.run("window.before = true").await;
        self.press(css).await;
        let begun = Instant::now();
        loop {
            let old = self
                .client
                .execute("return window.before === true || document.readyState !== 'complete'", vec![])
                .await;
            if old.is_ok_and(|old| old == json!(false)) {
                return;
            }
            assert!(begun.elapsed() < GUARD, "{css} on {} led nowhere", self.path().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Fills in a field by its name, as typing would.
    pub async fn fill(&self, name: &str, value: &str) {
        let script = "const field = [...document.querySelectorAll(`[name='${arguments[0]}']`)].find((f) => f.type !== 'hidden' && f.checkVisibility()); \
                      if (!field) return false; field.value = arguments[1]; \
                      field.dispatchEvent(new Event('input', { bubbles: true })); field.dispatchEvent(new Event('change', { bubbles: true })); return true";
        let done = self.client.execute(script, vec![json!(name), json!(value)]).await.unwrap();
        assert_eq!(done, json!(true), "{} has no field {name} to be seen", self.path().await);
    }

    pub async fn choose(&self, name: &str, value: &str) {
        let script = "document.querySelector(`[name='${arguments[0]}'][value='${arguments[1]}']`).click()";
        self.client.execute(script, vec![json!(name), json!(value)]).await.unwrap_or_else(|e| panic!("{name}: {e}"));
    }

    /// Keys to whatever has the focus.
    pub async fn keys(&self, text: &str) {
        let focused = self.client.active_element().await.unwrap();
        focused.send_keys(text).await.unwrap();
    }

    /// From here on, files are kept in this folder.
    pub async fn downloads(&self, folder: &std::path::Path) {
        std::fs::create_dir_all(folder).unwrap();
        let allowed = json!({ "behavior": "allow", "downloadPath": folder });
        self.devtools("Browser.setDownloadBehavior", allowed).await;
    }

    async fn photograph(&self, name: &str, width: u32, scheme: &str) {
        let shot = json!({ "format": "png", "captureBeyondViewport": true });
        let answer = self.devtools("Page.captureScreenshot", shot).await;
        let bytes = base64::engine::general_purpose::STANDARD.decode(answer["data"].as_str().unwrap()).unwrap();
        std::fs::create_dir_all(photographs()).unwrap();
        std::fs::write(photographs().join(format!("{name}-{scheme}-{width}.png")), bytes).unwrap();
    }

    /// Photographs the page in every width and scheme, holds it against axe, and sees that nothing is wider than a phone.
    pub async fn look(&mut self, name: &str) {
        for width in WIDTHS {
            self.size(width).await;
            for scheme in ["light", "dark"] {
                self.scheme(scheme).await;
                self.photograph(name, width, scheme).await;
                if width != 820 {
                    self.axe(name, width, scheme).await;
                }
            }
            let wide = self.run("return document.documentElement.scrollWidth - innerWidth").await.as_i64().unwrap_or(0);
            if wide > 1 {
                self.found.push(format!("{name} is {wide} px wider than a window of {width}"));
            }
        }
        self.scheme("light").await;
        self.size(1440).await;
        self.console(name).await;
    }

    async fn axe(&mut self, name: &str, width: u32, scheme: &str) {
        self.client.execute(AXE, vec![]).await.unwrap();
        let script = "const done = arguments[0]; axe.run({ resultTypes: ['violations'] }).then((r) => done(r.violations.map((v) => \
                      `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + ' ' + (n.any[0]?.message ?? '')).join(' | ')}`)), (e) => done([String(e)]))";
        let wrong = self.client.execute_async(script, vec![]).await.unwrap();
        for violation in wrong.as_array().unwrap() {
            self.found.push(format!("{name} ({scheme}, {width}): {}", violation.as_str().unwrap_or_default()));
        }
    }

    /// Errors that the browser reported: a blocked script or style, a missing file, a fault in a script.
    async fn console(&mut self, name: &str) {
        let log = self.client.issue_cmd(BrowserLog).await.unwrap_or_default();
        for entry in log.as_array().into_iter().flatten() {
            // A page that is not there says so itself; a file of a page that is not there is a fault.
            let said = entry["message"].as_str().unwrap_or_default();
            let a_page = said.contains("status of 404") && !said.contains("/static/");
            if entry["level"] == "SEVERE" && !a_page {
                self.found.push(format!("{name}: the browser says {said}"));
            }
        }
    }
}

/// What stands in the browser's console since it was last asked.
#[derive(Debug)]
struct BrowserLog;

impl WebDriverCompatibleCommand for BrowserLog {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as std::str::FromStr>::Err> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (hyper::Method, Option<String>) {
        (hyper::Method::POST, Some(json!({ "type": "browser" }).to_string()))
    }
}
