//! The whole way in a real browser, against a real server with its node: set up, invite, book, work, give back, see the
//! money, hold the document, keep a backup. It leaves a photograph of every page and holds each against axe.
mod bench;
mod page;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use bench::{Bench, gristmill};
use page::{Page, photographs};

const PASSWORD: &str = "a turn at the stone";
const ADMIN: &str = "ada@lab.example";

struct Way {
    page: Page,
    bench: Bench,
}

#[tokio::test]
async fn browser_goes_the_whole_way() {
    let _ = std::fs::remove_dir_all(photographs());
    let bench = Bench::start();
    let page = Page::open(&bench.driver, &bench.url, bench.dir.join("ada")).await;
    let mut way = Way { page, bench };
    way.sets_up().await;
    way.invites().await;
    way.books_by_form().await;
    way.books_by_dragging().await;
    let workspace = way.works().await;
    way.runs_a_batch().await;
    way.gives_back(&workspace).await;
    way.sees_the_money().await;
    way.holds_the_document().await;
    way.looks_around().await;
    way.keeps_a_backup().await;
    let found = std::mem::take(&mut way.page.found);
    let shots = std::fs::read_dir(photographs()).unwrap().count();
    println!("{shots} photographs in {}", photographs().display());
    assert!(found.is_empty(), "what was wrong with the pages:\n  {}\n", found.join("\n  "));
}

impl Way {
    async fn sets_up(&mut self) {
        let page = &mut self.page;
        page.go(&self.bench.setup).await;
        page.look("setup").await;
        for (name, value) in [
            ("organisation", "Mill Lab"),
            ("team", "Vision"),
            ("admin_name", "Ada Okafor"),
            ("admin_email", ADMIN),
            ("password", PASSWORD),
            ("time_zone", "UTC"),
        ] {
            page.fill(name, value).await;
        }
        if page.text("form").await.contains("Four simulated GPUs") {
            page.choose("gpus", "simulated").await;
        }
        page.lead("main form button").await;
        assert_eq!(page.path().await, "/", "setup leads home: {}", page.text("body").await);
        page.look("home-first").await;
        // The node of this machine joins by itself, and the page shows it without being loaded again.
        page.until("#around", "four GPUs", |text| text.contains('4')).await;
        page.go("/nodes").await;
        page.until("main", "the node", |text| text.contains("H200")).await;
    }

    async fn invites(&mut self) {
        let page = &mut self.page;
        page.go("/people").await;
        page.fill("email", "bo@lab.example").await;
        page.lead("form[action='/people/invite'] button").await;
        page.look("people-invited").await;
        let link = page.run("return document.querySelector('input[data-select]').value").await;
        let link = link.as_str().expect("the link is shown once").to_owned();
        page.go("/people").await;
        assert!(
            page.run("return document.querySelector('input[data-select]')").await.is_null(),
            "it is shown only once"
        );
        let mut bo = Page::open(&self.bench.driver, &self.bench.url, self.bench.dir.join("bo")).await;
        bo.go(&link).await;
        bo.look("join").await;
        bo.fill("name", "Bo Lind").await;
        bo.fill("password", PASSWORD).await;
        bo.lead("main form button").await;
        assert_eq!(bo.path().await, "/");
        bo.go(&link).await;
        bo.look("link-spent").await;
        assert!(
            bo.client.find(fantoccini::Locator::Css("form[action^='/join']")).await.is_err(),
            "the link works once"
        );
        bo.go("/settings").await;
        bo.says("body", "nothing here").await;
        bo.client.delete_all_cookies().await.unwrap();
        bo.go("/calendar").await;
        assert_eq!(bo.path().await, "/sign-in");
        bo.look("sign-in").await;
        bo.fill("email", "bo@lab.example").await;
        bo.fill("password", PASSWORD).await;
        bo.lead("main form button").await;
        assert_eq!(bo.path().await, "/calendar", "signing in leads back to what was asked for");
        page.found.append(&mut bo.found);
        bo.client.close().await.unwrap();
        page.go("/people").await;
        page.says("main", "Bo Lind").await;
    }

