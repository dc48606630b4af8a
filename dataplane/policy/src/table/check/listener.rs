//! Whether listeners can stand beside each other, and whether what each says goes together.

use super::{Check, ENOUGH, LISTENERS, SERVER};
use crate::config::answer::redirects;
use crate::config::leaf::{Fault, quoted};
use crate::config::listener::{
    ClientAuth, DEFAULT_LISTENER, HttpProtocol, ListenerConfig, ListenerTlsConfig, ProxyProtocol,
};
use crate::config::{RouteConfig, ServerConfig};
use crate::diagnostic::{Code, ConfigPath, Place, Problem, nearest};
use foldhash::fast::RandomState;
use std::collections::HashMap;

impl Check<'_> {
    pub(super) fn listeners(&mut self) {
        let config = self.config;
        self.distinct("listener", &LISTENERS, config.listeners.iter().map(|one| &*one.name));
        self.ports(&config.server, &config.listeners);
        self.listener(&config.server.listener(), &SERVER);
        for (at, listener) in config.listeners.iter().enumerate() {
            let path = LISTENERS.index(at);
            if listener.name == DEFAULT_LISTENER {
                let message = format!("`{DEFAULT_LISTENER}` is the listener that `server` describes");
                let problem = Problem::new(Code::DUPLICATE_NAME, path.key("name"), message);
                self.report(problem.help("choose another name, or write its keys below `server`"));
            }
            self.listener(listener, &path);
        }
    }

    /// Each port is of one listener; 0 takes another one for each.
    fn ports(&mut self, server: &ServerConfig, listeners: &[ListenerConfig]) {
        let mut seen: HashMap<u16, ConfigPath, RandomState> = HashMap::default();
        seen.insert(server.port, SERVER.key("port").into());
        for (at, listener) in listeners.iter().enumerate().filter(|(_, listener)| listener.port != 0) {
            let path: ConfigPath = LISTENERS.index(at).key("port").into();
            if let Some(first) = seen.get(&listener.port) {
                let message = format!("two listeners have the port {}", listener.port);
                let problem = Problem::new(Code::DUPLICATE_PORT, path, message)
                    .help("give one of them another port; without `server.port` that of `server` is 8080")
                    .related(first.clone(), "the first one");
                self.report(problem);
            } else {
                seen.insert(listener.port, path);
            }
        }
    }

    fn listener(&mut self, listener: &ListenerConfig, path: &Place<'_>) {
        self.protocols(&listener.protocols, &path.key("protocols"));
        self.proxy_protocol(listener, path);
        self.redirect_https(listener, &path.key("redirect_https"));
        if let Some(tls) = &listener.tls {
            self.listener_tls(tls, &path.key("tls"));
        }
    }

    fn protocols(&mut self, protocols: &[HttpProtocol], path: &Place<'_>) {
        if protocols.is_empty() {
            let problem =
                Problem::new(Code::OUT_OF_RANGE, *path, "`protocols` is empty, so nobody could speak");
            return self.report(
                problem.help("leave the key out for both, or write `[h2]`, `[http1]` or `[h2, http1]`"),
            );
        }
        if let Some((at, _)) = protocols.iter().enumerate().find(|(at, one)| protocols[..*at].contains(one)) {
            self.report(Problem::new(Code::CONTRADICTION, path.index(at), "a protocol stands twice"));
        }
    }

    fn proxy_protocol(&mut self, listener: &ListenerConfig, path: &Place<'_>) {
        let off = listener.proxy_protocol == ProxyProtocol::Off;
        if off && !listener.proxy_protocol_from.is_empty() {
            let message = "`proxy_protocol_from` has no effect: the PROXY protocol is off";
            let problem = Problem::new(Code::CONTRADICTION, path.key("proxy_protocol_from"), message);
            self.report(problem.help("add `proxy_protocol: required` or `proxy_protocol: optional`"));
        }
        if !off && self.config.server.proxy_protocol_peers(listener).is_empty() {
            let message = "there is nobody whose word on where clients come from would be believed";
            let problem = Problem::new(Code::CONTRADICTION, path.key("proxy_protocol"), message);
            self.report(problem.help("add `proxy_protocol_from` with the addresses of the load balancer"));
        }
    }

    fn redirect_https(&mut self, listener: &ListenerConfig, path: &Place<'_>) {
        let Some(redirect) = &listener.redirect_https else { return };
        if listener.tls.is_some() {
            let message = "whoever comes by TLS would be sent here again";
            let problem = Problem::new(Code::CONTRADICTION, *path, message);
            self.report(problem.help("remove it; it is for a listener of plain HTTP"));
        }
        if let Err(Fault { message, help, .. }) = redirects(redirect.status) {
            let problem = Problem::new(Code::OUT_OF_RANGE, path.key("status"), message);
            self.report(problem.help(help.unwrap_or_default()));
        }
        if redirect.port == 0 {
            self.report(Problem::new(
                Code::OUT_OF_RANGE,
                path.key("port"),
                "nobody is reached by the port 0",
            ));
        }
    }

    fn listener_tls(&mut self, tls: &ListenerTlsConfig, path: &Place<'_>) {
        if tls.certificates.is_empty() {
            let problem =
                Problem::new(Code::OUT_OF_RANGE, path.key("certificates"), "there are no certificates");
            self.report(problem.help("add at least one: `- {cert: /path/of.pem, key: /path/of.key}`"));
        }
        match (&tls.client_ca, tls.client_auth) {
            (None, ClientAuth::Off) | (Some(_), ClientAuth::Optional | ClientAuth::Required) => {}
            (Some(_), ClientAuth::Off) => {
                let message = "`client_ca` has no effect: no client is asked for a certificate";
                let problem = Problem::new(Code::CONTRADICTION, path.key("client_ca"), message);
                self.report(problem.help("add `client_auth: required` or `client_auth: optional`"));
            }
            (None, ClientAuth::Optional | ClientAuth::Required) => {
                let message =
                    "`client_auth` needs `client_ca`: there is nobody whose certificates would hold";
                let problem = Problem::new(Code::CONTRADICTION, path.key("client_auth"), message);
                self.report(problem.help("add `client_ca`, the PEM file of the authorities of the clients"));
            }
        }
    }

    /// Those that a route is for must be there, and leave requests to routes.
    pub(super) fn listeners_of(&mut self, route: &RouteConfig, path: &Place<'_>) {
        let config = self.config;
        for (at, name) in route.listeners.iter().enumerate() {
            let place = path.index(at);
            if let Some(first) = route.listeners[..at].iter().position(|other| other == name) {
                let problem = Problem::new(Code::CONTRADICTION, place, format!("`{name}` stands twice"));
                self.report(problem.help("remove one of them").related(path.index(first), "the first one"));
                continue;
            }
            let position = config.listeners.iter().position(|listener| listener.name == *name);
            let redirect = match position {
                _ if name == DEFAULT_LISTENER => config.server.redirect_https.as_ref().map(|_| SERVER.into()),
                Some(at) => {
                    let redirect = config.listeners[at].redirect_https.as_ref();
                    redirect.map(|_| ConfigPath::from(LISTENERS.index(at)))
                }
                None => {
                    self.unknown_listener(name, &place);
                    continue;
                }
            };
            // what a trusted proxy has got by https is not sent there again
            if let Some(listener) = redirect.filter(|_| config.server.trusted_proxies.is_empty()) {
                let message = format!("the listener `{name}` leaves no request to a route");
                let problem = Problem::new(Code::CONTRADICTION, place, message)
                    .related(listener.key("redirect_https"), "every one is sent to https");
                self.report(problem.help("name the listener of https"));
            }
        }
    }

    fn unknown_listener(&mut self, name: &str, place: &Place<'_>) {
        let config = self.config;
        let known = || config.listeners.iter().map(|listener| &*listener.name).chain([DEFAULT_LISTENER]);
        let near = match self.problems.len() {
            ..ENOUGH => nearest(name, known()),
            _ => None,
        };
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add it under `listeners`; that of `server` is `{DEFAULT_LISTENER}`"),
        };
        let message = format!("no listener is named {}", quoted(name));
        self.report(Problem::new(Code::UNKNOWN_LISTENER, *place, message).help(help));
    }
}
