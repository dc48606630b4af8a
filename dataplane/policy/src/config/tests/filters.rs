//! Any filter, as a config.

use super::{duration, header_name, method, name, positive, prefix};
use crate::config::leaf::{Percent, Secret};
use crate::config::*;
use crate::filter::Scope;
use crate::filter::auth::{ApiKey, ApiKeyConfig, AuthConfig, JwtConfig, JwtKeys, TokenSource};
use crate::filter::authorize::{AuthorizeConfig, ClaimValue, ScopeToken};
use crate::filter::body_limit::BodyLimitConfig;
use crate::filter::circuit_breaker::CircuitBreakerConfig;
use crate::filter::concurrency::ConcurrencyConfig;
use crate::filter::cors::{CorsConfig, Origin};
use crate::filter::forward_auth::ForwardAuthConfig;
use crate::filter::headers::{Changes, Fields, HeadersConfig};
use crate::filter::ip::IpConfig;
use crate::filter::logging::tests::any_logging;
use crate::filter::metrics::MetricsConfig;
use crate::filter::rate_limit::{LimitAlgorithm, RateLimitConfig};
use crate::filter::request_id::{RequestIdConfig, Trust};
use crate::filter::retry::{BackoffConfig, RetryConfig, RetryOn};
use crate::rejection::QuotaHeaders;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn retry() -> impl Strategy<Value = RetryConfig> {
    let retry_on = select(vec!["502", "429", "connect_failure", "reset", "timeout", "refused_stream"])
        .prop_map(|text| text.parse::<RetryOn>().expect("a failure"));
    let times = (option::of(duration()), duration(), duration());
    let budget = (0u8..=100).prop_map(Percent::saturating);
    (any::<u32>(), vec(retry_on, 0..4), times, budget, vec(method(), 0..3), any::<u64>()).prop_map(
        |(max_retries, retry_on, (per_try_timeout, base, max), budget, methods, max_body)| RetryConfig {
            max_retries,
            retry_on,
            per_try_timeout,
            backoff: BackoffConfig { base, max },
            budget,
            methods,
            max_body: ByteSize(max_body),
        },
    )
}

fn rate_limit() -> impl Strategy<Value = RateLimitConfig> {
    let algorithm = prop_oneof![
        positive().prop_map(|burst| (LimitAlgorithm::TokenBucket, Some(burst), None, None)),
        duration().prop_map(|window| (LimitAlgorithm::SlidingWindow, None, Some(window), None)),
        (positive(), duration()).prop_map(|(burst, wait)| (
            LimitAlgorithm::LeakyBucket,
            Some(burst),
            None,
            Some(wait)
        )),
    ];
    let one = select(vec!["", "route", "global"]).prop_map(|key| (key.parse().ok(), None));
    let many = select(vec!["client_ip", "consumer", "header:x-tenant", "claim:sub"])
        .prop_map(|key| Some(key.parse().expect("a key")));
    let keys = prop_oneof![one, (many, any::<u32>().prop_map(Some))];
    let headers = select(vec![QuotaHeaders::Ietf, QuotaHeaders::Legacy, QuotaHeaders::Off]);
    (positive(), algorithm, keys, any::<bool>(), headers).prop_map(
        |(qps, (algorithm, burst, window, max_wait), (key, max_keys), shadow, headers)| RateLimitConfig {
            qps,
            burst,
            algorithm,
            window,
            max_wait,
            key,
            max_keys,
            shadow,
            headers,
        },
    )
}

fn scope() -> impl Strategy<Value = Scope> {
    select(vec![Scope::Route, Scope::Target])
}

fn circuit_breaker() -> impl Strategy<Value = CircuitBreakerConfig> {
    let numbers = (positive(), positive(), positive());
    let error_rate = (0u8..=100).prop_map(Percent::saturating);
    (numbers, duration(), duration(), scope(), error_rate, any::<bool>()).prop_map(
        |(numbers, timeout, window, scope, error_rate, shadow)| CircuitBreakerConfig {
            threshold: numbers.0,
            timeout,
            half_open_max: numbers.1,
            scope,
            error_rate,
            window,
            min_requests: numbers.2,
            shadow,
        },
    )
}

fn concurrency() -> impl Strategy<Value = ConcurrencyConfig> {
    (positive(), any::<u32>(), duration(), any::<bool>(), scope()).prop_map(
        |(max, queue, queue_timeout, adaptive, scope)| ConcurrencyConfig {
            max,
            queue,
            queue_timeout,
            adaptive,
            scope,
        },
    )
}

fn changes() -> impl Strategy<Value = Changes> {
    let value = || select(vec!["", "a b", "{{}}", "{client_ip}/{path}"]);
    let field = || (header_name(), value().prop_map(|text| text.parse().expect("a header value")));
    // a name that is drawn twice is kept once
    let fields = || vec(field(), 0..3).prop_map(|fields| Fields::new(fields).unwrap_or_default());
    (fields(), fields(), vec(header_name(), 0..3)).prop_map(|(set, add, remove)| Changes { set, add, remove })
}

