//! Incidents as text and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::incident::{Incident, Incidents, Severity, Step, Story, meaning};
use crate::output::plural;

/// Most incidents that are told at length.
const MAX_TOLD: usize = 20;
/// Most steps of one that are told, unless it was named.
const MAX_STEPS: usize = 8;

/// What a story is called: the first of its worst steps.
pub(super) fn title(story: &Story) -> String {
    story.worst().map_or_else(|| "an incident".to_owned(), |step| step.sentence.clone())
}

/// Whose story it is, and where in its life.
pub(super) fn place(story: &Story) -> String {
    let function = if story.function.is_empty() { "this function" } else { &story.function };
    let phase = match (story.request.is_empty(), story.phase.as_str()) {
        (false, _) => format!("request {}", story.request),
        (true, "between") => "between invocations".to_owned(),
        (true, "shutdown") => "at shutdown".to_owned(),
        (true, "init") => "during init".to_owned(),
        (true, _) => "during an invocation".to_owned(),
    };
    format!("{function}, {phase}")
}

/// `12 times, 2026-11-20T… to 2026-11-22T…`.
pub(super) fn when(incident: &Incident) -> String {
    if incident.count == 1 {
        return format!("once, {}", incident.first);
    }
    format!("{} times, {} to {}", incident.count, incident.first, incident.last)
}

/// `blocked by process.shells (kernel plane)`.
pub(super) fn outcome(step: &Step) -> String {
    let plane = if step.plane.is_empty() { String::new() } else { format!(", {} plane", step.plane) };
    let times = if step.count > 1 { format!(", {} times", step.count) } else { String::new() };
    format!("{} by {}{plane}{times}", step.verdict, step.rule)
}

/// Incidents for people; `only` tells the one with that id whole.
pub(super) fn text(incidents: &Incidents, ranked: &[Incident], only: Option<&str>) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    if ranked.is_empty() {
        out.push_str("no incidents\n");
    }
    if only.is_none() && !ranked.is_empty() {
        let _ = writeln!(out, "{}", headline(ranked));
    }
    for incident in ranked.iter().filter(|incident| only.is_none_or(|id| incident.id == id)).take(MAX_TOLD) {
        let story = &incident.story;
        let new = if incidents.is_new(incident) { ", new since the last policy" } else { "" };
        let _ = writeln!(out, "\n[{}] {} {}", story.severity().word(), incident.id, title(story));
        let _ = writeln!(out, "  {}; {}{new}", place(story), when(incident));
        let most = if only.is_some() { usize::MAX } else { MAX_STEPS };
        for step in story.steps.iter().take(most) {
            let code = if step.code.is_empty() { String::new() } else { format!("; by {}", step.code) };
            let clock = step.timestamp.get(11..23).unwrap_or(&step.timestamp);
            let _ = writeln!(out, "  {clock} {}: {}{code}", step.sentence, outcome(step));
            if only.is_some() && !step.detail.is_empty() {
                let _ = writeln!(out, "               {}", step.detail);
            }
        }
        let rest = story.steps.len().saturating_sub(most) as u64 + story.more;
        if rest > 0 {
            let _ = writeln!(out, "  and {}: --incident {} tells all", plural(rest, "step"), incident.id);
        }
        if let Some(worst) = story.worst() {
            let _ = writeln!(out, "  {}", meaning(&worst.rule));
        }
        if only.is_some() {
            let _ = writeln!(out, "  processes: {}", chains(story).join("; "));
            let _ = writeln!(out, "  requests: {}", incident.requests.join(", "));
        }
    }
    if only.is_none() && ranked.len() > MAX_TOLD {
        let _ = writeln!(
            out,
            "\nand {}: --html FILE has all",
            plural((ranked.len() - MAX_TOLD) as u64, "incident")
        );
    }
    for (line, count) in &incidents.degraded {
        let _ = writeln!(out, "degraded: {line} ({})", plural(*count, "time"));
    }
    out
}

/// `3 incidents in 2 functions: 1 critical, 2 high`.
pub(super) fn headline(ranked: &[Incident]) -> String {
    let functions: BTreeSet<&str> = ranked.iter().map(|incident| incident.story.function.as_str()).collect();
    let by: Vec<String> = Severity::ALL
        .into_iter()
        .map(|severity| {
            (severity, ranked.iter().filter(|incident| incident.story.severity() == severity).count())
        })
        .filter(|(_, count)| *count > 0)
        .map(|(severity, count)| format!("{count} {}", severity.word()))
        .collect();
    format!(
        "{} of incident in {}: {}",
        plural(ranked.len() as u64, "kind"),
        plural(functions.len() as u64, "function"),
        by.join(", ")
    )
}

/// Each chain of processes once.
pub(super) fn chains(story: &Story) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for step in story.steps.iter().filter(|step| !step.chain.is_empty()) {
        let chain = step.chain.join(" > ");
        if !all.contains(&chain) {
            all.push(chain);
        }
    }
    all
}

/// In how many stories some word of a step occurs.
pub(super) fn counted(ranked: &[Incident], word: impl Fn(&Story, &Step) -> String) -> Vec<(String, u64)> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for incident in ranked {
        let words: BTreeSet<String> =
            incident.story.steps.iter().map(|step| word(&incident.story, step)).collect();
        for word in words {
            let count = counts.entry(word).or_default();
            *count = count.saturating_add(incident.count);
        }
    }
    let mut counts: Vec<(String, u64)> = counts.into_iter().filter(|(word, _)| !word.is_empty()).collect();
    counts.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
    counts
}

pub(super) fn as_json(incidents: &Incidents, ranked: &[Incident]) -> Value {
    let step = |step: &Step| {
        json!({
            "timestamp": step.timestamp, "what": step.sentence, "verdict": step.verdict, "rule": step.rule,
            "plane": step.plane, "severity": step.severity.word(), "code": step.code, "chain": step.chain,
            "count": step.count, "destination": step.destination, "attack": step.attack, "detail": step.detail,
        })
    };
    let incident = |incident: &Incident| {
        let story = &incident.story;
        json!({
            "id": incident.id, "title": title(story), "severity": story.severity().word(),
            "function": story.function, "versions": incident.versions, "phase": story.phase,
            "count": incident.count, "first": incident.first, "last": incident.last,
            "requests": incident.requests, "new": incidents.is_new(incident), "policy": story.policy,
            "steps": story.steps.iter().map(step).collect::<Vec<_>>(), "stepsDropped": story.more,
        })
    };
    json!({
        "incidents": ranked.iter().map(incident).collect::<Vec<_>>(),
        "incidentsDropped": incidents.dropped,
        "degraded": incidents.degraded,
        "records": incidents.records,
    })
}
