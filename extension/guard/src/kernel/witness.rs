//! The witness: a process that does nothing but be in the group, so that a signal for the group can be told from one for
//! the guard alone. The runtime has the first already; passed on, its handler would run twice.
//!
//! No field of a signal says how it was sent. Group members get it newest first (kill(2) walks the group's list, where
//! each process is added at the head), so what the guard has of it, the witness has too. It blocks what the guard
//! passes on, and says on being asked what is pending; whatever goes wrong, a signal is passed on. It holds no
//! descriptor but its end of the line, and ends when the other one is closed. `kernel` starts it, `beside` asks it.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::sys::descriptor;
use crate::sys::process::{self, Side};

/// How long its answer may take: two switches, unless the function has all of the processor.
const PATIENCE: Duration = Duration::from_millis(100);

/// The witness, seen from the guard.
#[derive(Debug)]
pub struct Witness {
    pid: u32,
    line: UnixStream,
}

impl Witness {
    /// Starts one. The process must have one thread, and the signals to be asked about must be blocked.
    pub(super) fn start() -> io::Result<Self> {
        let (line, far) = UnixStream::pair()?;
        line.set_read_timeout(Some(PATIENCE))?;
        match process::fork().map_err(|error| io::Error::from_raw_os_error(error.0))? {
            Side::Child => {
                testify(far);
                process::exit_now(0)
            }
            Side::Parent(pid) => Ok(Self { pid, line }),
        }
    }

    /// Whether the witness has got this signal too since it was last asked.
    pub(super) fn has_got(&self, signal: i32) -> io::Result<bool> {
        let mut answer = [0];
        (&self.line).write_all(&[u8::try_from(signal).unwrap_or(0)])?;
        (&self.line).read_exact(&mut answer)?;
        Ok(answer == [1])
    }

    /// Its process id.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends it, so that nothing of the guard's is left behind.
    pub(super) fn end(self) {
        if process::kill(self.pid, libc::SIGKILL).is_ok() {
            process::wait_for(self.pid);
        }
    }
}

/// The witness's whole life.
fn testify(mut line: UnixStream) {
    close_all_but(line.as_raw_fd());
    let mut signal = [0];
    while line.read_exact(&mut signal).is_ok() {
        let [number] = signal;
        if line.write_all(&[u8::from(process::take_pending(number.into()))]).is_err() {
            return;
        }
    }
}

/// The listener above all: a copy of it would keep calls waiting that nobody answers, once the guard is gone.
fn close_all_but(kept: RawFd) {
    let listed = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<RawFd> = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    if numbers.is_empty() {
        process::exit_now(1);
    }
    for number in numbers.into_iter().filter(|number| *number != kept) {
        descriptor::close(number);
    }
}
