//! Which route takes a request, and what it has over the others that it comes near.

use super::{End, Rival, Says, Telling};
use crate::filter::cors::Cors;
use crate::headers::Host;
use crate::rejection::Rejection;
use crate::router::{Contender, Fit, Lookup};
use crate::table::Route;
use http::Method;

/// More than anybody reads; a table may have thousands of routes for one path.
const MOST_RIVALS: usize = 20;

impl<'a> Telling<'a> {
    pub(super) fn find(&mut self, host: &Host<'_>, path: &str) -> Result<&'a Route, End> {
        let parts = &self.asked.parts;
        let listener = &*self.asked.listener;
        let found = self.table.route_of(parts, listener, host, path);
        let (query, headers) = (parts.uri.query(), &parts.headers);
        let lookup = |method| Lookup { listener, host: &host.name, path, query, method, headers };
        // a preflight belongs to the route of the request that it asks about
        let asked = Cors::asked_method(parts);
        let asked =
            asked.as_ref().filter(|method| found.is_ok() && self.table.find(&lookup(method)) == found);
        let method = asked.unwrap_or(&parts.method);
        let lookup = lookup(method);
        self.rivals = self.rivals(&found, &lookup);
        match found {
            Ok(at) => {
                let route = &self.table.routes[at];
                self.route = Some(route);
                self.step("route", Says::Pass, self.taken(at, method));
                Ok(route)
            }
            Err(rejection) => {
                let why = match &rejection {
                    Rejection::MethodNotAllowed { allow } => {
                        format!("the path is taken, but {method} is not among {}", list(allow))
                    }
                    _ => rejection.title().to_owned(),
                };
                Err(self.refuse("route", why, rejection))
            }
        }
    }

    /// Those that were asked before, those that would have taken it after; and if none has, those of other hosts.
    fn rivals(&self, found: &Result<usize, Rejection>, lookup: &Lookup<'_>) -> Vec<Rival> {
        let contenders = self.table.router().contenders(lookup);
        let winner = contenders.iter().position(|one| found.as_ref() == Ok(&one.route));
        let is_rival = |(at, one): &(usize, &Contender)| match winner {
            None => true,
            Some(winner) => *at < winner || (*at > winner && one.fit == Fit::Takes),
        };
        let rivals = contenders.iter().enumerate().filter(is_rival).take(MOST_RIVALS);
        rivals.map(|(_, one)| self.rival(one, found, lookup)).collect()
    }

    fn taken(&self, at: usize, method: &Method) -> String {
        let (name, pattern) = (&self.table.routes[at].name, self.table.router().pattern(at));
        let preflight = if *method == self.asked.parts.method {
            String::new()
        } else {
            format!(", which would take the {method} that this preflight asks about")
        };
        format!("{name} ({pattern}){preflight}")
    }

    fn rival(&self, contender: &Contender, found: &Result<usize, Rejection>, lookup: &Lookup<'_>) -> Rival {
        let Contender { route, fit } = contender;
        let why = match (fit, found) {
            (Fit::Takes, Ok(winner)) => self.table.router().precedence(*winner, *route, lookup.host),
            (Fit::Takes, Err(_)) => {
                "a path that is taken for other methods leaves nothing to broader routes".to_owned()
            }
            (Fit::Method(methods), _) => format!("takes {} only", list(methods)),
            (Fit::Condition(condition), _) => format!("asks for {condition}"),
            (Fit::Listener(names), _) => format!("is for the listener {names}"),
            (Fit::Host(hosts), _) => format!("is for the host {hosts}"),
        };
        Rival {
            route: self.table.routes[*route].name.to_string(),
            pattern: self.table.router().pattern(*route),
            fits: *fit == Fit::Takes,
            why,
        }
    }
}

fn list(methods: &[Method]) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}
