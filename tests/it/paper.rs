//! Documents of money as a reader gets them: what can be read out of the file, how many pages it has, that its faces are
//! embedded and that no text, however odd, breaks it. Needs poppler-utils (pdftotext, pdfinfo, pdffonts).
use std::path::PathBuf;
use std::process::Command;

use gristmill::app::money::paper::{Group, Kind, Line, Paper, PaperError, Party, Reference, Row, render};
use gristmill::base::credits::Credits;
use gristmill::base::window::Instant;
use proptest::prelude::*;

fn credits(text: &str) -> Credits {
    text.parse().expect("an amount")
}

fn line(index: usize, amount: &str) -> Line {
    Line {
        description: format!("llama finetune {index}, 2 × H200 on stone-1"),
        detail: format!(
            "{} Nov 2026 08:00 to 14:15 · booking 0192f0c1-7a4e-7d33-9a1c-00000000{index:04}",
            index % 28 + 1
        ),
        quantity: "12.500".into(),
        unit: "GPU h".into(),
        rate: "2.50".into(),
        amount: credits(amount),
    }
}

/// A plausible document over these lines.
fn paper(lines: Vec<Line>) -> Paper {
    let total = lines.iter().try_fold(Credits::ZERO, |sum, line| sum.checked_add(line.amount)).unwrap();
    let granted = Credits::from_whole(20).unwrap();
    Paper {
        kind: Kind::InternalCharge,
        simulated: false,
        number: Some("IC-2026-000012".into()),
        issuer: Party {
            name: "Institute for Machine Milling".into(),
            address: vec![
                "Computing Services".into(),
                "Mühlenweg 7, 10115 Berlin".into(),
                "gpu@institute.example".into(),
            ],
            cost_centre: Some("1000".into()),
        },
        recipient: Party {
            name: "Vision".into(),
            address: vec!["Ada Okafor".into(), "Building C, room 3.14".into()],
            cost_centre: Some("4711".into()),
        },
        period: "November 2026 (Europe/Berlin)".into(),
        issued: Some("1 December 2026".into()),
        due: Some("15 December 2026".into()),
        currency: "EUR".into(),
        decimals: 2,
        groups: vec![Group { title: None, lines }],
        additions: vec![],
        total,
        set_off: vec![Row { label: "Set off against grant of 2 November 2026".into(), amount: granted.negated() }],
        outstanding: total.checked_sub(granted).unwrap(),
        settlement: Some(
            "Booked between the cost centres above at the end of the month. Nothing needs to be transferred.".into(),
        ),
        references: vec![],
        notes: vec![
            "An internal charge between cost centres of one organisation is outside the scope of value added tax."
                .into(),
        ],
        footer: "Institute for Machine Milling · Questions: gpu@institute.example".into(),
        language: "en".into(),
        as_of: Instant::from_seconds(1_796_086_800),
    }
}

/// Prints and keeps the file beside the other test output, where it can be looked at.
fn printed(name: &str, paper: &Paper) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pdf"));
    std::fs::write(&path, render(paper).expect("a document")).unwrap();
    path
}