    async fn books_by_form(&mut self) {
        let page = &mut self.page;
        page.go("/calendar").await;
        page.look("calendar").await;
        let tomorrow = page.run("return new Date(Date.now() + 86400e3).toISOString().slice(0, 10) + 'T09:00'").await;
        page.choose("when", "at").await;
        page.fill("gpus", "2").await;
        page.fill("at", tomorrow.as_str().unwrap()).await;
        page.fill("for", "2h").await;
        page.fill("title", "tomorrow's run").await;
        // The price stands there before anything is confirmed, with what is left after it.
        let quote = page.quoted("the price", |text| text.contains("Book 2")).await;
        assert!(quote.contains("Vision has after that") && quote.contains("Held until it ends"), "{quote}");
        page.look("calendar-quote").await;
        page.lead("#quote button[value='book']").await;
        assert!(page.path().await.starts_with("/bookings/bk_"), "{}", page.text("main").await);
        page.look("booking-booked").await;
        // The same GPUs twice do not fit three times: four are there, and two are taken then.
        page.go("/calendar").await;
        page.choose("when", "at").await;
        page.fill("gpus", "3").await;
        page.fill("at", tomorrow.as_str().unwrap()).await;
        page.fill("for", "1h").await;
        page.quoted("a slot that works", |text| text.contains("Take this instead")).await;
        page.look("calendar-refused").await;
    }

    async fn books_by_dragging(&mut self) {
        let page = &mut self.page;
        let day = page.run("return new Date(Date.now() + 2 * 86400e3).toISOString().slice(0, 10)").await;
        page.go(&format!("/calendar?day={}", day.as_str().unwrap())).await;
        let places = page
            .run(
                "const lanes = [...document.querySelectorAll('svg.lane[data-free]')].filter((l) => l.checkVisibility()); \
                 lanes[0].scrollIntoView({ block: 'center' }); \
                 return lanes.slice(0, 2).map((l) => { const b = l.getBoundingClientRect(); return [b.left, b.top + b.height / 2, b.width]; })",
            )
            .await;
        let number = |lane: usize, part: usize| places[lane][part].as_f64().expect("two free lanes");
        let at = |lane: usize, share: f64| (number(lane, 0) + number(lane, 2) * share, number(lane, 1));
        page.drag(at(0, 0.4), at(1, 0.6)).await;
        let filled =
            page.run("const f = document.querySelector('#book').elements; return [f.gpus.value, f.when.value]").await;
        assert_eq!(filled, serde_json::json!(["2", "at"]), "dragging over two lanes fills in the form");
        page.quoted("the price of what was dragged", |text| text.contains("Book 2")).await;
        page.look("calendar-dragged").await;
        page.lead("#quote button[value='book']").await;
        assert!(page.path().await.starts_with("/bookings/bk_"), "{}", page.text("main").await);
    }

    /// As soon as it fits, and then a shell in the browser. Answers the booking's address.
    async fn works(&mut self) -> String {
        let page = &mut self.page;
        page.go("/calendar").await;
        page.choose("when", "soon").await;
        page.fill("gpus", "1").await;
        page.fill("for", "3h").await;
        page.fill("title", "bench").await;
        page.quoted("the price", |text| text.contains("Book 1") && text.contains("Now")).await;
        page.lead("#quote button[value='book']").await;
        let booking = page.path().await;
        page.until("#top", "the terminal", |text| text.contains("Open the terminal")).await;
        page.look("booking-active").await;
        page.lead("#top a.button").await;
        page.says("#shell .state", "connected").await;
        page.types("echo $((6*7))").await;
        page.until(".xterm-rows", "42", |text| text.lines().any(|line| line.trim() == "42")).await;
        page.types("echo shell=$$").await;
        let first = page.shell().await;
        page.look("terminal").await;
        page.client.refresh().await.unwrap();
        page.says("#shell .state", "connected").await;
        page.press("#shell .screen").await;
        page.types("clear; echo shell=$$").await;
        assert_eq!(page.shell().await, first, "a reload comes back to the same shell");
        page.press("#shell button[aria-label='Another shell']").await;
        page.until("[role=tablist]", "a second tab", |text| text.contains("Shell 2")).await;
        page.says("#shell .state", "connected").await;
        page.types("echo shell=$$").await;
        let second = page.shell().await;
        assert_ne!(second, first, "another tab is another shell");
        booking
    }

