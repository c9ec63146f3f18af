//! Incidents as one HTML page that needs nothing else: no script, no request, readable on paper and in the dark.
//!
//! `maud` escapes all text. It decides how incidents look, not what they are.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::incident::{Incident, Incidents, Severity, Step, Story, meaning};
use super::text::{counted, headline, outcome, place, title, when};
use crate::output::plural;

const STYLE: &str = include_str!("report.css");
/// Most rows of a table of counts.
const MAX_ROWS: usize = 12;
/// Most incidents on a page: a browser has to show it.
const MAX_INCIDENTS: usize = 500;

/// The whole page. `authenticity` is what `review` says of forged and missing records.
pub(super) fn page(incidents: &Incidents, ranked: &[Incident], authenticity: &str, is_clean: bool) -> String {
    let shown = ranked.get(..MAX_INCIDENTS).unwrap_or(ranked);
    let body = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Ringfence: incidents" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#incidents" { "To the incidents" }
                header {
                    h1 { "Incidents" }
                    p { (if ranked.is_empty() { "No incidents in these logs.".to_owned() } else { format!("{}.", headline(ranked)) }) }
                    p.quiet { (span(ranked)) " " (plural(incidents.records, "record")) " read." }
                }
                main {
                    (summary(ranked))
                    section #incidents aria-labelledby="incidents-title" {
                        h2 #incidents-title { "What happened, the worst first" }
                        @for incident in shown { (one(incidents, incident)) }
                        @if shown.len() < ranked.len() {
                            p { "Not shown: " (plural((ranked.len() - shown.len()) as u64, "kind")) " of incident of lower rank." }
                        }
                        @if ranked.is_empty() { p { "Nothing was blocked or reported." } }
                    }
                    section aria-labelledby="trust-title" {
                        h2 #trust-title { "Can these records be trusted?" }
                        p { (if is_clean {
                            "Yes: every record is signed by the environment that wrote it, and none is missing."
                        } else {
                            "Not all of them: some are forged, missing, doubled or cannot be checked. Forged ones are not told above."
                        }) }
                        pre tabindex="0" { (authenticity) }
                        @if !incidents.degraded.is_empty() {
                            h3 { "What did not hold" }
                            ul { @for (line, count) in &incidents.degraded { li { (line) " (" (plural(*count, "time")) ")" } } }
                        }
                    }
                }
                footer { p { "Written by ringfence review " (env!("CARGO_PKG_VERSION")) ". Times are in UTC." } }
            }
        }
    };
    body.into_string()
}

fn span(ranked: &[Incident]) -> String {
    let first = ranked.iter().map(|incident| incident.first.as_str()).min();
    let last = ranked.iter().map(|incident| incident.last.as_str()).max();
    match (first, last) {
        (Some(first), Some(last)) => format!("From {first} to {last}."),
        _ => String::new(),
    }
}

fn summary(ranked: &[Incident]) -> Markup {
    html! {
        section aria-labelledby="summary-title" {
            h2 #summary-title { "Summary" }
            ul.cards {
                @for severity in Severity::ALL {
                    @let own = ranked.iter().filter(|incident| incident.story.severity() == severity);
                    li class=(format!("card {}", severity.word())) {
                        strong { (own.clone().count()) }
                        span { (severity.word()) ", seen " (plural(own.map(|incident| incident.count).sum(), "time")) }
                    }
                }
            }
            div.tables {
                (counts("Functions", "Function", &counted(ranked, |story, _| story.function.clone())))
                (counts("Rules", "Rule", &counted(ranked, |_, step| step.rule.clone())))
                (counts("Lines of code", "Line", &counted(ranked, |_, step| step.code.clone())))
                (counts("Processes", "Process", &counted(ranked, |_, step| step.chain.last().cloned().unwrap_or_default())))
                (counts("Destinations", "Destination", &counted(ranked, |_, step| {
                    step.destination.as_ref().map_or_else(String::new, |to| format!("{to} ({})", step.verdict))
                })))
            }
        }
    }
}

fn counts(title: &str, heading: &str, rows: &[(String, u64)]) -> Markup {
    html! {
        @if !rows.is_empty() {
            table {
                caption { (title) }
                thead { tr { th scope="col" { (heading) } th.number scope="col" { "Incidents" } } }
                tbody {
                    @for (word, count) in rows.iter().take(MAX_ROWS) {
                        tr { th scope="row" { (word) } td.number { (count) } }
                    }
                    @if rows.len() > MAX_ROWS { tr { th scope="row" { "and " (rows.len() - MAX_ROWS) " more" } td {} } }
                }
            }
        }
    }
}

