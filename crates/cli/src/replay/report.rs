//! What a replay found, for people, programs and CI systems.

use numashock_controller::Evidence;
use numashock_experiment::decisions::{Cause, Deciders, Row, Shortfall, Verdict, rests_on};
use numashock_report::junit::{Case, CaseOutcome, Suite, junit};
use numashock_sim::scenario::controller::ControllerConfig;
use serde_json::{Value, json};

use super::ReplayArgs;
use crate::steering::wire::{self, ActionsLine, SeenLine};
use crate::steering::written;

/// What was found.
pub(super) struct Found {
    pub(super) text: String,
    pub(super) json: Value,
    pub(super) parts: Vec<Part>,
}

/// A part that has a verdict of its own.
pub(super) struct Part {
    pub(super) name: String,
    /// The first difference in a line, and more of it.
    pub(super) different: Option<[String; 2]>,
}

impl Found {
    pub(super) fn differs(&self) -> bool {
        self.parts.iter().any(|part| part.different.is_some())
    }
}

/// Writes the files that were asked for, of a replay that was not possible as well.
///
/// # Errors
/// If one cannot be written.
pub(super) fn write(arguments: &ReplayArgs, found: &Result<Found, String>) -> Result<(), String> {
    let write = |path: &Option<std::path::PathBuf>, text: &dyn Fn() -> String| {
        let Some(path) = path else { return Ok(()) };
        std::fs::write(path, text()).map_err(|error| format!("cannot write {}: {error}", path.display()))
    };
    write(&arguments.junit, &|| as_junit(arguments, found))?;
    write(&arguments.markdown, &|| as_markdown(found))
}

fn as_junit(arguments: &ReplayArgs, found: &Result<Found, String>) -> String {
    let what = arguments.trace.display().to_string();
    let case = |name: &str, outcome| Case {
        class: "numashock.replay".to_owned(),
        name: name.split_whitespace().collect::<Vec<_>>().join(" "),
        outcome,
    };
    let cases = match found {
        Err(problem) => {
            vec![case(&what, CaseOutcome::Error("not-possible", problem.clone(), problem.clone()))]
        }
        Ok(found) => found
            .parts
            .iter()
            .map(|part| match &part.different {
                None => case(&part.name, CaseOutcome::Passed),
                Some([first, all]) => {
                    case(&part.name, CaseOutcome::Failed("different", first.clone(), all.clone()))
                }
            })
            .collect(),
    };
    let properties = vec![("replayed".to_owned(), what)];
    junit(&[Suite { name: "numashock replay".to_owned(), properties, cases }])
}

/// Texts stand in an indented block, in which no sign has a meaning.
fn as_markdown(found: &Result<Found, String>) -> String {
    let (verdict, text) = match found {
        Err(problem) => ("not possible", problem),
        Ok(found) if found.differs() => ("different", &found.text),
        Ok(found) => ("the same", &found.text),
    };
    let lines: Vec<String> = text.lines().map(|line| format!("    {line}").trim_end().to_owned()).collect();
    format!("## numashock replay: {verdict}\n\n{}\n", lines.join("\n"))
}

/// Decisions that follow each other: a host's, of one run.
pub(super) struct Series {
    pub(super) name: String,
    /// Who decided, as far as it is known.
    pub(super) old: Option<ControllerConfig>,
    pub(super) new: Option<ControllerConfig>,
}

/// Two controllers side by side.
pub(super) struct Report {
    /// What was replayed.
    pub(super) title: String,
    pub(super) old: String,
    pub(super) new: String,
    pub(super) closed: bool,
    /// By the host of a row.
    pub(super) series: Vec<Series>,
    pub(super) rows: Vec<Row>,
    pub(super) shortfalls: Option<[Option<Shortfall>; 2]>,
}

/// What explains a decision: what it rested on, or what the built-in controller would have decided instead.
#[derive(Default)]
struct Explained {
    reasons: Vec<Evidence>,
    instead: Option<String>,
}

impl Explained {
    fn of(config: Option<&ControllerConfig>, verdict: &Verdict) -> Explained {
        let Some(config) = config else { return Explained::default() };
        let (regime, actions) = config.policy()(&config.limits, verdict.before, &verdict.seen);
        let own = Verdict { regime, actions, ..*verdict };
        let reasons = rests_on(config, &own);
        if regime.level() == verdict.regime.level() && actions == verdict.actions {
            return Explained { reasons, instead: None };
        }
        let because = if reasons.is_empty() { "" } else { ", because " };
        let instead = format!(
            "the built-in {} would decide {} here{because}{}",
            written(config.kind),
            regime.name(),
            joined(&reasons)
        );
        Explained { reasons: Vec::new(), instead: Some(instead) }
    }
}