    async fn runs_a_batch(&mut self) {
        let page = &mut self.page;
        page.go("/calendar").await;
        page.choose("when", "soon").await;
        page.choose("work", "batch").await;
        page.fill("gpus", "1").await;
        page.fill("for", "1h").await;
        page.fill("command", "for i in 1 2 3; do echo line $i; sleep 2; done; exit 3").await;
        page.quoted("the price", |text| text.contains("Book 1")).await;
        page.lead("#quote button[value='book']").await;
        let booking = page.path().await;
        page.says("#log, #output", "line 1").await;
        page.says("#log, #output", "line 3").await;
        page.until("main", "the exit code", |text| text.contains("exit") && text.contains('3')).await;
        page.go(&booking).await;
        page.until("#top", "the end", |text| text.to_lowercase().contains("ended")).await;
        page.says("#output", "line 3").await;
        page.look("booking-batch-ended").await;
    }

    async fn gives_back(&mut self, workspace: &str) {
        let page = &mut self.page;
        page.go(workspace).await;
        page.lead("form[action$='/extend'] button").await;
        assert_eq!(page.path().await, workspace, "{}", page.text("main").await);
        page.look("booking-extended").await;
        page.lead("form[action$='/release'] button").await;
        page.until("#top", "the end", |text| text.to_lowercase().contains("ended")).await;
        page.look("booking-released").await;
    }

    async fn sees_the_money(&mut self) {
        let page = &mut self.page;
        page.go("/statement").await;
        // What was promised, what was delivered of it, and what came back.
        page.until("#lines", "every step", |text| {
            let text = text.to_lowercase();
            ["opening grant", "held", "delivered", "bench"].iter().all(|step| text.contains(step))
        })
        .await;
        page.look("statement").await;
        page.go("/rates").await;
        page.look("rates").await;
    }

    async fn holds_the_document(&mut self) {
        let page = &mut self.page;
        page.go("/invoices").await;
        page.look("invoices-empty").await;
        let month = page.run("return new Date().toISOString().slice(0, 7)").await;
        page.fill("period", month.as_str().unwrap()).await;
        page.lead("form[action='/invoices'] button").await;
        assert!(page.path().await.starts_with("/invoices/"), "{}", page.text("main").await);
        page.look("invoice-draft").await;
        page.lead("form[action$='/issue'] button").await;
        page.look("invoice-issued").await;
        let address = page.path().await;
        let script = format!(
            "const done = arguments[0]; fetch('{address}/pdf').then((r) => r.arrayBuffer()).then((b) => \
             done(btoa(String.fromCharCode(...new Uint8Array(b)))), (e) => done('' + e))"
        );
        let file = page.client.execute_async(&script, vec![]).await.unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(file.as_str().unwrap()).expect("the PDF's bytes");
        assert!(bytes.starts_with(b"%PDF-"), "a PDF");
        std::fs::write(self.bench.dir.join("invoice.pdf"), bytes).unwrap();
        let text =
            Command::new("pdftotext").arg(self.bench.dir.join("invoice.pdf")).arg("-").output().expect("pdftotext");
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        let heading = page.text("main .top").await;
        let numbered = |word: &&str| word.split('-').count() == 3 && word.ends_with(|c: char| c.is_ascii_digit());
        let number = heading.split_whitespace().map(|word| word.trim_matches([',', '.', ':'])).find(numbered);
        let number = number.unwrap_or_else(|| panic!("no number in {heading}"));
        assert!(text.contains(number) && text.contains("SPECIMEN") && text.contains("Vision"), "{number}: {text}");
        page.lead("form[action$='/settle'] button").await;
        page.says("main .top", "settled").await;
        page.look("invoice-settled").await;
        page.go("/invoices").await;
        page.look("invoices").await;
    }

