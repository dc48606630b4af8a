//! A page of metrics as text, in the format that the reader asks for.
//!
//! Written here and not by a library: those for Rust keep exemplars to histograms of their own, which lock.

use super::count::{BOUNDS, Exemplar, Sum};
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue};
use std::fmt::{self, Write as _};

/// How a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// What everything reads that reads metrics.
    Prometheus,
    /// OpenMetrics 1.0, which has exemplars.
    OpenMetrics,
}

impl Format {
    /// What the reader would rather have, of what there is.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let listed = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        let (mut open, mut plain) = (0.0_f32, 0.0_f32);
        for range in listed.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let (mut quality, mut version) = (1.0, None);
            for (key, value) in parts.filter_map(|part| part.split_once('=')) {
                match key.to_ascii_lowercase().as_str() {
                    "q" => quality = value.parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim_matches('"')),
                    _ => {}
                }
            }
            if media.eq_ignore_ascii_case("application/openmetrics-text")
                && matches!(version, None | Some("1.0.0" | "0.0.1"))
            {
                open = open.max(quality);
            } else if media.eq_ignore_ascii_case("text/plain") && matches!(version, None | Some("0.0.4")) {
                plain = plain.max(quality);
            }
        }
        if open > 0.0 && open >= plain { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub(crate) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        })
    }
}

/// What the samples of a family are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its name ends in `_total`.
    Counter,
    Gauge,
    Histogram,
    /// Its name ends in `_info`.
    Info,
}

pub(super) type Labels<'l> = [(&'l str, &'l str)];

/// A value, always in base units.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value {
    Whole(u64),
    Float(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => value.fmt(f),
            // with a point, so that nobody takes it for a whole number
            Self::Float(value) => fmt::Debug::fmt(value, f),
        }
    }
}

/// A page being written.
#[derive(Debug)]
pub(super) struct Page {
    text: String,
    format: Format,
}

impl Page {
    pub(super) fn new(format: Format) -> Self {
        Self { text: String::with_capacity(64 * 1024), format }
    }

    /// Samples of one name, all of which come next.
    pub(super) fn family(&mut self, kind: Kind, name: &'static str, help: &'static str) -> Family<'_> {
        Family { page: self, kind, name, help, described: false, prefix: String::new() }
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// What is in it is described when it has a sample; an empty one is not there.
#[derive(Debug)]
pub(super) struct Family<'p> {
    page: &'p mut Page,
    kind: Kind,
    name: &'static str,
    help: &'static str,
    described: bool,
    /// Of the lines of a histogram.
    prefix: String,
}

impl Family<'_> {
    pub(super) fn sample(&mut self, labels: &Labels<'_>, value: impl Into<Value>) {
        self.describe();
        let text = &mut self.page.text;
        text.push_str(self.name);
        if !labels.is_empty() {
            text.push('{');
            write_labels(text, labels);
            text.push('}');
        }
        // writing to a String cannot fail
        let _ = writeln!(text, " {}", value.into());
    }

    pub(super) fn histogram(&mut self, labels: &Labels<'_>, sum: &Sum, exemplars: &[Option<Exemplar>]) {
        self.describe();
        self.prefix.clear();
        write_labels(&mut self.prefix, labels);
        let (name, own) = (self.name, &*self.prefix);
        let (comma, open) = if own.is_empty() { ("", "") } else { (",", "{") };
        let close = if own.is_empty() { "" } else { "}" };
        let text = &mut self.page.text;
        let mut cumulative = 0;
        for (at, bucket) in sum.buckets.iter().enumerate() {
            cumulative += bucket;
            let _ = match BOUNDS.get(at) {
                Some(bound) => write!(text, "{name}_bucket{{{own}{comma}le=\"{bound:?}\"}} {cumulative}"),
                None => write!(text, "{name}_bucket{{{own}{comma}le=\"+Inf\"}} {cumulative}"),
            };
            if let Some(Some(exemplar)) = exemplars.get(at)
                && self.page.format == Format::OpenMetrics
            {
                let Exemplar { trace_id, seconds, unix_millis } = exemplar;
                let (trace, time) = (u128::from_be_bytes(*trace_id), *unix_millis as f64 / 1e3);
                let _ = write!(text, " # {{trace_id=\"{trace:032x}\"}} {seconds:?} {time:?}");
            }
            text.push('\n');
        }
        let _ = writeln!(text, "{name}_sum{open}{own}{close} {:?}", sum.seconds);
        let _ = writeln!(text, "{name}_count{open}{own}{close} {cumulative}");
    }

    fn describe(&mut self) {
        if std::mem::replace(&mut self.described, true) {
            return;
        }
        let Self { page: Page { text, format }, kind, name, help, .. } = self;
        let (kind, name) = match (*format, kind) {
            (Format::Prometheus, Kind::Info) => ("gauge", *name),
            (Format::OpenMetrics, Kind::Info) => ("info", name.strip_suffix("_info").unwrap_or(name)),
            (Format::Prometheus, Kind::Counter) => ("counter", *name),
            (Format::OpenMetrics, Kind::Counter) => ("counter", name.strip_suffix("_total").unwrap_or(name)),
            (_, Kind::Gauge) => ("gauge", *name),
            (_, Kind::Histogram) => ("histogram", *name),
        };
        let _ = writeln!(text, "# HELP {name} {help}");
        let _ = writeln!(text, "# TYPE {name} {kind}");
        let unit = name.rsplit('_').next().filter(|unit| matches!(*unit, "seconds" | "bytes"));
        if let (Format::OpenMetrics, Some(unit)) = (*format, unit) {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
    }
}

