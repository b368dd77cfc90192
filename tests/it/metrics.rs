//! The metrics of a whole mill: who may read them, and whether Prometheus' own tool accepts them.
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, Response};

use crate::mill::{ADMIN, Mill, PASSWORD, PATIENCE};

/// A browser without one: its cookie, and the hidden fields of a page.
struct Visitor {
    http: Client,
    url: String,
    cookie: String,
}

impl Visitor {
    async fn new(mill: &Mill) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let plain = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let mut visitor = Self { http: plain.build().unwrap(), url: mill.url.clone(), cookie: String::new() };
        let form = format!("email={}&password={}&next=/", ADMIN.replace('@', "%40"), PASSWORD.replace(' ', "+"));
        let answer = visitor.post("/sign-in", form).await;
        let set = answer.headers().get("set-cookie").expect("a session").to_str().unwrap();
        visitor.cookie = set.split(';').next().unwrap().to_owned();
        visitor
    }

    async fn post(&self, path: &str, body: String) -> Response {
        let request = self.http.post(format!("{}{path}", self.url)).header("cookie", &self.cookie).body(body);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.header("sec-fetch-site", "same-origin").send().await.unwrap()
    }

    async fn page(&self, path: &str) -> String {
        let request = self.http.get(format!("{}{path}", self.url)).header("cookie", &self.cookie);
        request.send().await.unwrap().text().await.unwrap()
    }

    /// Presses a button of a page; answers the page that follows.
    async fn press(&self, page: &str, action: &str, more: &str) -> String {
        let text = self.page(page).await;
        let form = text.split("<form").find(|form| form.contains(&format!("action=\"{action}\""))).expect("the form");
        let field = |name: &str| between(form, &format!("name=\"{name}\" value=\""), "\"");
        let answer = self.post(action, format!("csrf={}&key={}{more}", field("csrf"), field("key"))).await;
        assert!(answer.status().is_success() || answer.status().is_redirection(), "{answer:?}");
        answer.text().await.unwrap()
    }

    async fn scrape(&self, token: &str, accept: &str) -> (u16, String, String) {
        let request = self.http.get(format!("{}/metrics", self.url)).header("accept", accept);
        let answer = request.bearer_auth(token).send().await.unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (answer.status().as_u16(), kind, answer.text().await.unwrap())
    }
}

fn between(text: &str, from: &str, to: &str) -> String {
    let rest = text.split_once(from).unwrap_or_else(|| panic!("{from} is not in {text}")).1;
    rest.split_once(to).unwrap().0.to_owned()
}

/// What Prometheus' own tool complains of, line by line, and whether it is content.
fn promtool(text: &str) -> (bool, Vec<String>) {
    let mut tool = Command::new("promtool");
    tool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = tool.spawn().expect("promtool is there (Debian package prometheus)");
    running.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let done = running.wait_with_output().unwrap();
    let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
    (done.status.success(), said.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
}

/// NVIDIA's exporter names one label and one metric in a way that the tool's style refuses, and dashboards read them by these
/// names. Nothing else may be complained of, and of the mill's own figures nothing at all.
fn promtool_accepts(text: &str) {
    let (_, said) = promtool(text);
    let foreign =
        ["'snake_case' not 'camelCase'", "DCGM_FI_DEV_PCIE_REPLAY_COUNTER metric name should not include type"];
    let style = |line: &String| line.starts_with("DCGM_FI_") && foreign.iter().any(|known| line.contains(known));
    assert!(said.iter().all(style), "{said:#?}");
    let renamed = text.replace("modelName=", "model_name=").replace("PCIE_REPLAY_COUNTER", "PCIE_REPLAYS");
    assert_eq!(promtool(&renamed), (true, Vec::new()), "{text}");
    assert!(!promtool(&renamed.replacen("# TYPE", "# TIPE", 1).replace("\"} ", "\"}} ")).0, "it would say so");
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_them_with_a_token_of_their_own_and_nobody_else_does() {
    let mill = Mill::new();
    let visitor = Visitor::new(&mill).await;
    let booking = mill.run(&["book", "--gpus", "1", "--for", "1h"]).ok().trim().to_owned();
    let made = visitor.press("/settings", "/settings/scrape", "&label=Prometheus").await;
    let token = between(&made, "readonly value=\"", "\"");

    // Readings come within a round of ten seconds, and the booking's lease a moment later.
    let begun = Instant::now();
    let text = loop {
        let (status, kind, text) = visitor.scrape(&token, "text/plain").await;
        assert_eq!((status, kind.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8"));
        if text.contains("DCGM_FI_DEV_GPU_UTIL{") && text.contains(&format!("hpc_job=\"{booking}\"")) {
            break text;
        }
        assert!(begun.elapsed() < PATIENCE, "no readings came: {text}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    promtool_accepts(&text);
    let gpus: Vec<&str> = text.lines().filter(|line| line.starts_with("DCGM_FI_DEV_POWER_USAGE{")).collect();
    assert_eq!(gpus.len(), 4, "{text}");
    for part in ["gpu=\"0\"", "UUID=\"SIM-", "modelName=\"H200\"", "Hostname=\"", "simulated=\"true\""] {
        assert!(gpus[0].contains(part), "{}: {part}", gpus[0]);
    }
    assert!(!text.contains("DCGM_FI_DEV_XID_ERRORS"), "no Xid was heard of, which is not zero");
    for line in ["gristmill_store_ready 1", "gristmill_nodes{state=\"admitted\",connected=\"true\"} 1"] {
        assert!(text.lines().any(|one| one == line), "{line} is not in {text}");
    }

    let wanted = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let (_, kind, open) = visitor.scrape(&token, wanted).await;
    assert!(kind.starts_with("application/openmetrics-text") && open.ends_with("# EOF\n"));
    assert!(open.contains("# TYPE gristmill_commits counter\ngristmill_commits_total "));

    // It opens nothing else, and nothing else opens them.
    let api = visitor.http.get(format!("{}/api/v1/status", mill.url)).bearer_auth(&token).send().await.unwrap();
    assert_eq!(api.status().as_u16(), 401);
    for wrong in [mill.token("admin"), String::new(), format!("{token}x"), token.replace('.', "")] {
        let (status, _, said) = visitor.scrape(&wrong, "text/plain").await;
        assert_eq!((status, said.contains("DCGM")), (401, false), "{wrong}");
    }
    let page = visitor.page("/metrics").await;
    assert!(page.contains("token of their own"), "a session is not enough: {page}");

    let settings = visitor.page("/settings").await;
    let end = format!("/settings/scrape/{}/revoke", token.split_once('.').unwrap().0);
    assert!(settings.contains(&end) && !settings.contains(token.split_once('.').unwrap().1), "a token is shown once");
    visitor.press("/settings", &end, "").await;
    assert_eq!(visitor.scrape(&token, "text/plain").await.0, 401);
}
