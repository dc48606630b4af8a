//! One probe of one target, on a connection of its own: what a new client would meet.

mod grpc;
mod http;

use crate::dial::{DialError, Dialled, Offer, OnBehalf, Transport};
use policy::config::health::{self as config, HealthCheckConfig};
use policy::config::leaf::TargetAddr;
use rustix::io::Errno;
use std::error::Error;
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How probes name themselves.
const USER_AGENT: &str = concat!("mini-gateway/", env!("CARGO_PKG_VERSION"), " (health check)");

/// What is to be done, and to whom.
pub(super) struct Probe {
    address: TargetAddr,
    transport: Transport,
    timeout: Duration,
    kind: Kind,
}

enum Kind {
    Http(Box<http::HttpProbe>),
    Tcp,
    Grpc(grpc::GrpcProbe),
}

/// Why a probe did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The target is not well, in words for an operator.
    Target(String),
    /// This machine could not even ask: that says nothing about the target.
    Own(String),
}

/// The time a probe has, and how long it is.
#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Probe {
    pub(super) fn new(target: &TargetAddr, transport: &Transport, check: &HealthCheckConfig) -> Self {
        let port = check.port.map_or(target.port, |port| port.get());
        let address = TargetAddr { port, ..target.clone() };
        let kind = match check.probe() {
            config::Probe::Http(probe) => Kind::Http(Box::new(http::HttpProbe::new(&address, probe))),
            config::Probe::Tcp => Kind::Tcp,
            config::Probe::Grpc { service, host } => {
                Kind::Grpc(grpc::GrpcProbe::new(&address, service, host.as_ref()))
            }
        };
        Self { address, transport: transport.at_port(port), timeout: check.timeout.get(), kind }
    }

    pub(super) fn address(&self) -> &TargetAddr {
        &self.address
    }

    pub(super) async fn run(&self) -> Result<(), Failure> {
        let deadline = Deadline { at: Instant::now() + self.timeout, timeout: self.timeout };
        let connected = deadline.limit("connect", self.connect()).await?;
        match &self.kind {
            Kind::Http(probe) => deadline.limit(probe.name(), probe.run(connected)).await,
            Kind::Tcp => Ok(()),
            Kind::Grpc(probe) => deadline.limit(grpc::METHOD, probe.run(connected.stream)).await,
        }
    }

    /// Which HTTP the probe can speak, of those that requests are spoken in.
    fn offer(&self) -> Offer {
        match &self.kind {
            Kind::Http(_) | Kind::Tcp => self.transport.offer(false).unwrap_or(Offer::Http1),
            Kind::Grpc(_) => Offer::Http2,
        }
    }

    async fn connect(&self) -> Result<Dialled, Failure> {
        self.transport.dial(OnBehalf::Gateway, self.offer(), self.timeout).await.map_err(
            |error| match error {
                DialError::Connect(error) if is_own(&error) => Failure::Own(words(&error)),
                DialError::Connect(error) => Failure::Target(words(&error)),
                error @ (DialError::Name(_) | DialError::Tls(_) | DialError::Certificate(_)) => {
                    Failure::Target(error.to_string())
                }
            },
        )
    }
}

impl Deadline {
    /// What a step of the probe comes to, within what is left of the time; a failure begins with the step's name.
    async fn limit<T>(
        self,
        step: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        match timeout_at(self.at, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(Failure::Target(reason))) => Err(Failure::Target(format!("{step}: {reason}"))),
            Ok(Err(Failure::Own(reason))) => Err(Failure::Own(format!("{step}: {reason}"))),
            Err(_) => Err(Failure::Target(format!("{step}: no answer within {:?}", self.timeout))),
        }
    }
}

/// Out of descriptors, ports or memory: a gateway in such a state must not call all its targets ill.
fn is_own(error: &io::Error) -> bool {
    let scarce = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| scarce.iter().any(|errno| errno.raw_os_error() == code))
}

/// An error with its causes; those of the operating system in plain words, without their number.
fn words(error: &(dyn Error + 'static)) -> String {
    let mut all: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let one = match error.downcast_ref::<io::Error>() {
            Some(error) if error.raw_os_error().is_some() => plain(error),
            _ => error.to_string(),
        };
        // many errors repeat their cause
        if !all.last().is_some_and(|last| last.ends_with(&one)) {
            all.push(one);
        }
        next = error.source();
    }
    all.join(": ")
}

fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    let mut plain = text[..end].to_owned();
    if let Some(first) = plain.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_are_told_in_words() {
        let refused = io::Error::from_raw_os_error(Errno::CONNREFUSED.raw_os_error());
        assert_eq!(words(&refused), "connection refused");
        assert!(!is_own(&refused));
        assert_eq!(words(&io::Error::other("no such name")), "no such name");
    }

    #[test]
    fn what_this_machine_lacks_is_not_the_targets_fault() {
        let error = io::Error::from_raw_os_error(Errno::MFILE.raw_os_error());
        assert!(is_own(&error));
        assert_eq!(words(&error), "too many open files");
    }
}
