//! One list of things in five formats: `table`, `wide`, `json`, `yaml` and `name`.

use crate::exit::Failure;
use comfy_table::{Attribute, Cell as TableCell, Color, ContentArrangement, Table};
use jiff::Timestamp;
use serde::Serialize;

/// What JSON and YAML documents say they are; changes only when a field changes its meaning.
pub const API_VERSION: &str = "gatewayctl/v1";

/// The value of `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Table,
    /// The table with more columns.
    Wide,
    Json,
    Yaml,
    /// One `kind/name` a line.
    Name,
}

/// Something that `gatewayctl` lists.
pub trait Resource: Serialize {
    /// As documents name one of them: `Route`.
    const KIND: &'static str;
    /// As `-o name` names one of them: `route/user-service`.
    fn name(&self) -> String;
    /// Its row: every item of a list has the same columns.
    fn row(&self, wide: bool, now: Timestamp) -> Row;
}

/// Titles and cells, in the order they are shown.
#[derive(Debug, Default)]
pub struct Row {
    cells: Vec<(&'static str, Cell)>,
}

/// One cell: its text and what colour may add.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cell {
    text: String,
    tone: Tone,
}

/// How well things are; the word says it, colour only repeats it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    #[default]
    Plain,
    Good,
    Doubtful,
    Bad,
}

/// The column that is left out where no row has anything in it.
const OPTIONAL: &str = "REASON";

impl Row {
    pub fn cell(self, title: &'static str, text: impl ToString) -> Self {
        self.toned(title, text, Tone::Plain)
    }

    pub fn toned(mut self, title: &'static str, text: impl ToString, tone: Tone) -> Self {
        self.cells.push((title, Cell { text: printable(&text.to_string()), tone }));
        self
    }

    pub fn cell_if(self, shown: bool, title: &'static str, text: impl ToString) -> Self {
        if shown { self.cell(title, text) } else { self }
    }
}

/// Names and reasons come from other machines: a control character must not reach the terminal.
pub fn printable(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The value of `-o` where there is one thing to tell and not a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    Table,
    Json,
    Yaml,
}

/// A JSON or YAML document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document<'a, T> {
    pub api_version: &'static str,
    pub kind: String,
    pub items: &'a [T],
}

/// The whole list as text, in colour.
pub fn render<R: Resource>(items: &[R], format: Format, now: Timestamp) -> Result<String, Failure> {
    match format {
        Format::Table | Format::Wide => Ok(table(items, format == Format::Wide, now)),
        Format::Json => json(&document(items)),
        Format::Yaml => yaml(&document(items)),
        Format::Name => Ok(names(items)),
    }
}

/// One thing may have several lines, but it has one name.
fn names<R: Resource>(items: &[R]) -> String {
    let mut names: Vec<String> = items.iter().map(Resource::name).collect();
    names.dedup();
    names.into_iter().map(|name| name + "\n").collect()
}

fn document<R: Resource>(items: &[R]) -> Document<'_, R> {
    Document { api_version: API_VERSION, kind: format!("{}List", R::KIND), items }
}

pub fn json(document: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(document).map_err(unserializable)?;
    Ok(text + "\n")
}

pub fn yaml(document: &impl Serialize) -> Result<String, Failure> {
    serde_yaml::to_string(document).map_err(unserializable)
}

fn unserializable(error: impl std::fmt::Display) -> Failure {
    Failure::new(crate::exit::Exit::Bug, format_args!("cannot write the answer: {error}"))
}

fn table<R: Resource>(items: &[R], wide: bool, now: Timestamp) -> String {
    rows(&items.iter().map(|item| item.row(wide, now)).collect::<Vec<_>>())
}

