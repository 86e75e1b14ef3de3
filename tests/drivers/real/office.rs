//! LibreOffice without a window: a document is read, written packed, read again and printed.

use crate::Scenario;
use gevent_tests::mode::Mode;
use gevent_tests::run::{self, End, Outcome};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(100);

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "real_libreoffice",
        end: End::Exit(0),
        run: convert,
    },
    Scenario {
        name: "real_libreoffice_two_hubs",
        end: End::Exit(0),
        run: |mode| convert(&mode.clone().with_hubs(2)),
    },
];

/// A table, a list and some pages.
fn document() -> String {
    let rows: String = (0..60)
        .map(|row| format!("<tr><td>row {row}</td><td>{}</td></tr>", row * row))
        .collect();
    let pages: String = (0..12)
        .map(|page| {
            let words = format!("page {page} has some words, ").repeat(60);
            format!("<h2 style='page-break-before: always'>Part {page}</h2><p>{words}</p>")
        })
        .collect();
    format!(
        "<html><head><title>Threads</title></head><body><h1>Threads</h1>\
         <table border=1>{rows}</table><ul><li>one</li><li>two</li></ul>{pages}</body></html>"
    )
}

const CONVERT: &str = "office() {
    soffice -env:UserInstallation=\"file://$HOME/profile\" --headless --norestore --convert-to \"$@\"
}
office odt:writerweb8_writer document.html && office pdf document.odt
";

fn convert(mode: &Mode) -> Result<Outcome, String> {
    let attempt = || -> std::io::Result<Outcome> {
        let directory = tempfile::tempdir()?;
        let here = directory.path();
        std::fs::write(here.join("document.html"), document())?;
        let mut office = Command::new("sh");
        office.args(["-c", CONVERT]).env("HOME", here);
        mode.apply(office.current_dir(here));
        let mut outcome = run::run(&mut office, LIMIT, false)?;
        let own = here.display().to_string();
        outcome.stdout = outcome.stdout.replace(&own, "");
        // As printed: every page ends with a form feed.
        let mut text = Command::new("pdftotext");
        text.args(["-layout", "document.pdf", "-"]);
        Mode::Bare.apply(text.current_dir(here));
        let text = run::run(&mut text, LIMIT, false)?;
        outcome.stdout += &format!("{}: {}\n{}", text.end, text.stderr, text.stdout);
        outcome.stderr = outcome.stderr.replace(&own, "");
        // It ends well, too, where it has failed to convert.
        if outcome.end == End::Exit(0) && !text.stdout.contains("Part 11\n") {
            let (said, errors) = (outcome.stdout, outcome.stderr);
            return Err(std::io::Error::other(format!(
                "not converted: {said}{errors}"
            )));
        }
        Ok(outcome)
    };
    attempt().map_err(|error| format!("soffice: {error}"))
}