fn write_labels(text: &mut String, labels: &Labels<'_>) {
    for (at, (key, value)) in labels.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(key);
        text.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::count::Histogram;
    use std::time::Duration;

    #[test]
    fn the_reader_gets_what_it_would_rather_have() {
        let of = |accept: &[&'static str]| {
            let accept = accept.iter().map(|value| (ACCEPT, HeaderValue::from_static(value)));
            Format::of(&accept.collect::<HeaderMap>())
        };
        use Format::{OpenMetrics, Prometheus};
        assert_eq!(of(&[]), Prometheus);
        assert_eq!(of(&["*/*"]), Prometheus);
        assert_eq!(of(&["text/plain"]), Prometheus);
        assert_eq!(of(&["application/openmetrics-text"]), OpenMetrics);
        assert_eq!(of(&["text/plain, application/openmetrics-text; version=\"1.0.0\""]), OpenMetrics);
        assert_eq!(of(&["text/plain;q=0.9", "Application/OpenMetrics-Text;Version=0.0.1;Q=0.3"]), Prometheus);
        assert_eq!(of(&["application/openmetrics-text;version=2.0.0,*/*"]), Prometheus);
        assert_eq!(of(&["application/openmetrics-text;q=0"]), Prometheus);
        assert_eq!(of(&["application/openmetrics-text;q=nonsense"]), Prometheus);
        // as sent by versions 2 and 3 of Prometheus
        let version_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let version_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!((of(&[version_2]), of(&[version_3])), (OpenMetrics, OpenMetrics));
    }

    fn page(format: Format) -> String {
        let mut page = Page::new(format);
        page.family(Kind::Info, "gateway_build_info", "What runs.").sample(&[("version", "1")], 1u64);
        page.family(Kind::Gauge, "gateway_nothing", "Has no samples.");
        let mut requests = page.family(Kind::Counter, "gateway_requests_total", "Requests.");
        requests.sample(&[("route", "a"), ("method", "GET")], 7u64);
        requests.sample(&[("route", "q\"\\\n"), ("method", "_other")], 1u64);
        page.family(Kind::Gauge, "up_seconds", "Up.").sample(&[], 1.0);
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(2));
        histogram.observe(Duration::from_secs(60));
        let sum = Sum::of([&histogram].into_iter());
        let mut exemplars = [None; 16];
        exemplars[2] =
            Some(Exemplar { trace_id: [0xab; 16], seconds: 0.002, unix_millis: 1_700_000_000_250 });
        let mut durations = page.family(Kind::Histogram, "took_seconds", "Took.");
        durations.histogram(&[("route", "a")], &sum, &exemplars);
        page.finish()
    }

    #[test]
    fn a_page_of_prometheus_has_what_it_knows() {
        let page = page(Format::Prometheus);
        let (before, buckets) = page.split_once("took_seconds_bucket").unwrap();
        assert_eq!(
            before,
            "# HELP gateway_build_info What runs.\n\
             # TYPE gateway_build_info gauge\n\
             gateway_build_info{version=\"1\"} 1\n\
             # HELP gateway_requests_total Requests.\n\
             # TYPE gateway_requests_total counter\n\
             gateway_requests_total{route=\"a\",method=\"GET\"} 7\n\
             gateway_requests_total{route=\"q\\\"\\\\\\n\",method=\"_other\"} 1\n\
             # HELP up_seconds Up.\n\
             # TYPE up_seconds gauge\n\
             up_seconds 1.0\n\
             # HELP took_seconds Took.\n\
             # TYPE took_seconds histogram\n"
        );
        assert!(buckets.starts_with("{route=\"a\",le=\"0.0005\"} 0\n"), "{buckets}");
        let end = "le=\"30.0\"} 1\ntook_seconds_bucket{route=\"a\",le=\"+Inf\"} 2\n\
                   took_seconds_sum{route=\"a\"} 60.002\ntook_seconds_count{route=\"a\"} 2\n";
        assert!(buckets.ends_with(end) && !buckets.contains('#'), "{buckets}");
    }

    #[test]
    fn a_page_of_openmetrics_has_units_exemplars_and_an_end() {
        let page = page(Format::OpenMetrics);
        for part in [
            "# TYPE gateway_build info\ngateway_build_info{version=\"1\"} 1\n",
            "# TYPE gateway_requests counter\ngateway_requests_total{route=\"a\",method=\"GET\"} 7\n",
            "# TYPE took_seconds histogram\n# UNIT took_seconds seconds\n",
            "le=\"0.0025\"} 1 # {trace_id=\"abababababababababababababababab\"} 0.002 1700000000.25\n",
        ] {
            assert!(page.contains(part), "{part} in\n{page}");
        }
        assert!(page.ends_with("took_seconds_count{route=\"a\"} 2\n# EOF\n"), "{page}");
    }
}