fn one(incidents: &Incidents, incident: &Incident) -> Markup {
    let story = &incident.story;
    let severity = story.severity();
    html! {
        article class=(severity.word()) aria-labelledby=(format!("incident-{}", incident.id)) {
            h3 id=(format!("incident-{}", incident.id)) {
                span class=(format!("badge {}", severity.word())) { (severity.word()) }
                " " (title(story))
                @if incidents.is_new(incident) { " " span.badge.new { "new since the last policy" } }
            }
            p { (place(story)) "; " (when(incident)) "." }
            p { (told(story)) @if let Some(step) = story.worst() { " " (meaning(&step.rule)) } }
            details open[severity >= Severity::High] {
                summary { "Time line (" (plural(story.steps.len() as u64, "step")) ")" }
                table.line {
                    caption.hidden { "Time line of incident " (incident.id) }
                    thead { tr { th scope="col" { "Time" } th scope="col" { "What" } th scope="col" { "Outcome" } th scope="col" { "Code" } } }
                    tbody { @for step in &story.steps { (row(step)) } }
                }
                @if story.more > 0 { p { "and " (plural(story.more, "step")) " more." } }
            }
            @if story.steps.iter().any(|step| !step.chain.is_empty()) {
                details {
                    summary { "Processes" }
                    (tree(story))
                }
            }
            @let attack = techniques(story);
            p.quiet {
                "Incident " (incident.id)
                @if !incident.requests.is_empty() { "; requests " (incident.requests.join(", ")) }
                @if !attack.is_empty() { "; ATT&CK " (attack.join(", ")) }
                ". The whole of it: " code { "ringfence review --incident " (incident.id) " LOG" }
            }
        }
    }
}

/// The story in plain words: what was first, what was stopped, what went ahead.
fn told(story: &Story) -> String {
    let stopped = |step: &&Step| matches!(step.verdict.as_str(), "blocked" | "killed" | "wiped");
    let held = story.steps.iter().filter(stopped).count() as u64;
    let went = story.steps.len() as u64 - held;
    let code = story.steps.iter().find(|step| !step.code.is_empty());
    let began = code.map_or_else(String::new, |step| format!("It began in {}. ", step.code));
    let held = match held {
        0 => "Nothing was stopped".to_owned(),
        1 => "1 step was stopped".to_owned(),
        _ => format!("{held} steps were stopped"),
    };
    let went = match went {
        0 => "none went ahead".to_owned(),
        1 => "1 went ahead and was recorded".to_owned(),
        _ => format!("{went} went ahead and were recorded"),
    };
    format!("{began}{held}, {went}.")
}

fn row(step: &Step) -> Markup {
    let clock = step.timestamp.get(11..23).unwrap_or(&step.timestamp);
    html! {
        tr class=(step.severity.word()) {
            td { time datetime=(step.timestamp) { (clock) } }
            td { (step.sentence) @if !step.detail.is_empty() { br; span.quiet { (step.detail) } } }
            td { (outcome(step)) }
            td { @if step.code.is_empty() { "not known" } @else { code { (step.code) } } }
        }
    }
}

fn techniques(story: &Story) -> Vec<String> {
    let mut all: Vec<String> = story.steps.iter().flat_map(|step| step.attack.iter().cloned()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A process, what it did, and what it started.
#[derive(Default)]
struct Node {
    name: String,
    deeds: Vec<String>,
    children: Vec<Node>,
}

fn tree(story: &Story) -> Markup {
    let mut root = Node::default();
    for step in story.steps.iter().filter(|step| !step.chain.is_empty()) {
        let mut at = &mut root;
        for name in &step.chain {
            let found = at.children.iter().position(|child| child.name == *name);
            let index = found.unwrap_or_else(|| {
                at.children.push(Node { name: name.clone(), ..Node::default() });
                at.children.len() - 1
            });
            let Some(child) = at.children.get_mut(index) else { break };
            at = child;
        }
        at.deeds.push(format!("{}: {}", step.sentence, step.verdict));
    }
    branch(&root.children)
}

fn branch(nodes: &[Node]) -> Markup {
    html! {
        ul.tree {
            @for node in nodes {
                li {
                    strong { (node.name) }
                    @if !node.deeds.is_empty() { ul { @for deed in &node.deeds { li { (deed) } } } }
                    @if !node.children.is_empty() { (branch(&node.children)) }
                }
            }
        }
    }
}