/// Rows of the same columns, with their titles; nothing if there are none.
pub fn rows(rows: &[Row]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let shown: Vec<usize> = (0..first.cells.len()).filter(|column| is_shown(rows, *column)).collect();

    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled).enforce_styling();
    // else the colour of a last cell would keep the blanks after it
    table.style_text_only();
    table.set_header(shown.iter().map(|column| TableCell::new(first.cells[*column].0)));
    for row in rows {
        table.add_row(shown.iter().map(|column| styled(&row.cells[*column].1)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// The same without their titles.
pub fn untitled(lines: &[Row]) -> String {
    let text = rows(lines);
    text.split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or_default()
}

fn is_shown(rows: &[Row], column: usize) -> bool {
    rows[0].cells[column].0 != OPTIONAL || rows.iter().any(|row| row.cells[column].1.text != "-")
}

fn styled(cell: &Cell) -> TableCell {
    let content = TableCell::new(&cell.text);
    match cell.tone {
        Tone::Plain => content,
        Tone::Good => content.fg(Color::Green),
        Tone::Doubtful => content.fg(Color::Yellow),
        Tone::Bad => content.fg(Color::Red).add_attribute(Attribute::Bold),
    }
}

/// A moment as the control plane tells it; 0 is none.
pub fn moment(milliseconds: i64) -> Option<Timestamp> {
    (milliseconds != 0).then(|| Timestamp::from_millisecond(milliseconds).ok()).flatten()
}

/// The time since a moment in at most two units, as kubectl shows it: `45s`, `3m12s`, `5h`, `2d`.
pub fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    let Some(since) = since else { return "-".to_owned() };
    let seconds = now.duration_since(since).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: i64, unit, small: i64, small_unit: char| match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit}{small}{small_unit}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        _ => format!("{days}d"),
    }
}

/// A span that the control plane measured, in the unit that reads best.
pub fn took(microseconds: u64) -> String {
    match microseconds {
        0..1_000 => format!("{microseconds} µs"),
        1_000..1_000_000 => format!("{:.1} ms", microseconds as f64 / 1e3),
        _ => format!("{:.1} s", microseconds as f64 / 1e6),
    }
}

/// So many a second, with as many digits as mean something.
pub fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0".to_owned(),
        ..10.0 => format!("{per_second:.1}"),
        _ => format!("{per_second:.0}"),
    }
}

/// `1 route`, `2 routes`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Thing {
        name: &'static str,
        reason: &'static str,
    }

    impl Resource for Thing {
        const KIND: &'static str = "Thing";
        fn name(&self) -> String {
            format!("thing/{}", self.name)
        }
        fn row(&self, _wide: bool, _now: Timestamp) -> Row {
            let tone = if self.reason.is_empty() { Tone::Good } else { Tone::Bad };
            Row::default().cell("THING", self.name).toned("STATE", "OK", tone).cell("REASON", self.reason)
        }
    }

    fn plain(things: &[Thing]) -> String {
        anstream::adapter::strip_str(&table(things, false, Timestamp::UNIX_EPOCH)).to_string()
    }

    #[test]
    fn gutters_are_two_spaces_and_lines_do_not_trail() {
        let things = [Thing { name: "a", reason: "" }, Thing { name: "longer", reason: "broken" }];
        assert_eq!(plain(&things), "THING   STATE  REASON\na       OK     -\nlonger  OK     broken\n");
    }

    #[test]
    fn reason_is_left_out_when_all_is_well() {
        assert_eq!(plain(&[Thing { name: "a", reason: "" }]), "THING  STATE\na      OK\n");
    }

    #[test]
    fn control_characters_cannot_reach_the_terminal() {
        assert_eq!(plain(&[Thing { name: "a\x1b[2J\nb", reason: "" }]), "THING    STATE\na [2J b  OK\n");
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let coloured = table(&[Thing { name: "a", reason: "x" }], false, Timestamp::UNIX_EPOCH);
        assert!(coloured.contains("\x1b["));
    }

    #[test]
    fn ages_read_as_kubectls() {
        let age_of = |seconds: i64| age(moment(1), moment(1 + seconds * 1000).unwrap());
        assert_eq!(
            [0, 119, 192, 600, 12_000, 36_000, 180_000, 900_000].map(age_of),
            ["0s", "119s", "3m12s", "10m", "3h20m", "10h", "2d2h", "10d"]
        );
        assert_eq!(age(None, Timestamp::UNIX_EPOCH), "-");
    }

    #[test]
    fn clocks_that_disagree_show_no_negative_age() {
        assert_eq!(age(moment(5_000), moment(1_000).unwrap()), "0s");
    }
}
