//! Where credentials stand in a request; twice is as bad as none, for nobody could say which ones count.

use crate::rejection::Cause;
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// At most one.
pub(super) type Credential<'a> = Result<Option<Cow<'a, [u8]>>, Cause>;

fn at_most_one<'a>(mut all: impl Iterator<Item = Cow<'a, [u8]>>) -> Credential<'a> {
    let first = all.next();
    match all.next() {
        None => Ok(first),
        Some(_) => Err(Cause::SeveralCredentials),
    }
}

pub(super) fn in_header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Credential<'a> {
    at_most_one(headers.get_all(name).iter().map(|value| Cow::Borrowed(value.as_bytes())))
}

/// What follows the scheme in `Authorization`; none if the scheme is another one (RFC 9110 §11.4).
pub(super) fn in_authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Credential<'a> {
    let of_scheme = |value: Cow<'a, [u8]>| match value {
        Cow::Borrowed(value) => after_scheme(value, scheme).map(Cow::Borrowed),
        Cow::Owned(_) => None,
    };
    Ok(in_header(headers, &header::AUTHORIZATION)?.and_then(of_scheme))
}

/// `bearer  x` is `x`; a scheme without anything after it is the empty text.
pub(super) fn after_scheme<'a>(value: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    let (start, rest) = value.split_at_checked(scheme.len())?;
    let separated = rest.is_empty() || rest.starts_with(b" ");
    (separated && start.eq_ignore_ascii_case(scheme.as_bytes())).then(|| rest.trim_ascii())
}

pub(super) fn in_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Credential<'a> {
    let cookies = headers.get_all(header::COOKIE).iter().flat_map(|value| pairs(value.as_bytes()));
    at_most_one(cookies.filter_map(|pair| value_of(pair, name)).map(Cow::Borrowed))
}

fn pairs(cookies: &[u8]) -> impl Iterator<Item = &[u8]> {
    cookies.split(|byte| *byte == b';').map(<[u8]>::trim_ascii)
}

fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

pub(super) fn in_query<'a>(uri: &'a Uri, name: &str) -> Credential<'a> {
    let parameters = uri.query().into_iter().flat_map(|query| query.split('&'));
    at_most_one(parameters.filter_map(|parameter| {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        named(key, name).then(|| percent_decode_str(value).into())
    }))
}

pub(super) fn named(key: &str, name: &str) -> bool {
    percent_decode_str(key).eq(name.bytes())
}

/// The request without that cookie; the others stay as they are.
pub(super) fn remove_cookie(headers: &mut HeaderMap, name: &str) {
    if !matches!(in_cookie(headers, name), Ok(None)) {
        let kept: Vec<HeaderValue> =
            headers.get_all(header::COOKIE).iter().filter_map(|value| without_cookie(value, name)).collect();
        headers.remove(header::COOKIE);
        for value in kept {
            headers.append(header::COOKIE, value);
        }
    }
}

fn without_cookie(value: &HeaderValue, name: &str) -> Option<HeaderValue> {
    let kept: Vec<&[u8]> = pairs(value.as_bytes()).filter(|pair| value_of(pair, name).is_none()).collect();
    let kept = kept.join(&b"; "[..]);
    // parts of a value with its separators are a value
    HeaderValue::from_bytes(&kept).ok().filter(|value| !value.is_empty())
}

/// The request without that parameter; the others stay as they are.
pub(super) fn remove_parameter(parts: &mut Parts, name: &str) {
    let uri = &parts.uri;
    let Some(query) = uri.query() else { return };
    let is_meant = |parameter: &&str| named(parameter.split('=').next().unwrap_or_default(), name);
    if !query.split('&').any(|parameter| is_meant(&parameter)) {
        return;
    }
    let kept: Vec<&str> = query.split('&').filter(|parameter| !is_meant(parameter)).collect();
    let target = match kept.is_empty() {
        true => uri.path().to_owned(),
        false => format!("{}?{}", uri.path(), kept.join("&")),
    };
    let mut components = uri.clone().into_parts();
    // parts of a target with its separators are a target
    components.path_and_query = PathAndQuery::try_from(target).ok();
    if let Ok(uri) = Uri::from_parts(components) {
        parts.uri = uri;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(uri: &str, headers: &[(HeaderName, &str)]) -> Parts {
        let mut request = http::Request::get(uri);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn text(found: Credential<'_>) -> Result<Option<String>, Cause> {
        Ok(found?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    #[test]
    fn the_scheme_is_read_in_any_case_and_with_any_space_after_it() {
        for (value, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("BEARER    abc", Some("abc")),
            ("Bearer", Some("")),
            ("Bearerabc", None),
            ("Basic abc", None),
            ("", None),
        ] {
            let request = parts("/", &[(header::AUTHORIZATION, value)]);
            let found = text(in_authorization(&request.headers, "Bearer"));
            assert_eq!(found, Ok(expected.map(str::to_owned)), "{value:?}");
        }
    }

    #[test]
    fn what_stands_twice_does_not_count() {
        let twice = [(header::AUTHORIZATION, "Bearer a"), (header::AUTHORIZATION, "Bearer a")];
        assert_eq!(in_authorization(&parts("/", &twice).headers, "Bearer"), Err(Cause::SeveralCredentials));
        let cookies = parts("/", &[(header::COOKIE, "t=a; x=1"), (header::COOKIE, "t=b")]);
        assert_eq!(in_cookie(&cookies.headers, "t"), Err(Cause::SeveralCredentials));
        let query = parts("/?t=a&%74=b", &[]);
        assert_eq!(in_query(&query.uri, "t"), Err(Cause::SeveralCredentials));
    }

    #[test]
    fn each_place_gives_its_own_value() {
        let request = parts("/p?a=1&token=x%2Ey&b", &[(header::COOKIE, "tt=no; t=yes;z=1")]);
        assert_eq!(text(in_query(&request.uri, "token")), Ok(Some("x.y".into())));
        assert_eq!(text(in_query(&request.uri, "b")), Ok(Some(String::new())));
        assert_eq!(text(in_query(&request.uri, "c")), Ok(None));
        assert_eq!(text(in_cookie(&request.headers, "t")), Ok(Some("yes".into())));
        assert_eq!(text(in_cookie(&request.headers, "x")), Ok(None));
    }

    #[test]
    fn what_is_taken_out_leaves_the_rest_as_it_was() {
        for (before, after) in [
            ("/p?t=1", "/p"),
            ("/p?a=%20&t=1&b=+", "/p?a=%20&b=+"),
            ("/p?a&%74=1", "/p?a"),
            ("/p?a=t", "/p?a=t"),
            ("/p", "/p"),
            ("http://host/p?t=1&a=2", "http://host/p?a=2"),
        ] {
            let mut request = parts(before, &[]);
            remove_parameter(&mut request, "t");
            assert_eq!(request.uri, after, "{before}");
        }
        let mut request = parts("/", &[(header::COOKIE, "a=1;  t=x; b=2"), (header::COOKIE, "t=y")]);
        remove_cookie(&mut request.headers, "t");
        let left: Vec<_> = request.headers.get_all(header::COOKIE).iter().collect();
        assert_eq!(left, ["a=1; b=2"]);
    }
}
