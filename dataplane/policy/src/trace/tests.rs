//! The cases of the W3C's own test suite for Trace Context, and what sampling promises.

use super::*;
use crate::config::leaf::Ratio;
use crate::filter::tracing::ParentRule;
use proptest::prelude::*;

const TRACE: &str = "0123456789abcdef0123456789abcdef";
const SPAN: &str = "1234567890abcdef";

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).expect("a value"))
    };
    fields.iter().map(field).collect()
}

fn parent(value: &str) -> Option<Parent> {
    Parent::of(&headers(&[("traceparent", value)]))
}

fn share(text: &str) -> Threshold {
    Threshold::of(text.parse().expect("a ratio"))
}

#[test]
fn a_valid_traceparent_is_read() {
    let read = parent(&format!("00-{TRACE}-{SPAN}-01")).expect("valid");
    assert_eq!(read.trace_id, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    assert_eq!((read.span_id, read.is_sampled()), (0x1234_5678_90ab_cdef, true));
    for (flags, sampled) in [("00", false), ("01", true), ("02", false), ("03", true), ("ff", true)] {
        assert_eq!(parent(&format!("00-{TRACE}-{SPAN}-{flags}")).map(|p| p.is_sampled()), Some(sampled));
    }
    for spaced in [format!(" 00-{TRACE}-{SPAN}-01"), format!("\t00-{TRACE}-{SPAN}-01 \t")] {
        assert!(parent(&spaced).is_some(), "{spaced:?}");
    }
}

#[test]
fn a_later_version_is_read_as_far_as_it_is_known() {
    assert!(parent(&format!("cc-{TRACE}-{SPAN}-01")).is_some());
    assert!(parent(&format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like")).is_some());
    assert!(parent(&format!("cc-{TRACE}-{SPAN}-01-")).is_some());
    assert_eq!(parent(&format!("cc-{TRACE}-{SPAN}-01.what-the-future-will-not-be-like")), None);
    assert_eq!(parent(&format!("cc-{TRACE}-{SPAN}-011")), None);
}

#[test]
fn what_is_no_traceparent_begins_a_new_trace() {
    for bad in [
        String::new(),
        "00".to_owned(),
        format!("00-{TRACE}-{SPAN}-01."),
        format!("00-{TRACE}-{SPAN}-01-what-the-future-will-be-like"),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!(".0-{TRACE}-{SPAN}-01"),
        format!("0.-{TRACE}-{SPAN}-01"),
        format!("000-{TRACE}-{SPAN}-01"),
        format!("0-{TRACE}-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", "0".repeat(32)),
        format!("00-.{}-{SPAN}-01", &TRACE[1..]),
        format!("00-{}.-{SPAN}-01", &TRACE[1..]),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("00-{TRACE}0-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", &TRACE[1..]),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
        format!("00-{TRACE}-.{}-01", &SPAN[1..]),
        format!("00-{TRACE}-{SPAN}0-01"),
        format!("00-{TRACE}-{}-01", &SPAN[1..]),
        format!("00-{TRACE}-{SPAN}-.0"),
        format!("00-{TRACE}-{SPAN}-0."),
        format!("00-{TRACE}-{SPAN}-001"),
        format!("00-{TRACE}-{SPAN}-1"),
        format!("00_{TRACE}_{SPAN}_01"),
    ] {
        assert_eq!(parent(&bad), None, "{bad:?}");
    }
    assert_eq!(Parent::of(&HeaderMap::new()), None);
    let one = format!("00-{TRACE}-{SPAN}-01");
    assert_eq!(Parent::of(&headers(&[("traceparent", &one), ("traceparent", &one)])), None, "twice");
    let joined = format!("{one},{one}");
    assert_eq!(parent(&joined), None, "twice, joined on the way");
}

fn state_after(values: &[&str], continued: bool) -> usize {
    let fields: Vec<_> = values.iter().map(|value| ("tracestate", *value)).collect();
    let mut headers = headers(&fields);
    let parent_id = u64::from(continued);
    SpanContext { trace_id: 1, span_id: 1, parent_id, flags: 0 }.clean(&mut headers);
    headers.get_all(TRACESTATE).iter().count()
}

#[test]
fn a_tracestate_is_passed_on_as_it_came() {
    let many = (0..32).map(|at| format!("bar{at:02}=1")).collect::<Vec<_>>().join(",");
    let (key, tenant) = ("z".repeat(256), format!("{}@{}", "t".repeat(241), "v".repeat(14)));
    for values in [
        &["foo=1,bar=2"][..],
        &["foo=1", "bar=2"],
        &["foo=1", ""],
        &["foo=1 \t , \t bar=2, \t baz=3"],
        &["foo=1,foo=2"],
        &["0123456789abcdefghijklmnopqrstuvwxyz@a-z0-9_-*/=1"],
        &["foo=!\"#$%&'()*+-./0123456789:;<>?@ABC[\\]^_`abc{|}~"],
        &["foo=a b"],
        &[&many],
        &[&format!("{key}=1")],
        &[&format!("{tenant}=1")],
        &[&format!("foo={}", "v".repeat(256))],
    ] {
        assert_eq!(state_after(values, true), values.len(), "{values:?}");
        assert_eq!(state_after(values, false), 0, "without its traceparent: {values:?}");
    }
}

#[test]
fn what_is_no_tracestate_is_not_passed_on() {
    let many = (0..33).map(|at| format!("bar{at:02}=1")).collect::<Vec<_>>().join(",");
    for values in [
        &["foo"][..],
        &["foo =1"],
        &["FOO=1"],
        &["foo.bar=1"],
        &["1foo=1"],
        &["foo@=1,bar=2"],
        &["@foo=1,bar=2"],
        &["foo@@bar=1,bar=2"],
        &["foo@bar@baz=1,bar=2"],
        &["foo@1bar=1"],
        &["foo=bar=baz"],
        &["foo=,bar=3"],
        &["foo=\u{e9}"],
        &["foo=1", "bar"],
        &[&many],
        &[&many[..many.len() - 8], "baz=1"],
        &[&format!("{}=1", "z".repeat(257))],
        &[&format!("{}@v=1", "t".repeat(242))],
        &[&format!("t@{}=1", "v".repeat(15))],
        &[&format!("foo={}", "v".repeat(257))],
    ] {
        assert_eq!(state_after(values, true), 0, "{values:?}");
    }
}

#[test]
fn a_target_is_told_the_span_of_its_attempt() {
    let parent = parent(&format!("00-{TRACE}-{SPAN}-03")).expect("valid");
    let context = SpanContext::child_of(&parent, true);
    assert_eq!(context.parent_id, parent.span_id);
    assert_eq!(context.traceparent(0xab), format!("00-{TRACE}-00000000000000ab-03").as_str());
    assert_eq!(SpanContext::child_of(&parent, false).flags(), 0x02, "it stays random");
    let unknown = Parent::parse(format!("00-{TRACE}-{SPAN}-f9").as_bytes()).expect("valid");
    assert_eq!(
        SpanContext::child_of(&unknown, true).flags(),
        0x01,
        "flags of the future are not ours to set"
    );
}

#[test]
fn a_trace_that_begins_here_says_that_its_id_is_random() {
    let root = SpanContext::root(share("1"));
    assert_eq!((root.flags(), root.parent_id), (0x03, 0));
    assert!(root.trace_id != 0 && root.span_id != 0);
    assert_eq!(SpanContext::root(share("0")).flags(), 0x02);
}

#[test]
fn the_share_is_what_the_specification_of_consistent_sampling_says() {
    for (text, threshold) in [
        ("1", 0),
        ("0.5", 0x80_0000_0000_0000),
        ("0.25", 0xc0_0000_0000_0000),
        ("0.01", 0xfd_70a3_d70a_3d70),
        ("0", 1 << 56),
    ] {
        assert_eq!(share(text), Threshold(threshold), "{text}");
    }
    assert!(!share("0").admits(Threshold::LARGEST));
    assert!(share("1").admits(0));
}

/// For each rule: which trace, and whether it is recorded at a share of 0 and of 1; for a trusted peer and another one.
#[test]
fn whose_decision_counts() {
    use ParentRule::{Always, Continue, Ignore, Trusted};
    let sampled = parent(&format!("00-{TRACE}-{SPAN}-01")).expect("valid");
    let not = parent(&format!("00-{TRACE}-{SPAN}-00")).expect("valid");
    for (rule, trusted, obeyed) in [
        (Always, true, true),
        (Always, false, true),
        (Trusted, true, true),
        (Trusted, false, false),
        (Continue, true, false),
        (Continue, false, false),
        (Ignore, true, false),
        (Ignore, false, false),
    ] {
        for (of, its) in [(sampled, true), (not, false)] {
            for (text, ours) in [("0", false), ("1", true)] {
                let span = Sampler { share: share(text), parent: rule }.begin(Some(of), trusted);
                let case = format!("{rule:?} trusted={trusted} parent={its} share={text}");
                assert_eq!(span.is_sampled(), if obeyed { its } else { ours }, "{case}");
                assert_eq!(span.trace_id == of.trace_id, rule != Ignore, "{case}");
                assert_eq!(span.parent_id, if rule == Ignore { 0 } else { of.span_id }, "{case}");
            }
        }
    }
    assert!(Sampler { share: share("1"), parent: Always }.begin(None, true).is_sampled());
}

/// A client that sends only ids which every share admits would otherwise be recorded always.
#[test]
fn an_untrusted_client_cannot_choose_to_be_recorded() {
    fastrand::seed(11);
    let chosen = parent(&format!("00-{}-{SPAN}-01", "f".repeat(32))).expect("valid");
    let sampler = Sampler { share: share("0.25"), parent: ParentRule::Trusted };
    let recorded = (0..4000).filter(|_| sampler.begin(Some(chosen), false).is_sampled()).count();
    assert!((850..1150).contains(&recorded), "{recorded}");
    let by_id = Sampler { share: share("0.25"), parent: ParentRule::Continue };
    assert!((0..100).all(|_| by_id.begin(Some(chosen), true).is_sampled()), "a trusted peer's id decides");
}

#[test]
fn nothing_of_it_allocates_but_the_header() {
    let one = format!("00-{TRACE}-{SPAN}-01");
    let mut headers = headers(&[("traceparent", &one), ("tracestate", "foo=1,bar=2")]);
    let sampler = Sampler { share: share("0.01"), parent: ParentRule::Trusted };
    let mut begin = || {
        let span = sampler.begin(Parent::of(&headers), false);
        span.clean(&mut headers);
        span
    };
    begin(); // the generator of this thread
    let allocated = allocation_counter::measure(|| {
        std::hint::black_box(begin());
    });
    assert_eq!(allocated.count_total, 0);
}

proptest! {
    #[test]
    fn what_is_told_is_understood(trace_id in 1u128.., span_id in 1u64.., flags in 0u8..4) {
        let context = SpanContext { trace_id, span_id: 1, parent_id: 0, flags };
        let header = context.traceparent(span_id);
        prop_assert_eq!(Parent::parse(header.as_bytes()), Some(Parent { trace_id, span_id, flags }));
    }

    #[test]
    fn no_text_breaks_it(text in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(value) = HeaderValue::from_bytes(&text) {
            let mut headers = HeaderMap::from_iter([(TRACEPARENT, value.clone()), (TRACESTATE, value)]);
            let sampler = Sampler { share: share("0.5"), parent: ParentRule::Trusted };
            sampler.begin(Parent::of(&headers), false).clean(&mut headers);
        }
    }

    #[test]
    fn who_takes_more_takes_what_others_take(low in 0u32..=1_000_000, more in 0u32..=1_000_000, id in 1u128..) {
        let share = |millionths| Threshold::of(Ratio::saturating(millionths));
        let (less, more) = (share(low), share(low.saturating_add(more)));
        prop_assert!(!less.admits(low_bits(id)) || more.admits(low_bits(id)));
    }
}

#[test]
fn a_share_is_met() {
    fastrand::seed(5);
    for (text, expected) in [("0.01", 900..1100), ("0.5", 49_000..51_000)] {
        let recorded = (0..100_000).filter(|_| SpanContext::root(share(text)).is_sampled()).count();
        assert!(expected.contains(&recorded), "{text}: {recorded}");
    }
}
