//! What a 401 says: to the client how to prove itself, to the log what was wrong.

use crate::filter::auth::Realm;
use http::header::{self, HeaderName, HeaderValue};

/// Which schemes a route takes: one `WWW-Authenticate` for each (RFC 9110 §11.6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// A bearer token (RFC 6750).
    pub bearer: bool,
    /// A name and a password (RFC 7617): [`Challenge::basic`].
    pub basic: Option<HeaderValue>,
    /// A key in a header or in the query.
    pub key: bool,
}

/// What was wrong with the credentials; only the log says it, for each detail helps who tries to forge them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// There are none that this route takes.
    NoCredentials,
    /// They stand there more than once, and nobody could say which ones count.
    SeveralCredentials,
    /// The token is longer than any that is served.
    TooLong,
    /// They are not what they should be: three parts of base64url and JSON, or a name and a password.
    Malformed,
    /// The token says that something must be understood (`crit`) which is not.
    UnknownCritical,
    /// The token's algorithm is none, unknown, or not one that the key is for.
    WrongAlgorithm,
    /// No key goes by the token's `kid`.
    UnknownKey,
    /// The signature does not hold.
    BadSignature,
    /// `exp` has passed.
    Expired,
    /// `nbf` or `iat` is still to come.
    NotYetValid,
    /// A claim that must be there is not.
    MissingClaim,
    /// A claim is not of its type, or cannot be told to the target.
    BadClaim,
    /// The token is from somebody else.
    WrongIssuer,
    /// The token is for somebody else.
    WrongAudience,
    /// An unknown key or user, or the wrong password.
    WrongCredentials,
}

const BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"gateway\"");
const BAD_BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"gateway\", error=\"invalid_token\"");
/// No scheme is registered for keys; several gateways use this name.
const API_KEY: HeaderValue = HeaderValue::from_static("ApiKey realm=\"gateway\"");

impl Challenge {
    /// For none of the schemes.
    pub const NONE: Self = Self { bearer: false, basic: None, key: false };

    /// What a browser answers with a window for a name and a password.
    pub fn basic(realm: &Realm) -> HeaderValue {
        // a realm holds only what is plain in a quoted string
        HeaderValue::try_from(format!("Basic realm=\"{realm}\", charset=\"UTF-8\""))
            .unwrap_or_else(|_| HeaderValue::from_static("Basic realm=\"gateway\""))
    }

    pub(super) fn headers(&self, cause: Cause) -> Vec<(HeaderName, HeaderValue)> {
        let Self { bearer, basic, key } = self;
        let mut values = Vec::new();
        if *bearer {
            // RFC 6750 §3.1: a request without credentials is not told of an error
            values.push(if cause == Cause::NoCredentials { BEARER } else { BAD_BEARER });
        }
        values.extend(basic.clone());
        // a 401 without any challenge is no HTTP
        if *key || values.is_empty() {
            values.push(API_KEY);
        }
        values.into_iter().map(|value| (header::WWW_AUTHENTICATE, value)).collect()
    }
}

impl Cause {
    /// As the log says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::SeveralCredentials => "several_credentials",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::UnknownCritical => "unknown_critical",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::MissingClaim => "missing_claim",
            Self::BadClaim => "bad_claim",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::WrongCredentials => "wrong_credentials",
        }
    }
}
