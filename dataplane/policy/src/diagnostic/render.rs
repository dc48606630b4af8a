//! Diagnostics as text for people: code, place, source line, caret and help, as rustc prints them.

use super::{Diagnostic, Span};
use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{Annotation, AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};
use std::ops::Range;

/// All diagnostics, a blank line between them and a line break at the end; empty when there are none.
pub fn render(source_name: &str, source: &str, diagnostics: &[Diagnostic], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Ascii);
    let mut text = String::new();
    for diagnostic in diagnostics {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&renderer.render(&[report(source_name, source, diagnostic)]));
        text.push('\n');
    }
    text
}

fn report<'a>(source_name: &'a str, source: &'a str, diagnostic: &'a Diagnostic) -> Group<'a> {
    let level = if diagnostic.code.is_warning() { Level::WARNING } else { Level::ERROR };
    let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.to_string());
    let mut report = title.element(place(source_name, source, diagnostic));
    for label in diagnostic.related.iter().filter(|label| label.span.is_none()) {
        report = report.element(Level::NOTE.message(format!("{}: {}", label.path, label.message)));
    }
    if let Some(help) = &diagnostic.help {
        report = report.element(Level::HELP.message(help.as_str()));
    }
    report
}

/// The lines from the first to the last place that belongs to it; without a place, what is known of it.
fn place<'a>(source_name: &'a str, source: &'a str, diagnostic: &'a Diagnostic) -> Element<'a> {
    let Some(primary) = diagnostic.span.filter(|span| inside(source, *span)) else {
        return Origin::path(match diagnostic.path.as_str() {
            "" => source_name.to_owned(),
            path => format!("{source_name}: {path}"),
        })
        .into();
    };
    let related = || {
        let placed = diagnostic.related.iter().filter_map(|label| Some((label, label.span?)));
        placed.filter(|(_, span)| inside(source, *span))
    };
    let first = related().map(|(_, span)| span).fold(primary, |a, b| if b.start < a.start { b } else { a });
    let last = related().map(|(_, span)| span.end).fold(primary.end, u32::max) as usize;
    let start = source[..first.start as usize].rfind('\n').map_or(0, |at| at + 1);
    let end = source[last..].find('\n').map_or(source.len(), |at| last + at);
    let annotations = related().map(|(label, span)| {
        AnnotationKind::Context.span(within(source, span, start)).label(label.message.as_str())
    });
    let annotations: Vec<Annotation<'a>> = annotations.collect();
    Snippet::source(&source[start..end])
        .line_start(first.line as usize)
        .path(source_name)
        .annotation(AnnotationKind::Primary.span(within(source, primary, start)))
        .annotations(annotations)
        .into()
}

/// A place may come from another process with a source that has changed since.
fn inside(source: &str, span: Span) -> bool {
    source.get(span.start as usize..span.end as usize).is_some()
}

/// Relative to a window of the source, and on one line: a map's place is where it begins.
fn within(source: &str, span: Span, window: usize) -> Range<usize> {
    let text = &source[span.start as usize..span.end as usize];
    let length = text.find(['\n', '\r']).unwrap_or(text.len());
    let start = span.start as usize - window;
    start..start + length
}
