//! Medians and pairwise ratios, and their Markdown.

use std::fmt::Write;

/// Median, smallest and largest of some values.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// None without values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        } else {
            sorted[middle]
        };
        Some(Self {
            median,
            least,
            most,
        })
    }

    /// `a / b` for the values of the same turn.
    pub fn of_ratios(a: &[f64], b: &[f64]) -> Option<Self> {
        Self::of(a.iter().zip(b).map(|(a, b)| a / b))
    }

    /// `a - b` for the values of the same turn.
    pub fn of_differences(a: &[f64], b: &[f64]) -> Option<Self> {
        Self::of(a.iter().zip(b).map(|(a, b)| a - b))
    }

    /// "median (least – most)", or the one value.
    pub fn text(self) -> String {
        if self.least == self.most {
            return number(self.median);
        }
        format!(
            "{} ({} – {})",
            number(self.median),
            number(self.least),
            number(self.most)
        )
    }
}

/// One measurement: a value of each side for every turn.
pub struct Row {
    /// What is measured, with its unit.
    pub what: String,
    pub bare: Vec<f64>,
    /// Empty if only the bare side ran.
    pub preloaded: Vec<f64>,
}

/// Three significant digits or the whole integer part, thousands apart; a
/// count without digits after the point.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        _ if value.fract() == 0.0 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("−", rest),
        None => ("", text.as_str()),
    };
    let (whole, fraction) = match rest.split_once('.') {
        Some((whole, fraction)) => (whole, format!(".{fraction}")),
        None => (rest, String::new()),
    };
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{fraction}")
}

/// "–" for what was not measured.
pub fn text_or_dash(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "–".to_owned(), Spread::text)
}

/// The median alone.
pub fn median(values: &[f64]) -> String {
    let spread = Spread::of(values.iter().copied());
    spread.map_or_else(|| "–".to_owned(), |spread| number(spread.median))
}

/// The table of all rows.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| | bare | preloaded | preloaded ÷ bare (min – max) | preloaded − bare (min – max) |\n\
         |---|--:|--:|--:|--:|\n",
    );
    for row in rows {
        writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            row.what,
            median(&row.bare),
            median(&row.preloaded),
            text_or_dash(Spread::of_ratios(&row.preloaded, &row.bare)),
            text_or_dash(Spread::of_differences(&row.preloaded, &row.bare)),
        )
        .expect("a String takes all that is written to it");
    }
    text
}