fn joined(reasons: &[Evidence]) -> String {
    reasons.iter().map(Evidence::to_string).collect::<Vec<_>>().join("; ")
}

impl Report {
    pub(super) fn found(&self, arguments: &ReplayArgs) -> Found {
        let parts = self.series.iter().zip(0..).map(|(series, host)| {
            let first = self.rows.iter().find(|row| row.host == host && !row.decides_alike());
            let different = first.map(|row| {
                let all = self.row(row);
                let mut first = format!("{}: ", self.place(row));
                first += all.lines().find(|line| line.contains("because")).unwrap_or_default().trim();
                [first.trim_end_matches([':', ' ']).to_owned(), format!("{}\n{all}", self.place(row))]
            });
            Part { name: format!("{}, {}", self.title, series.name), different }
        });
        Found {
            text: self.text(arguments),
            json: self.json(arguments.only_different),
            parts: parts.collect(),
        }
    }

    fn differing(&self) -> usize {
        self.rows.iter().filter(|row| !row.decides_alike()).count()
    }

    /// Rows from the first difference of decisions on, and before it the first of memories.
    fn shown(&self, only_different: bool) -> Vec<&Row> {
        let Some(first) = self.rows.iter().position(|row| !row.decides_alike()) else { return Vec::new() };
        let memory = self.rows[..first].iter().position(|row| !row.remembers_alike());
        let behind = self.rows[first..].iter().filter(|row| !only_different || !row.decides_alike());
        memory.map(|place| &self.rows[place]).into_iter().chain(behind).collect()
    }

    fn text(&self, arguments: &ReplayArgs) -> String {
        let how = if self.closed { "closed loop: the run was simulated anew" } else { "open loop" };
        let mut text = format!("{}\nold: {}\nnew: {}, {how}\n", self.title, self.old, self.new);
        text += &format!("{} of {} decisions differ\n", self.differing(), self.rows.len());
        let shown = self.shown(arguments.only_different);
        let most = if arguments.lines == 0 { shown.len() } else { arguments.lines };
        let first = shown.iter().position(|row| !row.decides_alike());
        for (place, row) in shown.iter().take(most).enumerate() {
            let mark = match (row.decides_alike(), first) {
                (true, Some(first)) if place < first => "remembers otherwise from here on",
                (true, _) => "the same",
                (false, Some(first)) if place == first => "first difference",
                (false, _) => "DIFFERENT",
            };
            text += &format!("\n{mark}: {}\n{}", self.place(row), self.row(row));
        }
        if let Some(rest) = shown.get(most..).filter(|rest| !rest.is_empty()) {
            let differ = rest.iter().filter(|row| !row.decides_alike()).count();
            text += &format!(
                "\n... and {} more, of which {differ} differ; --lines 0 prints all, --only-different those that differ\n",
                rest.len()
            );
        }
        if let Some([old, new]) = &self.shortfalls {
            text += &format!("\n{}\n", worth(*old, *new));
        }
        text
    }

    fn series(&self, row: &Row) -> &Series {
        &self.series[usize::from(row.host)]
    }

    fn place(&self, row: &Row) -> String {
        let bucket = u64::from(row.bucket);
        format!("bucket {bucket} ({bucket}s to {}s), {}", bucket + 1, self.series(row).name)
    }

    fn explained(&self, row: &Row) -> ([Explained; 2], Vec<Cause>) {
        let Series { old, new, .. } = self.series(row);
        let explained = [Explained::of(old.as_ref(), &row.old), Explained::of(new.as_ref(), &row.new)];
        let causes = match (old, new) {
            (Some(old), Some(new)) if explained.iter().all(|one| one.instead.is_none()) => {
                Deciders { old: *old, new: *new, foreign: [false; 2] }.causes(row)
            }
            _ => Vec::new(),
        };
        (explained, causes)
    }

