//! Readers of documents, fenced in: one that panics, hangs or devours memory costs its own document and nothing else.
//!
//! ```text
//! bytes → extract() in a process of its own (vecdb's command): killed when its time is over, its memory bounded by the system
//!       → extract() in a thread of its own (the library alone): given up when its time is over, its panic caught
//! ```

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Format;
use super::extract::{Extracted, extract};

/// A process that calls [`serve`].
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub path: PathBuf,
    pub arguments: Vec<String>,
}

/// Reads documents one after another.
pub(super) struct Contained {
    program: Option<Program>,
    time: Duration,
    running: Option<Running>,
}

struct Running {
    child: Child,
    requests: BufWriter<ChildStdin>,
    answers: Receiver<io::Result<Answer>>,
}

/// Asked for one document: this as a line of JSON, and then the bytes.
#[derive(Serialize, Deserialize)]
struct Request {
    format: Format,
    bytes: usize,
}

type Answer = Result<Extracted, String>;

/// Of a thread that reads, in bytes.
const STACK: usize = 16 << 20;

const PANICKED: &str =
    "its reader failed on it: the file is damaged, or of a kind that the reader does not know";

impl Contained {
    pub fn new(program: Option<Program>, time: Duration) -> Self {
        Self {
            program,
            time,
            running: None,
        }
    }

    /// `Err` says what is wrong with the document, or what its reader did.
    pub fn extract(&mut self, format: Format, bytes: Vec<u8>) -> Answer {
        let Some(program) = self.program.clone() else {
            return self.in_thread(format, bytes);
        };
        let answer = self.in_process(&program, format, &bytes);
        // The process that failed is not asked again; the next document gets a new one.
        answer.unwrap_or_else(|what| {
            self.stop();
            Err(what)
        })
    }

    fn in_thread(&self, format: Format, bytes: Vec<u8>) -> Answer {
        let (sender, answers) = channel();
        let work = move || {
            let _ = sender.send(guarded(format, &bytes));
        };
        // What nests deep takes a deep stack.
        let thread = std::thread::Builder::new()
            .name("vecdb-reader".into())
            .stack_size(STACK);
        thread
            .spawn(work)
            .map_err(|error| format!("no thread to read it in: {error}"))?;
        match answers.recv_timeout(self.time) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(self.too_long()),
            Err(RecvTimeoutError::Disconnected) => Err(PANICKED.into()),
        }
    }

    /// The outer error says that the process is of no more use.
    fn in_process(
        &mut self,
        program: &Program,
        format: Format,
        bytes: &[u8],
    ) -> Result<Answer, String> {
        let running = match &mut self.running {
            Some(running) => running,
            None => {
                let started = Running::start(program);
                let failed = |error| {
                    format!(
                        "{} cannot be started to read it: {error}",
                        program.path.display()
                    )
                };
                self.running.insert(started.map_err(failed)?)
            }
        };
        if running.ask(format, bytes).is_err() {
            return Err(running.end());
        }
        match running.answers.recv_timeout(self.time) {
            Ok(Ok(answer)) => Ok(answer),
            Err(RecvTimeoutError::Timeout) => Err(self.too_long()),
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => Err(running.end()),
        }
    }

    fn too_long(&self) -> String {
        format!("reading it takes longer than {} s", self.time.as_secs())
    }

    fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Running {
    fn start(program: &Program) -> io::Result<Self> {
        let mut child = Command::new(&program.path)
            .args(&program.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A panic's message is of no use to who asked for a document.
            .stderr(Stdio::null())
            .spawn()?;
        let missing = || io::Error::other("it has no standard input or output");
        let requests = child.stdin.take().ok_or_else(missing)?;
        let answers = child.stdout.take().ok_or_else(missing)?;
        Ok(Self {
            child,
            requests: BufWriter::new(requests),
            answers: listen(answers),
        })
    }

    fn ask(&mut self, format: Format, bytes: &[u8]) -> io::Result<()> {
        let request = Request {
            format,
            bytes: bytes.len(),
        };
        write_line(&mut self.requests, &request)?;
        self.requests.write_all(bytes)?;
        self.requests.flush()
    }

    /// How the process ended.
    fn end(&mut self) -> String {
        let _ = self.child.kill();
        #[cfg(unix)]
        {
            use std::os::unix::process::ExitStatusExt;
            // SIGABRT is how Rust ends when there is no more memory.
            let aborted = |status: std::process::ExitStatus| status.signal() == Some(6);
            if self.child.wait().is_ok_and(aborted) {
                return "reading it takes more memory than its reader may have, or the reader failed; `--max-memory` allows more"
                    .into();
            }
        }
        PANICKED.into()
    }
}

/// Answers on a thread of their own, so that waiting for them can end.
fn listen(answers: ChildStdout) -> Receiver<io::Result<Answer>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut answers = BufReader::new(answers);
        loop {
            let answer = read_line(&mut answers);
            let is_end = answer.is_err();
            if sender.send(answer).is_err() || is_end {
                return;
            }
        }
    });
    receiver
}

