//! A rollout as a trace: a span for all of it, and below it one for what each data plane did in each phase.

use super::TRACE_TARGET;
use proto::v1::{self, Finished, InstanceStep, Outcome, Started, Step};
use std::collections::HashMap;
use tracing::{Span, field, info_span};

/// The rollout under way. Without a collector its spans are disabled and cost nothing.
#[derive(Debug, Default)]
pub(super) struct RolloutTrace {
    rollout: Option<Span>,
    /// What each data plane is at.
    phases: HashMap<String, Span>,
}

impl RolloutTrace {
    pub(super) fn started(&mut self, started: &Started) {
        let rollout = info_span!(
            target: TRACE_TARGET,
            parent: None,
            "rollout",
            gateway.config_version = started.version,
            gateway.config_sha256 = started.sha256,
            rollout.dry_run = started.dry_run,
            rollout.instances = started.instances.len(),
            rollout.outcome = field::Empty,
            otel.status_code = field::Empty,
            otel.status_description = field::Empty,
        );
        self.rollout = Some(rollout);
    }

    pub(super) fn step(&mut self, step: &InstanceStep) {
        let begun = match step.step() {
            Step::Preparing => Some(self.phase("prepare", step)),
            Step::Committing => Some(self.phase("commit", step)),
            _ => None,
        };
        // the phase that was is over, and with it its span
        let before = self.phases.remove(&step.instance);
        if let Some(before) = before {
            end(&before, step);
        }
        if let Some(begun) = begun {
            self.phases.insert(step.instance.clone(), begun);
        }
    }

    fn phase(&self, name: &'static str, step: &InstanceStep) -> Span {
        let rollout = self.rollout.as_ref().and_then(Span::id);
        info_span!(
            target: TRACE_TARGET,
            parent: rollout,
            "phase",
            otel.name = name,
            otel.kind = "client",
            gateway.instance = step.instance,
            rollout.step = field::Empty,
            otel.status_code = field::Empty,
            otel.status_description = field::Empty,
        )
    }

    pub(super) fn finished(&mut self, finished: &Finished) {
        self.phases.clear();
        let Some(rollout) = self.rollout.take() else { return };
        let outcome = finished.outcome();
        rollout.record("rollout.outcome", outcome.as_str_name());
        if !matches!(outcome, Outcome::Committed | Outcome::DryRunOk | Outcome::Unchanged) {
            fail(&rollout, &finished.message);
        }
    }
}

fn end(phase: &Span, step: &InstanceStep) {
    phase.record("rollout.step", step.step().as_str_name());
    if matches!(step.step(), Step::Rejected | Step::Stale | Step::Lost) {
        fail(phase, step.diagnostics.first().map_or("", |first: &v1::Diagnostic| &first.message));
    }
}

fn fail(span: &Span, why: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", why);
}
