//! The agent: Ringfence's extension (`/opt/extensions/ringfence`).
//!
//! It registers with the Extensions API, knows where in its life the environment is and publishes that in the state
//! page, keeps the ledger of /tmp, finds processes that outlive their invocation, answers the function's look-ups,
//! and writes the records that users read. It never exits by itself: an extension that exits fails the customer's
//! invocation. Everything runs on one thread; a task that panics is caught, told and started again.
//!
//! | Module | What it decides |
//! |---|---|
//! | [`early`], [`start`] | what has to be there first |
//! | [`lifecycle`] | what happens when |
//! | [`poller`], [`budget`] | which process asks for events, and how long the end of an invocation may take |
//! | [`agent`] | where the parts meet |
//! | [`platform`], [`http`], [`telemetry`] | the platform's APIs |
//! | [`control`], [`reports`], [`correlate`] | what guard, preload library and shims say |
//! | [`ledger`], [`residue`], [`survivors`], [`detect`], [`resolver`] | the platform plane |
//! | [`places`] | which client gives way when there are too many |
//! | [`proc`] | what proc(5) says of processes |
//! | [`emit`], [`protection`] | what is written, and what is claimed |

mod agent;
mod answer;
mod budget;
mod clock;
mod control;
mod correlate;
mod detect;
mod early;
mod emit;
mod hook;
mod http;
mod invocation;
mod ledger;
mod lifecycle;
mod page;
mod places;
mod platform;
mod policy;
mod poller;
mod proc;
mod protection;
mod random;
mod reports;
mod residue;
mod resolver;
mod settings;
mod start;
mod supervise;
mod survivors;
mod telemetry;

use std::time::Duration;

use tokio::task::LocalSet;

fn main() {
    // A panic is told as a record where it is caught; its text on standard error would be a second line.
    std::panic::set_hook(Box::new(|_| {}));
    let mut arguments = std::env::args_os();
    let settings = settings::Settings::new(std::env::vars_os(), arguments.next().as_ref());
    let early = early::Early::begin(&settings);
    ringfence_log::start(settings.log.as_deref(), &settings.secrets);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    match runtime {
        Ok(runtime) => LocalSet::new().block_on(&runtime, start::run(settings, early)),
        // Without a reactor nothing can be done, and going away would fail the function.
        Err(_) => loop {
            std::thread::sleep(Duration::from_hours(1));
        },
    }
}
