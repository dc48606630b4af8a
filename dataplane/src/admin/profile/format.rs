//! A profile as `profile.proto` of google/pprof has it.

use pprof::{Frames, Report, Symbol};
use std::collections::HashMap;
use std::time::UNIX_EPOCH;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    /// Every text, referred to by its position; the first is empty.
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    r#type: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sample {
    /// The innermost first.
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    /// One for each of the profile's types.
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    str: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    /// Several where functions were inlined; the last is the one into which they were.
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

/// Two values for each sample, as Go has them: how many there were, and the processor time that they stand for.
pub(super) fn profile(report: &Report) -> Profile {
    let period = 1_000_000_000 / i64::from(report.timing.frequency.max(1));
    let mut tables = Tables::default();
    tables.text("");
    let time = tables.value_type("cpu", "nanoseconds");
    let sample_type = vec![tables.value_type("samples", "count"), time];
    let sample =
        report.data.iter().map(|(frames, count)| tables.sample(frames, *count as i64, period)).collect();
    let began = report.timing.start_time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let Tables { texts, functions, locations } = tables;
    Profile {
        sample_type,
        sample,
        location: locations.in_order(|id, line| Location { id, line }),
        function: functions.in_order(|id, (name, system_name, filename)| Function {
            id,
            name,
            system_name,
            filename,
        }),
        string_table: texts.in_order(|_, text| text),
        time_nanos: began.as_nanos() as i64,
        duration_nanos: report.timing.duration.as_nanos() as i64,
        period_type: Some(time),
        period,
    }
}

/// What samples refer to.
#[derive(Default)]
struct Tables {
    texts: Numbered<String>,
    functions: Numbered<(i64, i64, i64)>,
    locations: Numbered<Vec<Line>>,
}

impl Tables {
    /// Counted from 0.
    fn text(&mut self, text: &str) -> i64 {
        self.texts.number(text.to_owned()) as i64 - 1
    }

    fn value_type(&mut self, what: &str, unit: &str) -> ValueType {
        ValueType { r#type: self.text(what), unit: self.text(unit) }
    }

    fn sample(&mut self, frames: &Frames, count: i64, period: i64) -> Sample {
        let location_id = frames.frames.iter().map(|inlined| self.location(inlined)).collect();
        let thread = Label { key: self.text("thread"), str: self.text(&frames.thread_name_or_id()) };
        Sample { location_id, value: vec![count, count * period], label: vec![thread] }
    }

    fn location(&mut self, inlined: &[Symbol]) -> u64 {
        let lines = inlined.iter().map(|symbol| self.line(symbol)).collect();
        self.locations.number(lines)
    }

    fn line(&mut self, symbol: &Symbol) -> Line {
        let names = (self.text(&symbol.name()), self.text(&symbol.sys_name()), self.text(&symbol.filename()));
        Line { function_id: self.functions.number(names), line: i64::from(symbol.lineno()) }
    }
}

/// Things, each once, by a number that is counted from 1.
struct Numbered<T>(HashMap<T, u64>);

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Eq + std::hash::Hash> Numbered<T> {
    fn number(&mut self, thing: T) -> u64 {
        let next = self.0.len() as u64 + 1;
        *self.0.entry(thing).or_insert(next)
    }

    fn in_order<U>(self, make: impl Fn(u64, T) -> U) -> Vec<U> {
        let mut all: Vec<_> = self.0.into_iter().collect();
        all.sort_unstable_by_key(|(_, number)| *number);
        all.into_iter().map(|(thing, number)| make(number, thing)).collect()
    }
}
