//! A controller that is a process of its own, asked bucket by bucket in lock step.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use numashock_controller::{Actions, Regime};
use numashock_sim::scenario::config::HostId;
use numashock_sim::{Asked, BUCKET, MODEL_VERSION, Steering, SteeringError};

use super::process::LineProcess;
use super::wire::{
    self, Counters, DecisionAnswer, HelloAnswer, HostLine, PROTOCOL, RegimeLine, SeenLine, StreamHost,
    ToController,
};

/// The longest name that a controller may give itself, characters.
const NAME_MAX: usize = 80;

/// A command that starts a controller.
#[derive(Debug)]
pub(super) struct ExternalCommand {
    typed: String,
    words: Vec<String>,
    timeout: Duration,
    /// What the process called itself, the first time.
    name: Mutex<Option<String>>,
    /// The counters that all its answers said so far.
    said: Arc<Mutex<Counters>>,
}

impl ExternalCommand {
    /// # Errors
    /// If the command has no word, or a quote without its end.
    pub(super) fn new(typed: &str, timeout: Duration) -> Result<ExternalCommand, String> {
        let words = words(typed).map_err(|problem| format!("--controller-command {typed:?}: {problem}"))?;
        Ok(ExternalCommand {
            typed: typed.to_owned(),
            words,
            timeout,
            name: Mutex::new(None),
            said: Arc::new(Mutex::new(Counters::ALL)),
        })
    }

    /// What the process called itself, once one has run.
    pub(super) fn name(&self) -> String {
        let name = self.name.lock().expect("no thread stopped while it held the name");
        name.clone().unwrap_or_else(|| "a process".to_owned())
    }

    /// The counters that every answer said; known once the runs are over.
    pub(super) fn said(&self) -> Counters {
        *self.said.lock().expect("no thread stopped while it held the counters")
    }

    /// Starts a process for one run.
    ///
    /// # Errors
    /// If it cannot be started, or does not introduce itself.
    pub(super) fn begin(&self, hosts: &[StreamHost], run: u32) -> Result<External, SteeringError> {
        let names: Vec<String> = hosts.iter().map(|host| host.host.clone()).collect();
        let first = (HostId(0), 0);
        let process = LineProcess::start(&self.words, self.timeout)
            .map_err(|problem| failed((&self.typed, run), &names, first, &problem))?;
        let mut external = External {
            typed: self.typed.clone(),
            run,
            names,
            last: first,
            said: Arc::clone(&self.said),
            process,
        };
        let name = external.greet(hosts).map_err(|problem| external.failed(&problem))?;
        let mut known = self.name.lock().expect("no thread stopped while it held the name");
        match &*known {
            Some(known) if *known != name => Err(external.failed(&format!(
                "calls itself {name:?}, and {known:?} in another run; a controller has one name"
            ))),
            _ => {
                *known = Some(name);
                Ok(external)
            }
        }
    }
}

/// A process that decides a run.
pub(super) struct External {
    typed: String,
    run: u32,
    names: Vec<String>,
    /// What it is asked about, or was last.
    last: (HostId, u32),
    said: Arc<Mutex<Counters>>,
    process: LineProcess,
}

impl External {
    fn greet(&mut self, hosts: &[StreamHost]) -> Result<String, String> {
        let hosts = (0..).zip(hosts).map(|(host, own)| HostLine {
            host,
            name: own.host.clone(),
            controller: own.controller.clone(),
            limits: own.limits,
        });
        let hello = ToController::Hello {
            protocol: PROTOCOL,
            numashock: env!("CARGO_PKG_VERSION"),
            model: MODEL_VERSION,
            run: self.run,
            bucket_ns: BUCKET.0,
            hosts: hosts.collect(),
        };
        let answer = self.process.ask(wire::line(&hello))?;
        let answer: HelloAnswer =
            wire::read(&answer).map_err(|problem| format!("its first line is no hello: {problem}"))?;
        if answer.protocol != PROTOCOL {
            return Err(format!("it speaks protocol {}: expected {PROTOCOL}", answer.protocol));
        }
        let fits = !answer.name.is_empty() && answer.name.chars().count() <= NAME_MAX;
        if !fits || answer.name.chars().any(char::is_control) {
            return Err(format!(
                "its name is {:?}: expected 1 to {NAME_MAX} characters that can be printed",
                answer.name
            ));
        }
        Ok(answer.name)
    }

