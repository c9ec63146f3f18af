//! What function and extensions print, line by line, in the order in which it was written.
//!
//! Decides where a line ends and how long it may be; a log descriptor's records come in frames instead. One thread reads all pipes; `flush` reads what is there on the
//! caller's thread, so that an invocation's lines come before its END. Must not know which process prints.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::frames::{self, Frame};
use super::records::Origin;

/// The longest event that CloudWatch Logs takes, in bytes: longer lines are cut there and go on in the next record.
const LINE_MAX: usize = 256 * 1024;
/// How often the thread looks for new pipes, in milliseconds.
const LOOK_EVERY: u16 = 20;
/// Most reads of one pipe in a row, so that one that never ends cannot keep the others waiting.
const READS_MAX: usize = 64;

type OnLine = Box<dyn Fn(Origin, &str) + Send + Sync>;

/// All pipes of the environment.
pub(crate) struct Pipes {
    open: Mutex<Vec<Pipe>>,
    on_line: OnLine,
}

/// What separates the records of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Lines,
    Frames,
}

struct Pipe {
    reader: Arc<PipeReader>,
    origin: Origin,
    form: Form,
    partial: Vec<u8>,
}

impl Pipes {
    /// Starts the reading thread, which ends when the last handle is dropped.
    pub(crate) fn start(on_line: impl Fn(Origin, &str) + Send + Sync + 'static) -> Arc<Self> {
        let pipes = Arc::new(Self { open: Mutex::default(), on_line: Box::new(on_line) });
        let weak = Arc::downgrade(&pipes);
        thread::spawn(move || {
            while let Some(pipes) = weak.upgrade() {
                pipes.await_input();
                pipes.flush();
            }
        });
        pipes
    }

    /// Takes over a pipe until its end.
    pub(crate) fn add(&self, reader: PipeReader, origin: Origin, form: Form) -> io::Result<()> {
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let pipe = Pipe { reader: Arc::new(reader), origin, form, partial: Vec::new() };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).push(pipe);
        Ok(())
    }

    /// Passes on everything that has been written until now.
    pub(crate) fn flush(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain_mut(|pipe| pipe.drain(&self.on_line));
    }

    fn await_input(&self) {
        let readers: Vec<Arc<PipeReader>> = {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.iter().map(|pipe| Arc::clone(&pipe.reader)).collect()
        };
        let mut sources: Vec<PollFd<'_>> =
            readers.iter().map(|reader| PollFd::new(reader.as_fd(), PollFlags::POLLIN)).collect();
        let _ = poll(&mut sources, PollTimeout::from(LOOK_EVERY));
    }
}

impl Pipe {
    /// Reads what is there; `false` at the end of the pipe, when an unfinished line is passed on too.
    fn drain(&mut self, on_line: &OnLine) -> bool {
        let mut chunk = [0u8; 16 * 1024];
        for _ in 0..READS_MAX {
            match (&*self.reader).read(&mut chunk) {
                Ok(0) => return self.end(on_line),
                Ok(length) => self.take(chunk.get(..length).unwrap_or_default(), on_line),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.end(on_line),
            }
        }
        true
    }

    fn end(&mut self, on_line: &OnLine) -> bool {
        pass(self.origin, &std::mem::take(&mut self.partial), on_line);
        false
    }

    fn take(&mut self, bytes: &[u8], on_line: &OnLine) {
        if self.form == Form::Lines {
            return self.take_lines(bytes, on_line);
        }
        self.partial.extend(bytes);
        loop {
            match frames::first(&self.partial, LINE_MAX) {
                Frame::Partial => return,
                Frame::Whole { from, to } => {
                    let frame: Vec<u8> = self.partial.drain(..to).collect();
                    pass(self.origin, frame.get(from..).unwrap_or_default(), on_line);
                }
                // Whatever writes no frames writes text: it is shown rather than lost.
                Frame::Broken => {
                    self.form = Form::Lines;
                    let bytes = std::mem::take(&mut self.partial);
                    return self.take_lines(&bytes, on_line);
                }
            }
        }
    }

    fn take_lines(&mut self, bytes: &[u8], on_line: &OnLine) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            self.partial.extend(piece);
            if piece.ends_with(b"\n") || self.partial.len() >= LINE_MAX {
                let line = std::mem::take(&mut self.partial);
                pass(self.origin, &line, on_line);
            }
        }
    }
}

/// Runtime clients write several lines as one event by putting carriage returns between them.
fn pass(origin: Origin, line: &[u8], on_line: &OnLine) {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\n', '\r']).replace('\r', "\n");
    if !text.is_empty() {
        on_line(origin, &text);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn lines_come_whole_and_a_flush_brings_all_that_was_written() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let copy = Arc::clone(&seen);
        let pipes = Pipes::start(move |_, line| copy.lock().unwrap().push(line.to_owned()));
        let (reader, mut writer) = io::pipe().unwrap();
        pipes.add(reader, Origin::Function, Form::Lines).unwrap();
        writer.write_all(b"one\ntw").unwrap();
        pipes.flush();
        assert_eq!(*seen.lock().unwrap(), ["one"]);
        writer.write_all(b"o\r more\nend").unwrap();
        drop(writer);
        pipes.flush();
        assert_eq!(*seen.lock().unwrap(), ["one", "two\n more", "end"]);
    }

    #[test]
    fn frames_become_records_and_what_is_none_is_shown_as_lines() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let copy = Arc::clone(&seen);
        let pipes = Pipes::start(move |_, line| copy.lock().unwrap().push(line.to_owned()));
        let (reader, mut writer) = io::pipe().unwrap();
        pipes.add(reader, Origin::Function, Form::Frames).unwrap();
        for text in ["one\ntwo", "three"] {
            let mut frame = vec![0xa5, 0x5a, 0, 3];
            frame.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            frame.extend([0; 8]);
            frame.extend(text.bytes());
            writer.write_all(&frame).unwrap();
        }
        writer.write_all(b"no frame\nat all\n").unwrap();
        drop(writer);
        pipes.flush();
        assert_eq!(*seen.lock().unwrap(), ["one\ntwo", "three", "no frame", "at all"]);
    }
}
