//! Shows a rollout while it happens: a line per instance kept up to date on a terminal, plain lines elsewhere.

use crate::console;
use crate::output::count;
use crate::rollout::describe;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use proto::v1::{InstanceStep, Started, Step};
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

/// More lines than this would scroll: then only plain lines are written.
const MOST_LINES: usize = 24;
/// Before its first step.
const WAITING: &str = "waiting";
const FRAME: Duration = Duration::from_millis(120);

pub enum Progress {
    Live { bars: MultiProgress, instances: BTreeMap<String, ProgressBar> },
    Lines,
}

impl Progress {
    /// Live where a person watches standard error.
    pub fn on_stderr() -> Self {
        if std::io::stderr().is_terminal() {
            Progress::Live { bars: MultiProgress::new(), instances: BTreeMap::new() }
        } else {
            Progress::Lines
        }
    }

    pub fn start(&mut self, started: &Started) {
        let Started { version, sha256, instances, dry_run, warnings } = started;
        for warning in warnings {
            console::warning(warning);
        }
        let what = if *dry_run { "trying" } else { "rolling out" };
        let hash = sha256.get(..12).unwrap_or(sha256);
        console::note(&format!(
            "{what} version {version} ({hash}) to {}",
            count(instances.len(), "instance")
        ));
        if instances.len() > MOST_LINES {
            *self = Progress::Lines;
        }
        if let Progress::Live { bars, instances: lines } = self {
            let widest = instances.iter().map(String::len).max().unwrap_or(0);
            for instance in instances {
                lines.insert(instance.clone(), line(bars, instance, widest));
            }
        }
    }

    pub fn step(&mut self, step: &InstanceStep) {
        match self {
            Progress::Lines => console::note(&format!("{}: {}", step.instance, describe(step))),
            Progress::Live { bars, instances } => {
                let line =
                    instances.entry(step.instance.clone()).or_insert_with(|| line(bars, &step.instance, 0));
                line.set_message(describe(step));
                if is_last(step.step()) {
                    line.abandon();
                }
            }
        }
    }
}

impl Drop for Progress {
    /// What was drawn goes, and the last step of every instance stays as a plain line.
    fn drop(&mut self) {
        if let Progress::Live { bars, instances } = self {
            // a terminal that cannot be cleared still gets the lines
            let _ = bars.clear();
            for (instance, line) in instances.iter().filter(|(_, line)| line.message() != WAITING) {
                console::note(&format!("{instance}: {}", line.message()));
            }
        }
    }
}

fn line(bars: &MultiProgress, instance: &str, widest: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {prefix}  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar =
        bars.add(ProgressBar::new_spinner().with_style(style).with_prefix(format!("{instance:widest$}")));
    bar.set_message(WAITING);
    bar.enable_steady_tick(FRAME);
    bar
}

/// No further step of this instance follows.
fn is_last(step: Step) -> bool {
    match step {
        Step::Rejected | Step::Active | Step::Aborted | Step::Stale | Step::Lost => true,
        Step::Unspecified | Step::Preparing | Step::Prepared | Step::Committing => false,
    }
}
