//! A real Prometheus that scrapes what a scenario tells it to, and promtool.

use crate::client::get;
use crate::process::{Process, field};
use crate::wait::eventually;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// How often it scrapes: a scenario does not want to wait long.
const INTERVAL: &str = "200ms";

/// A running Prometheus; ends when dropped.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    _process: Process,
    // removed when the process is dead
    _directory: TempDir,
}

/// One line of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// By their names, that of the metric is `__name__`.
    pub labels: BTreeMap<String, String>,
    /// Its value now.
    pub value: f64,
}

impl Sample {
    /// A label, empty when there is none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

impl Prometheus {
    /// Scrapes these addresses, each under a name of its own as the label `instance`.
    pub async fn start(targets: &[(&str, SocketAddr)]) -> Self {
        Self::start_with(targets, None).await
    }

    /// The same with a file of rules.
    pub async fn start_with(targets: &[(&str, SocketAddr)], rules: Option<&Path>) -> Self {
        let rules = rules.map(|path| format!("rule_files: ['{}']\n", path.display())).unwrap_or_default();
        let mut config = format!(
            "global: {{scrape_interval: {INTERVAL}, scrape_timeout: {INTERVAL}, evaluation_interval: {INTERVAL}}}\n\
             {rules}scrape_configs:\n- job_name: mini-gateway\n  static_configs:\n"
        );
        for (name, address) in targets {
            let _ = writeln!(config, "  - {{targets: ['{address}'], labels: {{instance: {name}}}}}");
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("prometheus.yml");
        fs::write(&file, config).expect("write the config of Prometheus");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--enable-feature=exemplar-storage"]);
        let mut process = Process::spawn("prometheus", &mut command);
        let listening = |line: &str| {
            line.contains("Listening on").then(|| field(line, "address")?.parse().ok()).flatten()
        };
        let address = process.logged("where it listens", listening).await;
        process.logged("that it is ready", |line| line.contains("Server is ready").then_some(())).await;
        Self { address, _process: process, _directory: directory }
    }

    /// The answer to a query, as of now.
    pub async fn query(&self, query: &str) -> Vec<Sample> {
        let data = self.ask("query", query).await;
        let samples = data["result"].as_array().unwrap_or_else(|| panic!("{query}: {data}"));
        samples.iter().map(|one| sample(one).unwrap_or_else(|| panic!("{query}: {one}"))).collect()
    }

    /// The values of a query, once they are as wanted.
    pub async fn until(&self, query: &str, enough: impl Fn(&[Sample]) -> bool) -> Vec<Sample> {
        eventually(query, async || {
            let samples = self.query(query).await;
            if enough(&samples) { Ok(samples) } else { Err(format!("{samples:#?}")) }
        })
        .await
    }

    /// Waits until a query that gives one number gives this one.
    pub async fn tells(&self, query: &str, value: f64) {
        self.until(query, |samples| samples.iter().map(|one| one.value).eq([value])).await;
    }

    /// The exemplars of the series of a query since it runs: their labels and values.
    pub async fn exemplars(&self, query: &str) -> Vec<(Value, f64)> {
        let series = self.ask("query_exemplars", query).await;
        let exemplars = series.as_array().into_iter().flatten().filter_map(|one| one["exemplars"].as_array());
        let value = |one: &Value| one["value"].as_str().and_then(|value| value.parse().ok());
        exemplars
            .flatten()
            .map(|one| (one["labels"].clone(), value(one).unwrap_or_else(|| panic!("{one}"))))
            .collect()
    }

    /// Every rule by its name with what Prometheus says of its health, once all have been evaluated.
    pub async fn rules(&self) -> Vec<(String, String)> {
        eventually("the rules are evaluated", async || {
            let data = self.get("rules").await;
            let rules: Vec<_> = data["groups"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|group| group["rules"].as_array().into_iter().flatten())
                .map(|rule| {
                    [&rule["name"], &rule["health"]].map(|text| text.as_str().unwrap_or("").to_owned())
                })
                .map(|[name, health]| (name, health))
                .collect();
            if rules.iter().all(|(_, health)| health != "unknown") {
                Ok(rules)
            } else {
                Err(data.to_string())
            }
        })
        .await
    }

    async fn ask(&self, what: &str, query: &str) -> Value {
        let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
        // exemplars want an interval; whatever a scenario has made lies in this one
        self.get(&format!("{what}?query={query}&start=0&end=4102444800")).await
    }

    async fn get(&self, what: &str) -> Value {
        let reply = get(self.address, &format!("/api/v1/{what}")).await.expect("Prometheus answers");
        let mut answer = reply.json();
        assert_eq!(answer["status"], "success", "{what}: {answer}");
        answer["data"].take()
    }
}

fn sample(one: &Value) -> Option<Sample> {
    let labels = one["metric"].as_object()?.iter();
    let labels = labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    Some(Sample { labels: labels.collect(), value: one["value"][1].as_str()?.parse().ok()? })
}

/// Runs promtool with an input; everything it wrote, and whether it was content.
pub fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("promtool ends");
    // it may have stopped reading: what it says tells why
    let _ = writer.join();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}
