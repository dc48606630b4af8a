//! The secret that the default config asks for: made here where the environment has none, and tokens signed with it.

use crate::exit::Failure;
use jsonwebtoken::{EncodingKey, Header};
use policy::config::RouteConfig;
use policy::filter::FilterConfig;
use policy::filter::auth::{AuthConfig, JwtKeys, TokenSource};
use serde_json::json;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use uuid::Uuid;

/// What the default config calls it.
const NAME: &str = "JWT_SECRET";

/// A token of the welcome text is good for a day.
const GOOD_FOR_SECONDS: i64 = 24 * 3600;

/// The environment as the default config needs it. A process has its environment from whoever starts it, so where the
/// secret is missing this program starts anew, with one, in its own place; then this does not return.
pub fn provide() -> Result<(), Failure> {
    if std::env::var_os(NAME).is_some() {
        return Ok(());
    }
    let unable = |error: &dyn std::fmt::Display| {
        Failure::usage(format_args!("{NAME} is not set and cannot be made: {error}"))
            .help(format_args!("set it: {NAME}=$(openssl rand -hex 32) gatewayctl dev"))
    };
    let program = std::env::current_exe().map_err(|error| unable(&error))?;
    let mut arguments = std::env::args_os();
    let mut again = Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    Err(unable(&again.args(arguments).env(NAME, random()).exec()))
}

/// 244 random bits.
fn random() -> String {
    [Uuid::new_v4(), Uuid::new_v4()].map(|half| half.simple().to_string()).concat()
}

/// A token that the route lets in, if tokens are what it asks for and it says itself what they are signed with.
pub fn token(route: &RouteConfig) -> Option<String> {
    let jwt = route.filters.iter().find_map(|filter| match filter {
        FilterConfig::Auth(AuthConfig::Jwt(jwt)) if jwt.from == TokenSource::Authorization => Some(jwt),
        _ => None,
    })?;
    let JwtKeys::Secret(secret) = &jwt.keys else { return None };
    let now = jiff::Timestamp::now().as_second();
    let mut claims = json!({"sub": "dev", "iat": now, "exp": now + GOOD_FOR_SECONDS});
    let named = [("iss", jwt.issuers.first()), ("aud", jwt.audiences.first())];
    for (claim, value) in named.into_iter().filter_map(|(claim, value)| Some((claim, value?))) {
        claims[claim] = json!(value);
    }
    let algorithm = jwt.algorithms.first().map_or(jsonwebtoken::Algorithm::HS256, |one| one.0);
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;
    use policy::auth::jwt::KeySets;
    use policy::auth::{AuthContext, Authenticator, Decision};
    use policy::clock::Now;

    fn route(auth: &str) -> RouteConfig {
        serde_yaml::from_str(&format!("{{name: a, prefix: /, filters: [{{auth: {{{auth}}}}}]}}")).unwrap()
    }

    fn lets_its_token_in(auth: &str) -> bool {
        let route = route(auth);
        let FilterConfig::Auth(config) = &route.filters[0] else { panic!("{route:?}") };
        let authenticator = Authenticator::new(&[config], None, &KeySets::after(None));
        let authorization = format!("Bearer {}", token(&route).unwrap());
        let request = Request::get("/").header("authorization", authorization).body(()).unwrap();
        let unix_seconds = jiff::Timestamp::now().as_second() as u64;
        let moment = AuthContext { now: Now::default(), unix_seconds };
        matches!(authenticator.check(&mut request.into_parts().0, "/", &moment), Decision::Pass(Some(_)))
    }

    #[test]
    fn a_route_lets_the_token_in_that_is_shown_for_it() {
        let secret = random();
        assert!(lets_its_token_in(&format!("type: jwt, secret: {secret}")));
        assert!(lets_its_token_in(&format!(
            "type: jwt, secret: {secret}{secret}, algorithms: [HS512], issuers: [me], audiences: [you, them]"
        )));
    }

    #[test]
    fn what_nobody_here_can_sign_has_no_token() {
        for auth in
            ["type: apikey, keys: [{name: a, key: b}]", "type: jwt, jwks_url: 'http://127.0.0.1/keys'"]
        {
            assert_eq!(token(&route(auth)), None, "{auth}");
        }
        assert_ne!(random(), random());
    }
}