    fn row(&self, row: &Row) -> String {
        let ([old, new], causes) = self.explained(row);
        let mut text = String::new();
        let line = |who: &str, verdict: &Verdict, explained: &Explained| {
            let regime = verdict.regime;
            let counts = format!("held {}, calm {}, blind {}", regime.held(), regime.calm(), regime.blind());
            let reasons = joined(&explained.reasons);
            let line =
                format!("  {who}  {} -> {} ({counts})  {reasons}", verdict.before.name(), regime.name());
            let instead = explained.instead.iter().map(|instead| format!("       {instead}\n"));
            format!("{}\n{}", line.trim_end(), instead.collect::<String>())
        };
        let (first, second) = (line("old", &row.old, &old), line("new", &row.new, &new));
        if row.decides_alike() && first[5..] == second[5..] {
            return line("both", &row.new, &new);
        }
        text += &first;
        text += &second;
        for cause in causes {
            text += &format!("  {}\n", told(&cause));
        }
        for (name, old, new) in wire::differing(&row.old.actions, &row.new.actions) {
            text += &format!("  action {name}: {old} | {new}\n");
        }
        text
    }

    fn json(&self, only_different: bool) -> Value {
        let shortfall = |one: Option<Shortfall>| {
            one.map(|one| json!({"parents": one.parents, "mean_micro_bp": one.mean, "q95_micro_bp": one.q95}))
        };
        let rows: Vec<Value> = self.shown(only_different).into_iter().map(|row| self.row_json(row)).collect();
        let first = self.rows.iter().find(|row| !row.decides_alike());
        json!({
            "run": self.title,
            "old": self.old,
            "controller": self.new,
            "closed_loop": self.closed,
            "decisions": self.rows.len(),
            "differing": self.differing(),
            "first_difference": first.map(|row| json!({"bucket": row.bucket, "host": self.series(row).name})),
            "rows": rows,
            "shortfall": self.shortfalls.map(|[old, new]| json!({"old": shortfall(old), "new": shortfall(new)})),
        })
    }

    fn row_json(&self, row: &Row) -> Value {
        let side = |verdict: &Verdict, explained: &Explained| {
            let regime = verdict.regime;
            json!({
                "from": verdict.before.name(),
                "level": regime.name(),
                "held": regime.held(),
                "calm": regime.calm(),
                "blind": regime.blind(),
                "seen": SeenLine::of(&verdict.seen),
                "actions": ActionsLine::of(&verdict.actions),
                "reasons": explained.reasons.iter().map(evidence).collect::<Vec<_>>(),
                "built_in": explained.instead,
            })
        };
        let ([old, new], causes) = self.explained(row);
        let cause = |cause: &Cause| json!({"old": cause.old.as_ref().map(evidence), "new": cause.new.as_ref().map(evidence)});
        let actions = wire::differing(&row.old.actions, &row.new.actions);
        json!({
            "bucket": row.bucket,
            "end_ns": row.at().0,
            "host": self.series(row).name,
            "decides_alike": row.decides_alike(),
            "old": side(&row.old, &old),
            "new": side(&row.new, &new),
            "causes": causes.iter().map(cause).collect::<Vec<_>>(),
            "actions_that_differ": actions.into_iter().map(|(name, ..)| name).collect::<Vec<_>>(),
        })
    }
}

fn evidence(one: &Evidence) -> Value {
    let bound = one.bound();
    json!({
        "metric": one.subject.name(),
        "value": one.value,
        "limit": bound.key,
        "bound": bound.value,
        "standing": format!("{:?}", one.standing).to_lowercase(),
        "text": one.to_string(),
    })
}

/// What stood on other sides of its limit: once if the limit is the same, else with both.
fn told(cause: &Cause) -> String {
    let shown = |one: Option<Evidence>| one.map_or_else(|| "not looked at".to_owned(), |one| one.to_string());
    format!("because  old: {}  |  new: {}", shown(cause.old), shown(cause.new))
}

/// How the shortfall of the parents differs.
fn worth(old: Option<Shortfall>, new: Option<Shortfall>) -> String {
    let (Some(old), Some(new)) = (old, new) else {
        return "shortfall: no parent has one in both runs".to_owned();
    };
    let change = |old: i64, new: i64| {
        let sign = if new >= old { "+" } else { "" };
        format!("{} -> {} ({sign}{})", points(old), points(new), points(new - old))
    };
    let parents = new.parents;
    format!(
        "shortfall of {parents} parents, bp: mean {}, q95 {}",
        change(old.mean, new.mean),
        change(old.q95, new.q95)
    )
}

/// Millionths of a basis point as basis points.
fn points(micro: i64) -> String {
    let sign = if micro < 0 { "-" } else { "" };
    let size = micro.unsigned_abs();
    format!("{sign}{}.{:04}", size / 1_000_000, size % 1_000_000 / 100)
}
