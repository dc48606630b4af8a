//! What the gateway answers where a route has no target.

use crate::config::RouteConfig;
use crate::config::listener::RedirectHttpsConfig;
use crate::filter::headers::{Template, Vars};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode};

/// The answer of a route that sends nothing on.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The client is sent elsewhere.
    Redirect {
        /// What `Location` is made of.
        to: Template,
        /// The query of the request goes along.
        keeps_query: bool,
        /// 3xx.
        status: StatusCode,
        /// Why.
        reason: &'static str,
    },
    /// The client is told the same each time.
    Respond {
        /// Any final one.
        status: StatusCode,
        /// The whole body.
        body: String,
        /// What it is.
        content_type: HeaderValue,
    },
}

impl Answer {
    pub(super) fn build(config: &RouteConfig) -> Option<Self> {
        let status = |status| StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if let Some(redirect) = &config.redirect {
            let (to, keeps_query) = (redirect.to.template().clone(), !redirect.to.has_query());
            return Some(Self::Redirect {
                to,
                keeps_query,
                status: status(redirect.status),
                reason: "redirect",
            });
        }
        let respond = config.respond.as_ref()?;
        let content_type = HeaderValue::from_str(&respond.content_type)
            .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
        Some(Self::Respond { status: status(respond.status), body: respond.body.clone(), content_type })
    }

    /// The same host, path and query by https.
    pub(super) fn to_https(config: &RedirectHttpsConfig) -> Self {
        let status = StatusCode::from_u16(config.status).unwrap_or(StatusCode::PERMANENT_REDIRECT);
        Self::Redirect { to: config.location(), keeps_query: true, status, reason: "redirect_https" }
    }

    /// Why the gateway answers: in the access log and in metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Redirect { reason, .. } => reason,
            Self::Respond { .. } => "respond",
        }
    }

    /// The response to one request; `vars.path` is the path that a target would get.
    pub fn response(&self, vars: &Vars<'_>, query: Option<&str>) -> Response<String> {
        let mut response = Response::new(String::new());
        match self {
            Self::Redirect { to, keeps_query, status, reason: _ } => {
                *response.status_mut() = *status;
                if let Some(location) = location(to, vars, query.filter(|_| *keeps_query)) {
                    response.headers_mut().insert(LOCATION, location);
                }
            }
            Self::Respond { status, body, content_type } => {
                *response.status_mut() = *status;
                if !body.is_empty() {
                    response.headers_mut().insert(CONTENT_TYPE, content_type.clone());
                    response.body_mut().clone_from(body);
                }
            }
        }
        response
    }
}

/// None only where a variable has no value: `{consumer}` of nobody.
fn location(to: &Template, vars: &Vars<'_>, query: Option<&str>) -> Option<HeaderValue> {
    let filled = to.fill(vars)?;
    match query {
        None => Some(filled),
        Some(query) => HeaderValue::try_from(format!("{}?{query}", filled.to_str().ok()?)).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(route: serde_json::Value, path: &str, query: Option<&str>) -> Response<String> {
        let config: RouteConfig = serde_json::from_value(route).unwrap();
        let vars = Vars {
            client_certificate: None,
            client_ip: "192.0.2.1".parse().unwrap(),
            consumer: None,
            host: "a.example",
            method: "GET",
            path,
            request_id: "7",
            route: "r",
        };
        Answer::build(&config).unwrap().response(&vars, query)
    }

    #[test]
    fn a_redirect_keeps_host_path_and_query() {
        let redirect = |to: &str, query| {
            let answer = answer(json!({"name": "r", "prefix": "/", "redirect": {"to": to}}), "/a/b", query);
            assert_eq!(answer.status(), 308);
            answer.headers()[LOCATION].to_str().unwrap().to_owned()
        };
        assert_eq!(redirect("https://{host}{path}", Some("x=1")), "https://a.example/a/b?x=1");
        assert_eq!(redirect("https://{host}{path}", None), "https://a.example/a/b");
        assert_eq!(redirect("/moved?from={path}", Some("x=1")), "/moved?from=/a/b");
    }

    #[test]
    fn a_fixed_response_is_what_the_config_says() {
        let route = json!({"name": "r", "prefix": "/", "respond": {"status": 503, "body": "later\n"}});
        let answer = answer(route, "/", None);
        assert_eq!((answer.status().as_u16(), answer.body().as_str()), (503, "later\n"));
        assert_eq!(answer.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
    }
}