/// The filters by which requests are let in and changed.
fn edge_filter() -> impl Strategy<Value = FilterConfig> {
    let blocks = || vec(select(vec!["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]), 0..3);
    let blocks =
        move || blocks().prop_map(|all| all.iter().map(|text| text.parse().expect("a block")).collect());
    let scopes = vec("[a-z:]{1,9}".prop_map(ScopeToken), 0..3);
    let claims = btree_map(".{0,9}", vec(".{0,9}".prop_map(ClaimValue), 0..3), 0..3);
    let url = select(vec!["http://auth", "http://127.0.0.1:9000/check?a=b"]);
    let trust = select(vec![Trust::TrustedProxies, Trust::All, Trust::None]);
    prop_oneof![
        (blocks(), blocks()).prop_map(|(allow, deny)| FilterConfig::Ip(IpConfig { allow, deny })),
        (scopes, claims)
            .prop_map(|(scopes, claims)| FilterConfig::Authorize(AuthorizeConfig { scopes, claims })),
        (
            (url, duration()),
            (vec(header_name(), 0..3), vec(header_name(), 0..3), option::of(header_name())),
            vec(prefix(), 0..3),
        )
            .prop_map(|((url, timeout), headers, exclude_paths)| {
                let (request_headers, response_headers, consumer_header) = headers;
                let url = url.parse().expect("a URL");
                FilterConfig::ForwardAuth(ForwardAuthConfig {
                    url,
                    timeout,
                    request_headers,
                    response_headers,
                    consumer_header,
                    exclude_paths,
                })
            }),
        any::<u64>().prop_map(|max| FilterConfig::BodyLimit(BodyLimitConfig { max: ByteSize(max) })),
        (changes(), changes())
            .prop_map(|(request, response)| FilterConfig::Headers(HeadersConfig { request, response })),
        (header_name(), trust)
            .prop_map(|(header, trust)| FilterConfig::RequestId(RequestIdConfig { header, trust })),
    ]
}

fn secret() -> impl Strategy<Value = Secret> {
    "[ -~]{1,20}".prop_map(|text| text.parse().expect("a secret"))
}

fn jwt() -> impl Strategy<Value = JwtConfig> {
    let keys = prop_oneof![
        secret().prop_map(JwtKeys::Secret),
        Just(JwtKeys::JwksUrl("https://issuer.example/jwks.json".parse().expect("a URL"))),
    ];
    let from = prop_oneof![
        Just(TokenSource::Authorization),
        header_name().prop_map(|name| TokenSource::Header(name.0)),
        Just(TokenSource::Cookie("token".to_owned())),
        Just(TokenSource::Query("access token".to_owned())),
    ];
    let algorithms = vec(prop_oneof![Just("HS256"), Just("EdDSA")], 0..3);
    let times = (duration(), any::<bool>(), any::<bool>());
    let told = proptest::collection::btree_map("[a-z]{1,8}", header_name(), 0..3);
    (keys, from, algorithms, vec("[a-z:/]{1,9}", 0..3), times, told, vec(prefix(), 0..3)).prop_map(
        |(
            keys,
            from,
            algorithms,
            texts,
            (leeway, require_exp, forward),
            claims_to_headers,
            exclude_paths,
        )| {
            JwtConfig {
                keys,
                algorithms: algorithms.iter().map(|name| name.parse().expect("an algorithm")).collect(),
                issuers: texts.clone(),
                audiences: texts.clone(),
                leeway,
                require_exp,
                required_claims: texts,
                claims_to_headers,
                from,
                forward,
                exclude_paths,
            }
        },
    )
}

pub(super) fn filter() -> impl Strategy<Value = FilterConfig> {
    let origins = vec(select(vec!["*", "null", "https://a.example:8443", "https://*.a.example"]), 0..3)
        .prop_map(|texts| texts.iter().map(|text| text.parse::<Origin>().expect("an origin")).collect());
    let key = (name(), secret()).prop_map(|(name, key)| ApiKey { name, key });
    let cors =
        (origins, vec(method(), 0..3), vec(header_name(), 0..3), any::<bool>(), option::of(duration()));
    prop_oneof![
        rate_limit().prop_map(FilterConfig::RateLimit),
        jwt().prop_map(|config| FilterConfig::Auth(AuthConfig::Jwt(Box::new(config)))),
        (header_name(), vec(key, 0..3), vec(prefix(), 0..3)).prop_map(|(header, keys, exclude_paths)| {
            FilterConfig::Auth(AuthConfig::ApiKey(ApiKeyConfig { header, keys, exclude_paths }))
        }),
        circuit_breaker().prop_map(FilterConfig::CircuitBreaker),
        concurrency().prop_map(FilterConfig::Concurrency),
        retry().prop_map(FilterConfig::Retry),
        cors.prop_map(|(allow_origins, allow_methods, headers, allow_credentials, max_age)| {
            FilterConfig::Cors(CorsConfig {
                allow_origins,
                allow_methods,
                allow_headers: headers.clone(),
                expose_headers: headers,
                allow_credentials,
                max_age,
            })
        }),
        edge_filter(),
        any_logging().prop_map(FilterConfig::Logging),
        any::<bool>().prop_map(|enabled| FilterConfig::Metrics(MetricsConfig { enabled })),
    ]
}
