//! `gatewayctl top`: what goes through routes and targets right now, redrawn until interrupted.

use super::status::latency::{latency, quantile};
use super::status::{self, Fleet, fleet, targets};
use super::{Global, completion, explain};
use crate::client::{self, Admin};
use crate::console;
use crate::exit::{Exit, Failure};
use crate::output::{self, API_VERSION, Format, Resource as _, Row, Tone, count, rate};
use clap::Args;
use clap_complete::ArgValueCandidates;
use jiff::Timestamp;
use proto::v1::{GetStatusRequest, GetStatusResponse, RouteTraffic, Traffic};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::AddAssign;

/// Show rate, errors and latency of routes and the state of targets, redrawn until interrupted
///
/// The figures are those of the last few seconds, as the instances report them; of routes with `metrics: {enabled:
/// false}` there are none. A latency is read from a histogram: between two of its bounds it is an estimate.
#[derive(Debug, Args)]
pub struct Top {
    /// Show one frame and end
    #[arg(long)]
    once: bool,
    /// What comes first
    #[arg(long, value_enum, default_value_t = By::Rate)]
    sort: By,
    /// The instance to look at, or `all`
    #[arg(long, value_name = "INSTANCE|all", default_value = "all", add = ArgValueCandidates::new(completion::instances))]
    at: String,
    /// Form of the frame
    #[arg(short, long, value_enum, default_value_t = output::Shape::Table)]
    output: output::Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum By {
    Rate,
    Errors,
    P99,
}

impl Top {
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let mut admin = global.connect().await?;
        if self.once {
            console::data(&self.frame(&mut admin).await?)?;
            return Ok(Exit::Yes);
        }
        status::watch(self.output.into(), async || self.frame(&mut admin).await).await
    }

    async fn frame(&self, admin: &mut Admin) -> Result<String, Failure> {
        let asked = admin.get_status(client::question(GetStatusRequest {})).await;
        let mut answer = asked.map_err(client::failure)?.into_inner();
        let instance = explain::instance(&self.at);
        if !instance.is_empty() {
            answer.instances = status::only(answer.instances, &instance)?;
        }
        frame(&answer, self.sort, self.output, Timestamp::now())
    }
}

/// What one route carried, over all instances.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    pub route: String,
    pub requests_per_second: f64,
    /// Of the requests, 0 to 1: those answered with 5xx.
    pub failed: f64,
    pub p50_seconds: Option<f64>,
    pub p95_seconds: Option<f64>,
    pub p99_seconds: Option<f64>,
    pub instances: u64,
}

/// Of one route: sums over instances.
#[derive(Debug, Default)]
struct Sums {
    requests_per_second: f64,
    failures: u64,
    buckets: Vec<u64>,
    instances: u64,
}

impl AddAssign<(&RouteTraffic, f64)> for Sums {
    fn add_assign(&mut self, (traffic, seconds): (&RouteTraffic, f64)) {
        let requests: u64 = traffic.buckets.iter().sum();
        self.requests_per_second += requests as f64 / seconds.max(f64::MIN_POSITIVE);
        self.failures += traffic.failures;
        self.buckets.resize(self.buckets.len().max(traffic.buckets.len()), 0);
        for (sum, count) in self.buckets.iter_mut().zip(&traffic.buckets) {
            *sum += count;
        }
        self.instances += 1;
    }
}

/// The routes that carried something. Instances of other versions may have other bounds: those of the first one count.
pub fn loads(answer: &GetStatusResponse) -> Vec<Load> {
    let reports = || answer.instances.iter().filter_map(|one| one.status.as_ref()?.traffic.as_ref());
    let Some(bounds) = reports().map(|traffic| &traffic.bounds).find(|bounds| !bounds.is_empty()) else {
        return Vec::new();
    };
    let mut routes: BTreeMap<&str, Sums> = BTreeMap::new();
    for Traffic { seconds, bounds: theirs, routes: told } in reports() {
        for route in told.iter().filter(|_| theirs == bounds) {
            *routes.entry(&route.route).or_default() += (route, *seconds);
        }
    }
    let load = |(route, sums): (&str, Sums)| {
        let requests: u64 = sums.buckets.iter().sum();
        let quantile = |share| quantile(bounds, &sums.buckets, share);
        Load {
            route: route.to_owned(),
            requests_per_second: sums.requests_per_second,
            failed: sums.failures as f64 / requests.max(1) as f64,
            p50_seconds: quantile(0.5),
            p95_seconds: quantile(0.95),
            p99_seconds: quantile(0.99),
            instances: sums.instances,
        }
    };
    routes.into_iter().map(load).collect()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'static str,
    kind: &'static str,
    routes: &'a [Load],
    targets: &'a [targets::Target],
}