    /// The pages that lie beside the way.
    async fn looks_around(&mut self) {
        let page = &mut self.page;
        for (path, name) in [
            ("/", "home"),
            ("/bookings", "bookings"),
            ("/queue", "queue"),
            ("/nodes", "nodes"),
            ("/fleet/health", "health"),
            ("/pools", "pools"),
            ("/unbooked", "unbooked"),
            ("/find?q=bench", "find"),
            ("/account", "account"),
            ("/notices", "notices"),
            ("/settings", "settings"),
            ("/nowhere", "nothing-here"),
        ] {
            page.go(path).await;
            page.look(name).await;
        }
        page.go("/nodes").await;
        page.lead("main a[href^='/nodes/nd_']").await;
        page.look("node").await;
        page.lead("main a[href^='/gpus/']").await;
        page.look("gpu").await;
        page.lead("main a[href$='/health']").await;
        page.look("gpu-health").await;
        page.go("/pools").await;
        page.lead("main a[href^='/pools/']").await;
        page.look("pool").await;
    }

    /// A backup of the running mill, its preview and restoration elsewhere, and both recomputed from nothing.
    async fn keeps_a_backup(&mut self) {
        let page = &mut self.page;
        let (dir, home) = (self.bench.dir.clone(), self.bench.dir.join("home"));
        page.downloads(&dir.join("kept")).await;
        page.go("/settings").await;
        page.press("form[action='/settings/backup'] button").await;
        let backup = kept(&dir.join("kept")).await;
        page.go("/settings").await;
        page.lead("form[action='/settings/verify'] button").await;
        page.says("h1", "the books hold").await;
        page.look("verified").await;
        let (backup, other) = (backup.to_str().unwrap(), dir.join("other"));
        let other = other.to_str().unwrap();
        let preview = self.verb(&["restore", backup, "--data", other, "--preview"], &home);
        assert!(preview.contains("Mill Lab"), "{preview}");
        assert!(!std::path::Path::new(other).join("mill.redb").exists(), "a preview restores nothing");
        self.verb(&["restore", backup, "--data", other], &home);
        self.verb(&["verify", "--data", other], &home);
        self.verb(&["login", &self.bench.url, "--email", ADMIN, "--password-stdin"], &home);
        self.verb(&["verify"], &home);
    }

    fn verb(&self, words: &[&str], home: &std::path::Path) -> String {
        let mut command = gristmill();
        command
            .args(words)
            .env("GRISTMILL_HOME", home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes());
        let done = child.wait_with_output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "gristmill {}: {}\n{out}\n{err}", words.join(" "), done.status);
        out.into_owned()
    }
}

/// The file that was downloaded into an empty folder, once it is whole.
async fn kept(folder: &std::path::Path) -> std::path::PathBuf {
    for _ in 0..600 {
        let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        // Until it is whole, the browser gives it another name.
        if let Some(file) = files.find(|file| file.extension().is_some_and(|end| end == "backup")) {
            return file;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no file was downloaded")
}

impl Page {
    /// A line into the shell that has the focus.
    async fn types(&self, line: &str) {
        self.keys(&format!("{line}\n")).await;
    }

    /// The number of the shell that said it last.
    async fn shell(&self) -> String {
        let number = |text: &str| {
            let said = text.lines().rev().find_map(|line| line.trim().strip_prefix("shell=").map(str::to_owned));
            said.filter(|said| !said.is_empty() && said.chars().all(|c| c.is_ascii_digit()))
        };
        let rows = "[role=tabpanel]:not([hidden]) .xterm-rows";
        let text = self.until(rows, "the shell's number", |text| number(text).is_some()).await;
        number(&text).unwrap()
    }

    /// Presses at one point, moves, and lets go at another.
    async fn drag(&self, from: (f64, f64), to: (f64, f64)) {
        use fantoccini::actions::{InputSource as _, MouseActions, PointerAction};
        let moved = |(x, y): (f64, f64)| PointerAction::MoveTo { duration: Some(Duration::from_millis(80)), x, y };
        let half = ((from.0 + to.0) / 2.0, (from.1 + to.1) / 2.0);
        let button = fantoccini::actions::MOUSE_BUTTON_LEFT;
        let drag = MouseActions::new("mouse".into())
            .then(moved(from))
            .then(PointerAction::Down { button })
            .then(moved(half))
            .then(moved(to))
            .then(PointerAction::Up { button });
        self.client.perform_actions(drag).await.unwrap();
        self.client.release_actions().await.unwrap();
    }
}
