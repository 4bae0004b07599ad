//! A page of its own: no network, no file beside it, and nothing in it runs but the one script that stands here.
//!
//! All is in the page's text, so that it can be read where scripts do not run; the script only hides what is filtered out. The
//! page's own policy names that script and that style by their hashes: whatever a name could smuggle in would have no effect.

use super::names::marked_up;
use super::page::{SCRIPT, head};
use super::record::{Answer, Decision, Health, Kind, Record, Run};
use super::refusals::{Refusal, refusals};
use super::text::{counts, took};
use super::timeline::timeline;
use super::tree::Node;
use super::{advice, state};
use std::fmt::Write;

/// So many decisions of a run are listed one by one.
const MOST: usize = 2000;

/// The report.
pub fn html(record: &Record) -> String {
    let mut page = head();
    let health = match record.health() {
        Health::Whole => "whole",
        Health::Open => "open",
        Health::Changed => "changed",
    };
    let _infallible = write!(
        page,
        "<header>\n<h1>supervise <span>report</span></h1>\n<p class=\"record {health}\" role=\"status\"><b>{}</b> {}</p>\n<p class=\"where\">{}</p>\n</header>\n{}<main>\n",
        match record.health() {
            Health::Whole => "The record is whole.",
            Health::Open => "The record has no end.",
            Health::Changed => "The record was changed.",
        },
        // That it is whole stands before.
        marked_up(state(record).trim_start_matches("whole; ")),
        marked_up(&record.file),
        filters(record),
    );
    for run in &record.runs {
        page.push_str(&one(run));
    }
    if record.runs.is_empty() {
        page.push_str("<p class=\"nothing\">No run is in it.</p>\n");
    }
    let _infallible = write!(
        page,
        "</main>\n<footer>Not in the record, and so not here: what the kernel alone allowed or refused. supervise {}</footer>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    );
    page
}

fn filters(record: &Record) -> String {
    let mut boxes = String::new();
    let mut add = |name: &str, count: Option<usize>| {
        let count = count.map(|count| format!(" <i>{count}</i>"));
        let _infallible = writeln!(
            boxes,
            "<label class=\"{name}\"><input type=\"checkbox\" value=\"{name}\" checked>{name}{}</label>",
            count.unwrap_or_default()
        );
    };
    for answer in Answer::ALL {
        add(answer.name(), Some(record.count(answer)));
    }
    for kind in Kind::ALL {
        add(kind.name(), None);
    }
    // Without its script the page has no use for them.
    format!(
        "<form id=\"filters\" hidden>\n<input type=\"search\" placeholder=\"name, program, rule…\" aria-label=\"search\">\n{boxes}<output></output>\n</form>\n"
    )
}

fn one(run: &Run) -> String {
    let mut said = format!(
        "<section class=\"run\">\n<h2><code>{}</code></h2>\n<dl>\n",
        marked_up(&run.command)
    );
    let ending = format!("{}{}", run.ending(), took(run));
    for (name, value) in [
        ("started", &run.started),
        ("ended", &ending),
        ("in", &run.directory),
        ("policy", &run.policies.join(", narrowed by ")),
        ("session", &run.session),
        ("kernel", &run.kernel),
        ("decided", &counts(run)),
    ] {
        let _infallible = writeln!(
            said,
            "<div><dt>{name}</dt><dd>{}</dd></div>",
            marked_up(value)
        );
    }
    said.push_str("</dl>\n");
    if run.breaks > 0 {
        said.push_str("<p class=\"record open\">The record was cut off in this run, and taken up again.</p>\n");
    }
    if run.unknown > 0 {
        let _infallible = writeln!(
            said,
            "<p class=\"record open\">{} records are of a kind that this version does not know.</p>",
            run.unknown
        );
    }
    said.push_str(&layers(run));
    if let Some(picture) = timeline(run) {
        said.push_str("<h3>Timeline</h3>\n");
        let total = took(run).replace(", after ", "");
        let _infallible = writeln!(
            said,
            "<figure>{picture}<figcaption><span>0</span><span>{total}</span></figcaption></figure>"
        );
    }
    said.push_str(&refused(run));
    let tree = Node::of(run.decisions.iter());
    if !tree.below.is_empty() {
        said.push_str("<h3>What was asked for</h3>\n<div class=\"tree\">\n");
        branches(&tree, "", &mut said);
        said.push_str("</div>\n");
    }
    said.push_str(&decisions(run));
    said.push_str("</section>\n");
    said
}

fn layers(run: &Run) -> String {
    let mut said = String::from("<ul class=\"layers\" aria-label=\"layers\">\n");
    for layer in &run.layers {
        let state = match &*layer.state {
            known @ ("enforced" | "weakened" | "missing" | "unused") => known,
            _ => "missing",
        };
        let _infallible = writeln!(
            said,
            "<li class=\"{state}\" title=\"{}\">{} <i>{}</i></li>",
            marked_up(&layer.detail),
            marked_up(&layer.name),
            marked_up(&layer.state),
        );
    }
    said.push_str("</ul>\n");
    said
}

fn refused(run: &Run) -> String {
    let refusals = refusals(run);
    if refusals.is_empty() {
        return "<p class=\"nothing\">Nothing was refused.</p>\n".to_owned();
    }
    let mut said = String::from(
        "<h3>Refused</h3>\n<div class=\"wide\"><table>\n<thead><tr><th>what</th><th>why</th><th>by</th><th class=\"number\">times</th></tr></thead>\n<tbody>\n",
    );
    for refusal in refusals.iter().take(MOST) {
        said.push_str(&refusal_row(run, refusal));
    }
    said.push_str("</tbody></table></div>\n");
    said.push_str(&more(refusals.len()));
    said
}

fn refusal_row(run: &Run, refusal: &Refusal<'_>) -> String {
    let change = advice::change(run, refusal).map(|change| {
        format!(
            "<div class=\"change\">to allow it: <code>{}</code></div>",
            marked_up(&change)
        )
    });
    format!(
        "<tr {}><td><b>{}</b> <code>{}</code></td><td>{}{}</td><td>{}</td><td class=\"number\">{}</td></tr>\n",
        attributes(refusal.first),
        marked_up(&refusal.first.operation),
        marked_up(&refusal.first.object),
        marked_up(refusal.why()),
        change.unwrap_or_default(),
        marked_up(&refusal.by()),
        refusal.times,
    )
}

fn branches(node: &Node, above: &str, said: &mut String) {
    said.push_str("<ul>\n");
    for (name, child) in &node.below {
        let slash = if above.is_empty() || above.ends_with('/') {
            ""
        } else {
            "/"
        };
        let path = format!("{above}{slash}{name}");
        let mut marks = String::new();
        let mut words: Vec<&str> = Vec::new();
        for (answer, kind) in &child.marks {
            let (answer, kind) = (answer.name(), kind.name());
            let _infallible = write!(marks, " <span class=\"mark {answer}\">{kind}</span>");
            words.extend([answer, kind]);
        }
        let refused = child.refused();
        if !child.below.is_empty() && refused > 0 {
            let _infallible = write!(marks, " <span class=\"count\">{refused} refused</span>");
        }
        let leaf = match words.is_empty() {
            true => String::new(),
            false => format!(
                " data-is=\"{}\" data-text=\"{}\"",
                words.join(" "),
                marked_up(&path)
            ),
        };
        let label = format!("<code>{}</code>{marks}", marked_up(name));
        if child.below.is_empty() {
            let _infallible = writeln!(said, "<li{leaf}>{label}</li>");
        } else {
            // What was refused is to be seen at once.
            let open = if refused > 0 { " open" } else { "" };
            let _infallible = writeln!(said, "<li{leaf}><details{open}><summary>{label}</summary>");
            branches(child, &path, said);
            said.push_str("</details></li>\n");
        }
    }
    said.push_str("</ul>\n");
}

fn decisions(run: &Run) -> String {
    if run.decisions.is_empty() {
        return String::new();
    }
    let mut said = format!(
        "<details class=\"all\"><summary>All {} decisions</summary>\n<div class=\"wide\"><table>\n<thead><tr><th>time</th><th>answer</th><th>what</th><th>call</th><th>by</th><th>rule, reason</th></tr></thead>\n<tbody>\n",
        run.decisions.len()
    );
    for decision in run.decisions.iter().take(MOST) {
        said.push_str(&decision_row(decision));
    }
    said.push_str("</tbody></table></div>\n");
    said.push_str(&more(run.decisions.len()));
    said.push_str("</details>\n");
    said
}

fn decision_row(decision: &Decision) -> String {
    let mut what = format!(
        "<b>{}</b> <code>{}</code>",
        marked_up(&decision.operation),
        marked_up(&decision.object)
    );
    for (name, value) in [("as", &decision.asked), ("it said:", &decision.why)] {
        if !value.is_empty() {
            let _infallible = write!(what, " <i>{name} {}</i>", marked_up(value));
        }
    }
    let why: Vec<String> = [&decision.errno, &decision.rule, &decision.detail]
        .into_iter()
        .filter(|text| !text.is_empty())
        .map(|text| marked_up(text))
        .collect();
    format!(
        "<tr {}><td class=\"time\">{}</td><td><span class=\"mark {}\">{}</span></td><td>{what}</td><td>{}</td><td>{} <i>{}</i></td><td>{}</td></tr>\n",
        attributes(decision),
        marked_up(decision.at.get(11..23).unwrap_or(&decision.at)),
        decision.answer.name(),
        decision.answer.name(),
        marked_up(&decision.call),
        marked_up(decision.program_name()),
        marked_up(&decision.pid),
        why.join(", "),
    )
}

/// What the filters go by.
fn attributes(decision: &Decision) -> String {
    let kinds: Vec<&str> = decision.kinds.iter().map(|kind| kind.name()).collect();
    format!(
        "data-is=\"{} {}\" data-text=\"{}\"",
        decision.answer.name(),
        kinds.join(" "),
        marked_up(&format!(
            "{} {} {} {} {}",
            decision.object, decision.program, decision.rule, decision.detail, decision.call
        ))
    )
}

fn more(all: usize) -> String {
    match all.checked_sub(MOST).filter(|more| *more > 0) {
        Some(more) => format!(
            "<p class=\"record open\">{more} more are not on this page; they are in the record.</p>\n"
        ),
        None => String::new(),
    }
}
