//! Explanations and questions on the wire.

use super::{Destination, Explanation, Question, Rival, Says, Seen, Step, TargetSeen, Verdict};
use crate::config::listener::DEFAULT_LISTENER;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use proto::v1::{self, explanation::Verdict as WireVerdict};
use std::net::IpAddr;

/// Why a question or an explanation cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl Question {
    /// The question about a request line and header lines, as a client would send them.
    ///
    /// # Errors
    /// What of it is no HTTP.
    pub fn new(
        method: &str,
        target: &str,
        headers: &[(String, String)],
        peer: IpAddr,
    ) -> Result<Self, Unreadable> {
        let unreadable = |what: &str, text: &str| Unreadable(format!("{text:?} is not {what}"));
        let method: Method = method.parse().map_err(|_| unreadable("a method", method))?;
        let uri: Uri = target.parse().map_err(|_| unreadable("a request target", target))?;
        let (mut parts, ()): (Parts, ()) = Request::new(()).into_parts();
        parts.method = method;
        parts.uri = uri;
        for (name, value) in headers {
            let header: HeaderName = name.parse().map_err(|_| unreadable("a header name", name))?;
            let value: HeaderValue = value.parse().map_err(|_| unreadable("a header value", value))?;
            parts.headers.append(header, value);
        }
        Ok(Self { parts, peer, listener: DEFAULT_LISTENER.to_owned() })
    }
}

impl TryFrom<v1::Explain> for Question {
    type Error = Unreadable;

    fn try_from(wire: v1::Explain) -> Result<Self, Unreadable> {
        let v1::Explain { method, target, headers, peer, listener } = wire;
        let headers: Vec<_> = headers.into_iter().map(|field| (field.name, field.value)).collect();
        let peer = peer.parse().map_err(|_| Unreadable(format!("{peer:?} is not an address")))?;
        let question = Self::new(&method, &target, &headers, peer)?;
        Ok(if listener.is_empty() { question } else { Self { listener, ..question } })
    }
}

impl From<Explanation> for v1::Explanation {
    fn from(explanation: Explanation) -> Self {
        let Explanation { version, sha256, request, verdict, route, rivals, steps, destination } =
            explanation;
        Self {
            version,
            sha256,
            request: Some(request.into()),
            verdict: Some(verdict.into()),
            route: route.unwrap_or_default(),
            rivals: rivals.into_iter().map(v1::RivalRoute::from).collect(),
            steps: steps.into_iter().map(v1::ExplainedStep::from).collect(),
            destination: destination.map(v1::Destination::from),
        }
    }
}

impl TryFrom<v1::Explanation> for Explanation {
    type Error = Unreadable;

    fn try_from(wire: v1::Explanation) -> Result<Self, Unreadable> {
        let v1::Explanation { version, sha256, request, verdict, route, rivals, steps, destination } = wire;
        let verdict = verdict.ok_or_else(|| Unreadable("an explanation without a verdict".to_owned()))?;
        Ok(Self {
            version,
            sha256,
            request: request.unwrap_or_default().into(),
            verdict: verdict.into(),
            route: Some(route).filter(|route| !route.is_empty()),
            rivals: rivals.into_iter().map(Rival::from).collect(),
            steps: steps.into_iter().map(Step::try_from).collect::<Result<_, _>>()?,
            destination: destination.map(Destination::from),
        })
    }
}

impl From<Verdict> for WireVerdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Forward { upstream, provided } => Self::Forwarded(v1::Forwarded { upstream, provided }),
            Verdict::Answer { status, reason, title, refused, advice } => {
                let field = |(name, value)| v1::HeaderField { name, value };
                let advice = advice.into_iter().map(field).collect();
                Self::Answered(v1::Answered { status: status.into(), reason, title, refused, advice })
            }
        }
    }
}

impl From<WireVerdict> for Verdict {
    fn from(wire: WireVerdict) -> Self {
        match wire {
            WireVerdict::Forwarded(v1::Forwarded { upstream, provided }) => {
                Self::Forward { upstream, provided }
            }
            WireVerdict::Answered(v1::Answered { status, reason, title, refused, advice }) => {
                let advice = advice.into_iter().map(|field| (field.name, field.value)).collect();
                Self::Answer {
                    status: u16::try_from(status).unwrap_or_default(),
                    reason,
                    title,
                    refused,
                    advice,
                }
            }
        }
    }
}

