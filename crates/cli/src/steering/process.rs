//! A process that is spoken with line by line. Nothing it does, or leaves undone, holds this one up for longer than the
//! time-out, and nothing it prints takes more memory than a line.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::wire::{LINE_MAX, shown};

/// The longest line of its standard error that is passed on whole, bytes.
const NOISE_MAX: usize = 4 * 1024;
/// How often the end of a process is looked for.
const LOOK: Duration = Duration::from_millis(5);
/// How long its last words are waited for when it has ended.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What its standard output brought.
enum Heard {
    Line(String),
    /// The output ended within a line.
    Half(String),
    TooLong,
    NotText,
}

/// A process with a conversation in lines; ended when it is dropped, with whatever it started, unless it ended of itself.
pub(super) struct LineProcess {
    child: Child,
    /// Its end was seen, so that its number may be another's by now.
    ended: bool,
    /// Lines to write; gone when nothing more will be said.
    to: Option<Sender<String>>,
    from: Receiver<Heard>,
    noise: Arc<Mutex<String>>,
    noise_ended: JoinHandle<()>,
    timeout: Duration,
}

impl LineProcess {
    /// Starts a program by its name or path.
    ///
    /// # Errors
    /// If the system cannot start it.
    pub(super) fn start(words: &[String], timeout: Duration) -> Result<LineProcess, String> {
        let (program, arguments) = words.split_first().ok_or("no program is named")?;
        let mut command = Command::new(program);
        command.args(arguments);
        // A group of its own, so that what it starts can be ended with it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child =
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(|error| format!("cannot be started: {error}; check the command's first word"))?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (to, lines) = channel();
        let (heard, from) = sync_channel(1);
        let noise = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&noise);
        let input = input.expect("its standard input was asked for");
        let output = output.expect("its standard output was asked for");
        let errors = errors.expect("its standard error was asked for");
        thread::spawn(move || write_lines(input, &lines));
        thread::spawn(move || read_lines(output, &heard));
        let noise_ended = thread::spawn(move || pass_on(errors, &kept));
        Ok(LineProcess { child, ended: false, to: Some(to), from, noise, noise_ended, timeout })
    }

    /// Says a line and waits for one.
    ///
    /// # Errors
    /// If none comes within the time-out, or what comes is none.
    pub(super) fn ask(&mut self, line: String) -> Result<String, String> {
        self.say(line);
        match self.from.recv_timeout(self.timeout) {
            Ok(Heard::Line(line)) => Ok(line),
            Ok(Heard::Half(text)) => Err(format!("its output ended within a line: {}", shown(&text))),
            Ok(Heard::TooLong) => Err(format!("its line is longer than {LINE_MAX} bytes")),
            Ok(Heard::NotText) => Err("its line is not UTF-8".to_owned()),
            Err(RecvTimeoutError::Timeout) => Err(format!(
                "no whole line within {:?}, so it was ended; see that it flushes its output after each line, or raise \
                 --controller-timeout",
                self.timeout
            )),
            Err(RecvTimeoutError::Disconnected) => Err(self.gone()),
        }
    }

    /// Says the last line, and waits until the process has ended of itself.
    ///
    /// # Errors
    /// If it says something more, does not end within the time-out, or ends badly.
    pub(super) fn dismiss(&mut self, line: String) -> Result<(), String> {
        self.say(line);
        self.to = None;
        match self.from.recv_timeout(self.timeout) {
            Err(RecvTimeoutError::Disconnected) => {}
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!("did not end within {:?} after \"bye\"", self.timeout));
            }
            Ok(Heard::Line(text) | Heard::Half(text)) => {
                return Err(format!("said more than it was asked: {}", shown(&text)));
            }
            Ok(Heard::TooLong | Heard::NotText) => return Err("said more than it was asked".to_owned()),
        }
        match self.ended_within(self.timeout) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("ended with {status} after \"bye\"{}", self.last_words())),
            None => Err(format!("did not end within {:?} after \"bye\"", self.timeout)),
        }
    }

    fn say(&mut self, line: String) {
        if let Some(to) = &self.to {
            // Whoever does not listen any more does not answer either, and that is found out next.
            let _ = to.send(line + "\n");
        }
    }

    /// Why no more lines come.
    fn gone(&mut self) -> String {
        match self.ended_within(self.timeout.min(LAST_WORDS)) {
            Some(status) => format!("it ended ({status}) before it answered{}", self.last_words()),
            None => "it closed its standard output before it answered".to_owned(),
        }
    }

    fn ended_within(&mut self, most: Duration) -> Option<ExitStatus> {
        let mut waited = Duration::ZERO;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    self.ended = true;
                    return Some(status);
                }
                Ok(None) if waited < most => thread::sleep(LOOK),
                Ok(None) | Err(_) => return None,
            }
            waited += LOOK;
        }
    }

    /// The last line that an ended process wrote to its standard error.
    fn last_words(&self) -> String {
        let mut waited = Duration::ZERO;
        while !self.noise_ended.is_finished() && waited < LAST_WORDS {
            thread::sleep(LOOK);
            waited += LOOK;
        }
        let words = self.noise.lock().map_or_else(|_| String::new(), |words| words.clone());
        if words.is_empty() { words } else { format!("; its last words: {}", shown(&words)) }
    }
}

impl Drop for LineProcess {
    fn drop(&mut self) {
        if !self.ended {
            end_group(self.child.id());
        }
        // It may have ended already, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends the group of a process whose end was not seen yet: until then nobody else has its number. The standard library has no
/// call for groups, but any shell has; where there is none, only the process itself is ended.
fn end_group(leader: u32) {
    if cfg!(unix) {
        let _ = Command::new("sh")
            .args(["-c", &format!("kill -s KILL -- -{leader}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// On a thread of its own, since a process that does not read would hold the writer up.
fn write_lines(mut to: ChildStdin, lines: &Receiver<String>) {
    for line in lines {
        if to.write_all(line.as_bytes()).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

/// On a thread of its own, so that waiting for a line can end.
fn read_lines(from: ChildStdout, heard: &SyncSender<Heard>) {
    let mut from = BufReader::new(from);
    while let Some(line) = next_line(&mut from, LINE_MAX) {
        let heard_line = match String::from_utf8(line) {
            Err(_) => Heard::NotText,
            Ok(text) if text.ends_with('\n') => Heard::Line(text),
            Ok(text) if text.len() > LINE_MAX => Heard::TooLong,
            Ok(text) => Heard::Half(text),
        };
        let goes_on = matches!(heard_line, Heard::Line(_));
        if heard.send(heard_line).is_err() || !goes_on {
            return;
        }
    }
}

/// A line with its end, or what there is of it, or one byte more than the limit.
fn next_line(from: &mut impl BufRead, most: usize) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let read = from.take(most as u64 + 1).read_until(b'\n', &mut line);
    (read.is_ok() && !line.is_empty()).then_some(line)
}

/// Passes on what a process writes to its standard error, line by line, and keeps the last one.
fn pass_on(from: ChildStderr, kept: &Mutex<String>) {
    let mut from = BufReader::new(from);
    while let Some(line) = next_line(&mut from, NOISE_MAX) {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        // Nobody may be there to read it.
        let _ = writeln!(std::io::stderr(), "controller: {text}");
        match kept.lock() {
            Ok(mut kept) if !text.is_empty() => text.clone_into(&mut kept),
            _ => {}
        }
    }
}