fn frame(
    answer: &GetStatusResponse,
    by: By,
    shape: output::Shape,
    now: Timestamp,
) -> Result<String, Failure> {
    let config = status::table(answer)?;
    let (mut routes, targets) = (loads(answer), targets::targets(answer, &config));
    routes.sort_by_key(|load| {
        let first = match by {
            By::Rate => load.requests_per_second,
            By::Errors => load.failed,
            By::P99 => load.p99_seconds.unwrap_or(f64::INFINITY),
        };
        // all are positive: their bits have their order
        (Reverse(first.to_bits()), load.route.clone())
    });
    let document = Document { api_version: API_VERSION, kind: "Top", routes: &routes, targets: &targets };
    match shape {
        output::Shape::Json => output::json(&document),
        output::Shape::Yaml => output::yaml(&document),
        output::Shape::Table => Ok(text(answer, &fleet::fleet(answer, &config), &routes, &targets, now)),
    }
}

fn text(
    answer: &GetStatusResponse,
    fleet: &Fleet,
    routes: &[Load],
    targets: &[targets::Target],
    now: Timestamp,
) -> String {
    let total: f64 = routes.iter().map(|load| load.requests_per_second).sum();
    let failing: f64 = routes.iter().map(|load| load.requests_per_second * load.failed).sum();
    let share = if total > 0.0 { failing / total } else { 0.0 };
    let head = format!(
        "{}  version {}, {}, {} requests/s, {} answered with 5xx\n",
        fleet.state.word(),
        fleet.version,
        count(answer.instances.len(), "instance"),
        rate(total),
        percent(share),
    );
    let rows: Vec<Row> = routes.iter().map(row).collect();
    let routes =
        if rows.is_empty() { "no request in the last few seconds\n".to_owned() } else { output::rows(&rows) };
    let targets: Vec<Row> = targets.iter().map(|target| target.row(false, now)).collect();
    format!("{head}\n{routes}\n{}", output::rows(&targets))
}

fn row(load: &Load) -> Row {
    let tone = match load.failed {
        0.0 => Tone::Good,
        ..0.05 => Tone::Doubtful,
        _ => Tone::Bad,
    };
    Row::default()
        .cell("ROUTE", &load.route)
        .cell("REQ/S", rate(load.requests_per_second))
        .toned("5XX", percent(load.failed), tone)
        .cell("P50", latency(load.p50_seconds))
        .cell("P95", latency(load.p95_seconds))
        .cell("P99", latency(load.p99_seconds))
        .cell("INSTANCES", load.instances)
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0%".to_owned(),
        ..0.1 => "<0.1%".to_owned(),
        percent => format!("{percent:.1}%"),
    }
}

impl From<output::Shape> for Format {
    fn from(shape: output::Shape) -> Self {
        match shape {
            output::Shape::Table => Self::Table,
            output::Shape::Json => Self::Json,
            output::Shape::Yaml => Self::Yaml,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::v1::{Instance, InstanceStatus};

    const BOUNDS: [f64; 3] = [0.001, 0.01, 0.1];

    #[test]
    fn instances_are_added_up_each_by_its_own_time() {
        let instance = |seconds, buckets: [u64; 4], failures| {
            let routes =
                vec![RouteTraffic { route: "users".to_owned(), failures, buckets: buckets.to_vec() }];
            let traffic = Some(Traffic { seconds, bounds: BOUNDS.to_vec(), routes });
            Instance { status: Some(InstanceStatus { traffic, ..Default::default() }), ..Default::default() }
        };
        let instances =
            vec![instance(5.0, [0, 50, 0, 0], 0), instance(10.0, [0, 50, 0, 0], 25), Instance::default()];
        let told = loads(&GetStatusResponse { instances, ..Default::default() });
        let [load] = &told[..] else { panic!("{told:?}") };
        assert_eq!((load.requests_per_second, load.failed, load.instances), (15.0, 0.25, 2));
        assert_eq!(latency(load.p50_seconds), "5.5 ms");
        assert_eq!([0.0, 0.0005, 0.25].map(percent), ["0%", "<0.1%", "25.0%"]);
    }
}