    fn ask(&mut self, asked: &Asked<'_>) -> Result<(Regime, Actions), String> {
        let (host, bucket) = (asked.host.0, asked.bucket);
        let question = ToController::Bucket {
            host,
            bucket,
            end_ns: (u64::from(bucket) + 1) * BUCKET.0,
            regime: RegimeLine::of(asked.regime),
            seen: SeenLine::of(asked.seen),
        };
        let answer = self.process.ask(wire::line(&question))?;
        let answer: DecisionAnswer =
            wire::read(&answer).map_err(|problem| format!("its answer is no decision: {problem}"))?;
        if (answer.host, answer.bucket) != (host, bucket) {
            return Err(format!(
                "it answered for host {}, bucket {}: expected host {host}, bucket {bucket}, one line for each line",
                answer.host, answer.bucket
            ));
        }
        let regime = answer.regime.regime(bucket)?;
        let mut said = self.said.lock().expect("no thread stopped while it held the counters");
        *said = said.and_of(answer.regime);
        drop(said);
        let actions = match answer.actions {
            Some(actions) => actions.actions()?,
            None => Actions::of(asked.limits, regime.level()),
        };
        Ok((regime, actions))
    }

    fn failed(&self, problem: &str) -> SteeringError {
        failed((&self.typed, self.run), &self.names, self.last, problem)
    }
}

impl Steering for External {
    fn steer(&mut self, asked: &Asked<'_>) -> Result<(Regime, Actions), SteeringError> {
        self.last = (asked.host, asked.bucket);
        self.ask(asked).map_err(|problem| self.failed(&problem))
    }

    fn end(&mut self) -> Result<(), SteeringError> {
        self.process.dismiss(wire::line(&ToController::Bye {})).map_err(|problem| self.failed(&problem))
    }
}

fn failed(
    (typed, run): (&str, u32),
    names: &[String],
    (host, bucket): (HostId, u32),
    problem: &str,
) -> SteeringError {
    let name = &names[host.index()];
    let problem = format!("`{typed}`, asked in run {run} for host {name:?}: {problem}");
    SteeringError { host, bucket, problem }
}

/// Splits a command into words as a shell would, with quotes and backslashes and nothing else. No shell is started: the
/// process that is ended after a time-out is then the controller itself, and not a shell that leaves it behind.
fn words(typed: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut letters = typed.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (end, Some(begun)) if end == begun => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            ('\\', None | Some('"')) => match letters.next() {
                Some(next) => word.get_or_insert_default().push(next),
                None => return Err("ends with a backslash".to_owned()),
            },
            (space, None) if space.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("a quote {quote} has no end"));
    }
    words.extend(word);
    if words.is_empty() { Err("names no program".to_owned()) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn a_command_is_split_as_a_shell_would() {
        let split = |typed: &str| words(typed).unwrap();
        assert_eq!(split("python3  my.py\t--fast"), ["python3", "my.py", "--fast"]);
        assert_eq!(split("'/a b/py' \"it's\" ''"), ["/a b/py", "it's", ""]);
        assert_eq!(split(r#"a\ b "c\"d" 'e\f' g"h"i"#), ["a b", "c\"d", "e\\f", "ghi"]);
        assert_eq!(split("echo $HOME ; ls *"), ["echo", "$HOME", ";", "ls", "*"]);
        for wrong in ["", "  ", "a 'b", "a \"b", "a\\"] {
            assert!(words(wrong).is_err(), "{wrong:?}");
        }
    }
}