fn tool(name: &str, arguments: &[&str], file: &PathBuf) -> String {
    let mut command = Command::new(name);
    command.args(arguments).arg(file);
    if name == "pdftotext" {
        command.arg("-");
    }
    let output = command.output().unwrap_or_else(|e| panic!("{name} (package poppler-utils) does not run: {e}"));
    assert!(output.status.success() && output.stderr.is_empty(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn text(file: &PathBuf) -> String {
    tool("pdftotext", &["-layout"], file)
}

fn pages(file: &PathBuf) -> Vec<String> {
    text(file).trim_end_matches('\u{c}').split('\u{c}').map(str::to_owned).collect()
}

#[test]
fn a_short_document_says_everything_once() {
    let file = printed("paper-3", &paper(vec![line(1, "31.25"), line(2, "1250.50"), line(3, "0.07")]));
    let pages = pages(&file);
    assert_eq!(pages.len(), 1);
    for said in [
        "Internal charge",
        "IC-2026-000012",
        "Institute for Machine Milling",
        "Mühlenweg 7, 10115 Berlin",
        "Vision",
        "Cost centre 4711",
        "(Europe/Berlin)",
        "1 December 2026",
        "Outstanding, due 15 December 2026",
        "31.25",
        "1,250.50",
        "0.07",
        "12.500",
        "GPU h",
        "2.50",
        "1,281.82",
        "-20.00",
        "1,261.82 EUR",
        "Set off against grant of 2",
        "Page 1 of 1",
        "2 × H200 on stone-1",
        "outside the scope of value added tax",
    ] {
        assert!(pages[0].contains(said), "{said} is missing in\n{}", pages[0]);
    }
    for absent in ["SPECIMEN", "DRAFT", "Carried forward", "Subtotal"] {
        assert!(!pages[0].contains(absent), "{absent} is in\n{}", pages[0]);
    }
}

#[test]
fn a_long_document_repeats_its_head_and_carries_the_sum() {
    let lines: Vec<Line> = (0..120).map(|index| line(index, "31.25")).collect();
    let file = printed("paper-120", &paper(lines));
    let pages = pages(&file);
    let count = pages.len();
    assert!((5..=10).contains(&count), "{count} pages");
    for (index, page) in pages.iter().enumerate() {
        assert!(page.contains(&format!("Page {} of {count}", index + 1)), "{page}");
        assert!(page.contains("IC-2026-000012"), "{page}");
    }
    let mut so_far = 0;
    for (here, next) in pages.iter().zip(&pages[1..]) {
        so_far += here.matches("12.500").count();
        let sum = Credits::from_micros(31_250_000 * so_far as i64).to_decimal(2);
        let sum = if sum.len() > 6 { format!("{},{}", &sum[..sum.len() - 6], &sum[sum.len() - 6..]) } else { sum };
        for (page, label) in [(here, "Carried forward"), (next, "Brought forward")] {
            let said = page.lines().find(|line| line.contains(label)).unwrap_or_else(|| panic!("{label}: {page}"));
            assert!(said.ends_with(&sum), "{said} is not {sum}");
        }
        assert!(next.contains("Quantity") || next.contains("Total"), "{next}");
    }
    assert_eq!(text(&file).matches("12.500").count(), 120);
    assert!(text(&file).contains("3,750.00") && text(&file).contains("3,730.00 EUR"));
}

#[test]
fn groups_taxes_and_references_are_set() {
    let mut paper = paper(vec![line(1, "100.00")]);
    let own = |title: &str, lines| Group { title: Some(title.into()), lines };
    paper.kind = Kind::TaxInvoice;
    paper.groups =
        vec![own("Pool common", vec![line(1, "60.00"), line(2, "40.00")]), own("Pool fast", vec![line(3, "11.50")])];
    paper.additions = vec![Row { label: "Value added tax 19 % on 111.50".into(), amount: credits("21.19") }];
    paper.total = credits("132.69");
    paper.set_off = vec![];
    paper.outstanding = credits("132.69");
    let text = text(&printed("paper-groups", &paper));
    for said in [
        "Invoice",
        "Pool common",
        "Subtotal",
        "100.00",
        "Pool fast",
        "Sum of the lines",
        "111.50",
        "21.19",
        "132.69",
        "Amount due, due 15",
    ] {
        assert!(text.contains(said), "{said} is missing in\n{text}");
    }

    paper.kind = Kind::CreditNote;
    paper.references =
        vec![Reference { label: "Corrects".into(), text: "invoice I-2026-000007 of 3 November 2026".into() }];
    paper.due = None;
    let text = self::text(&printed("paper-credit-note", &paper));
    for said in
        ["Credit note", "Corrects: invoice I-2026-000007 of 3 November 2026", "Total credited", "Remaining credit"]
    {
        assert!(text.contains(said), "{said} is missing in\n{text}");
    }
}

#[test]
fn what_is_not_real_or_not_final_says_so_on_every_page() {
    let mut paper = paper((0..30).map(|index| line(index, "1.00")).collect());
    paper.simulated = true;
    let file = printed("paper-simulated", &paper);
    let told = pages(&file);
    assert!(told.len() > 1);
    assert!(told.iter().all(|page| page.contains("SPECIMEN") && page.contains("nothing to pay")), "{told:?}");
    assert!(tool("pdfinfo", &[], &file).contains("SPECIMEN Internal charge IC-2026-000012"));

    paper.simulated = false;
    paper.number = None;
    let told = pages(&printed("paper-draft", &paper));
    assert!(told.iter().all(|page| page.contains("DRAFT") && !page.contains("SPECIMEN")), "{told:?}");
}

#[test]
fn the_file_describes_itself_and_brings_its_faces() {
    let file = printed("paper-1", &paper(vec![line(1, "31.25")]));
    let info = tool("pdfinfo", &["-isodates"], &file);
    for said in
        ["Internal charge IC-2026-000012", "Institute for Machine Milling", "Gristmill", "2026-12-01T01:00:00Z", "A4"]
    {
        assert!(info.contains(said), "{said} is missing in\n{info}");
    }
    let fonts = tool("pdffonts", &[], &file);
    let rows: Vec<&str> = fonts.lines().skip(2).collect();
    assert!(rows.len() >= 3, "{fonts}");
    for row in rows {
        // Columns at the end: emb sub uni, then the object's number.
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words[words.len() - 5..words.len() - 2], ["yes", "yes", "yes"], "{fonts}");
    }
}

#[test]
fn the_same_document_has_the_same_bytes() {
    let one = paper((0..50).map(|index| line(index, "31.25")).collect());
    let first = render(&one).unwrap();
    assert_eq!(first, render(&one.clone()).unwrap());
    let mut other = one;
    other.as_of = other.as_of.plus(gristmill::base::window::Span::from_seconds(1));
    assert_ne!(first, render(&other).unwrap());
}

#[test]
fn what_does_not_add_up_is_not_printed() {
    let mut wrong = paper(vec![line(1, "31.25")]);
    wrong.total = credits("31.26");
    let refusal = render(&wrong).unwrap_err();
    assert!(matches!(&refusal, PaperError::DoesNotAddUp { what: "total", .. }), "{refusal}");
    assert!(refusal.to_string().contains("31.26") && refusal.to_string().contains("31.25"));
    let mut wrong = paper(vec![line(1, "31.25")]);
    wrong.outstanding = credits("31.25");
    assert!(matches!(render(&wrong), Err(PaperError::DoesNotAddUp { what: "outstanding amount", .. })));
}

#[test]
fn long_names_wrap_and_unknown_letters_show() {
    let mut long = paper(vec![line(1, "31.25")]);
    long.recipient.name = "Interdisziplinäre Forschungsgruppe für maschinelles Lernen und Donaudampfschifffahrtsgesellschaftskapitänsmützenforschung".into();
    long.issuer.name =
        "Zentrum für Hochleistungsrechnen und wissenschaftliche Datenverarbeitung der Vereinigten Hochschulen".into();
    long.groups[0].lines[0].description = format!("{}-tail 日本 \u{7}end Ελληνικά Привет", "x".repeat(300));
    long.groups[0].lines[0].quantity = "123,456,789,012,345.678".into();
    long.total = credits("9000000000000.99");
    long.groups[0].lines[0].amount = long.total;
    long.outstanding = long.total.checked_sub(credits("20")).unwrap();
    let text = text(&printed("paper-long", &long));
    assert!(text.contains("9,000,000,000,000.99") && text.contains("8,999,999,999,980.99 EUR"), "{text}");
    assert!(text.contains("Donaudampf") && text.contains("-tail \u{fffd}\u{fffd} \u{fffd}end"), "{text}");
    assert!(text.contains("Ελληνικά") && text.contains("Привет"), "{text}");
    let empty = self::text(&printed("paper-empty", &paper(vec![])));
    assert!(empty.contains("Nothing was delivered in this period."), "{empty}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn no_text_breaks_it(
        texts in proptest::collection::vec(
            prop_oneof![any::<String>(), "\\PC{0,400}", "[\u{0}-\u{20}\u{590}-\u{6ff}\u{200b}-\u{206f}\u{1f300}-\u{1faff}\u{e000}-\u{e010}\u{fff0}-\u{ffff}]{0,60}"],
            14,
        ),
        amounts in proptest::collection::vec(-9_000_000_000_000_000..9_000_000_000_000_000i64, 0..16),
        (simulated, numbered, decimals) in (any::<bool>(), any::<bool>(), 0..7usize),
    ) {
        let odd = |index: usize| texts[index % texts.len()].clone();
        let lines = amounts.iter().enumerate().map(|(index, micros)| Line {
            description: odd(index), detail: odd(index + 1), quantity: odd(index + 2), unit: odd(index + 3), rate: odd(index + 4),
            amount: Credits::from_micros(*micros),
        });
        let mut paper = paper(lines.collect());
        let party = |from: usize| Party { name: odd(from), address: vec![odd(from + 1), odd(from + 2)], cost_centre: Some(odd(from + 3)) };
        (paper.issuer, paper.recipient) = (party(0), party(4));
        (paper.period, paper.issued, paper.due, paper.currency) = (odd(8), Some(odd(9)), Some(odd(10)), odd(11));
        (paper.settlement, paper.notes, paper.footer, paper.language) = (Some(odd(12)), vec![odd(13), odd(0)], odd(1), odd(2));
        paper.references = vec![Reference { label: odd(3), text: odd(4) }];
        paper.set_off[0].label = odd(5);
        paper.groups[0].title = Some(odd(6));
        (paper.simulated, paper.number, paper.decimals) = (simulated, numbered.then(|| odd(7)), decimals);
        let bytes = render(&paper).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert!(bytes.starts_with(b"%PDF-1.7"));
    }
}