/// What a process does that readers are contained in ([`Sources::reader_process`](super::Sources::reader_process)): it reads
/// documents from `requests` and writes their texts to `answers`, until there are no more. The two speak a protocol of this
/// version's own, so both ends must be of the same build.
///
/// # Errors
/// When a request cannot be read or an answer not written.
pub fn serve(requests: impl Read, answers: impl Write) -> io::Result<()> {
    let (mut requests, mut answers) = (BufReader::new(requests), BufWriter::new(answers));
    loop {
        let Request { format, bytes } = match read_line(&mut requests) {
            Ok(request) => request,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut document = vec![0; bytes];
        requests.read_exact(&mut document)?;
        write_line(&mut answers, &guarded(format, &document))?;
        answers.flush()?;
    }
}

fn guarded(format: Format, bytes: &[u8]) -> Answer {
    let read = AssertUnwindSafe(|| extract(format, bytes));
    catch_unwind(read).unwrap_or_else(|_| Err(PANICKED.into()))
}

/// JSON holds no line end of its own.
fn write_line<T: Serialize>(out: &mut impl Write, message: &T) -> io::Result<()> {
    serde_json::to_writer(&mut *out, message)?;
    out.write_all(b"\n")
}

fn read_line<T: for<'a> Deserialize<'a>>(from: &mut impl io::BufRead) -> io::Result<T> {
    let mut line = Vec::new();
    if from.read_until(b'\n', &mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&line)?)
}

#[cfg(all(test, feature = "html", unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Contained {
        let program = Program {
            path: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
        };
        Contained::new(Some(program), Duration::from_secs(2))
    }

    fn ask(contained: &mut Contained) -> Answer {
        contained.extract(Format::Html, b"<html><p>text".to_vec())
    }

    #[test]
    fn a_process_that_hangs_or_dies_costs_one_document() {
        let slow = ask(&mut shell("sleep 100")).expect_err("hangs");
        assert_eq!(slow, "reading it takes longer than 2 s");
        assert_eq!(ask(&mut shell("exit 3")).expect_err("dies"), PANICKED);
        let memory = ask(&mut shell("kill -ABRT $$")).expect_err("aborts");
        assert!(memory.contains("memory"), "{memory}");
        assert_eq!(
            ask(&mut shell("echo nonsense; cat")).expect_err("lies"),
            PANICKED
        );
        // What fails once may do its work the next time: there is a new process.
        let folder = tempfile::tempdir().expect("a folder");
        let mark = folder.path().join("mark");
        let answer = r#"{"Ok":{"text":"T","title":null,"fields":{},"outline":{}}}"#;
        let mark = mark.display();
        let script = format!("test -e {mark} || {{ touch {mark}; exit 1; }}; echo '{answer}'; cat");
        let mut twice = shell(&script);
        assert!(ask(&mut twice).is_err());
        assert_eq!(ask(&mut twice).expect("the second one answers").text, "T");
    }

    #[test]
    fn documents_are_served_one_after_another() {
        let mut requests = Vec::new();
        for page in ["<html><p>one", "<html>", "<html><p>two"] {
            let request = Request {
                format: Format::Html,
                bytes: page.len(),
            };
            write_line(&mut requests, &request).expect("written");
            requests.extend(page.as_bytes());
        }
        let mut answers = Vec::new();
        serve(&requests[..], &mut answers).expect("serves");
        let mut answers = &answers[..];
        let mut next = || read_line::<Answer>(&mut answers).expect("an answer");
        assert_eq!(next().expect("read").text, "one");
        assert_eq!(next().expect_err("empty"), "it holds no text");
        assert_eq!(next().expect("read").text, "two");
    }

    #[test]
    fn without_a_process_a_thread_reads() {
        let mut contained = Contained::new(None, Duration::from_secs(60));
        assert_eq!(ask(&mut contained).expect("read").text, "text");
    }
}