impl From<Seen> for v1::SeenRequest {
    fn from(Seen { method, host, path, client, peer_is_trusted }: Seen) -> Self {
        Self { method, host, path, client, peer_is_trusted }
    }
}

impl From<v1::SeenRequest> for Seen {
    fn from(wire: v1::SeenRequest) -> Self {
        let v1::SeenRequest { method, host, path, client, peer_is_trusted } = wire;
        Self { method, host, path, client, peer_is_trusted }
    }
}

impl From<Rival> for v1::RivalRoute {
    fn from(Rival { route, pattern, fits, why }: Rival) -> Self {
        Self { route, pattern, fits, why }
    }
}

impl From<v1::RivalRoute> for Rival {
    fn from(v1::RivalRoute { route, pattern, fits, why }: v1::RivalRoute) -> Self {
        Self { route, pattern, fits, why }
    }
}

impl From<Step> for v1::ExplainedStep {
    fn from(Step { name, says, detail }: Step) -> Self {
        let says = match says {
            Says::Pass => v1::StepSays::Pass,
            Says::Wait => v1::StepSays::Wait,
            Says::Ask => v1::StepSays::Ask,
            Says::Answer => v1::StepSays::Answer,
            Says::Refuse => v1::StepSays::Refuse,
            Says::NotReached => v1::StepSays::NotReached,
        };
        Self { name, says: says.into(), detail }
    }
}

impl TryFrom<v1::ExplainedStep> for Step {
    type Error = Unreadable;

    fn try_from(wire: v1::ExplainedStep) -> Result<Self, Unreadable> {
        let says = match v1::StepSays::try_from(wire.says) {
            Ok(v1::StepSays::Pass) => Says::Pass,
            Ok(v1::StepSays::Wait) => Says::Wait,
            Ok(v1::StepSays::Ask) => Says::Ask,
            Ok(v1::StepSays::Answer) => Says::Answer,
            Ok(v1::StepSays::Refuse) => Says::Refuse,
            Ok(v1::StepSays::NotReached) => Says::NotReached,
            Ok(v1::StepSays::Unspecified) | Err(_) => {
                return Err(Unreadable(format!("{} says what this version does not know", wire.name)));
            }
        };
        Ok(Self { name: wire.name, says, detail: wire.detail })
    }
}

impl From<Destination> for v1::Destination {
    fn from(destination: Destination) -> Self {
        let Destination {
            upstream,
            balancer,
            targets,
            pick,
            target,
            host,
            timeout_ms,
            per_try_timeout_ms,
            connect_timeout_ms,
            response_timeout_ms,
            retries,
        } = destination;
        Self {
            upstream,
            balancer,
            targets: targets.into_iter().map(v1::ExplainedTarget::from).collect(),
            pick: pick.unwrap_or_default(),
            target,
            host,
            timeout_ms,
            per_try_timeout_ms,
            connect_timeout_ms,
            response_timeout_ms,
            retries,
        }
    }
}

impl From<v1::Destination> for Destination {
    fn from(wire: v1::Destination) -> Self {
        let v1::Destination {
            upstream,
            balancer,
            targets,
            pick,
            target,
            host,
            timeout_ms,
            per_try_timeout_ms,
            connect_timeout_ms,
            response_timeout_ms,
            retries,
        } = wire;
        Self {
            upstream,
            balancer,
            targets: targets.into_iter().map(TargetSeen::from).collect(),
            pick: Some(pick).filter(|pick| !pick.is_empty()),
            target,
            host,
            timeout_ms,
            per_try_timeout_ms,
            connect_timeout_ms,
            response_timeout_ms,
            retries,
        }
    }
}

impl From<TargetSeen> for v1::ExplainedTarget {
    fn from(TargetSeen { addr, weight, state, note, candidate }: TargetSeen) -> Self {
        Self { addr, weight, state, note, candidate }
    }
}

impl From<v1::ExplainedTarget> for TargetSeen {
    fn from(v1::ExplainedTarget { addr, weight, state, note, candidate }: v1::ExplainedTarget) -> Self {
        Self { addr, weight, state, note, candidate }
    }
}
