//! Where in its life the environment is: phase, number, request.
//!
//! It keeps the state and publishes it; what begins and ends an invocation is decided by [`crate::lifecycle`].

use ringfence_policy::Phase;
use ringfence_records::page::Invocation;
use ringfence_records::record::Moment;
use ringfence_records::time::Timestamp;

/// The invocation, or the phase without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Current {
    /// Part of the environment's life.
    pub(crate) phase: Phase,
    /// Counts from 1; 0 before the first.
    pub(crate) number: u64,
    /// Request id; empty before the first.
    pub(crate) request: String,
    /// X-Ray trace id; empty where it is not known.
    pub(crate) trace: String,
    /// Whether the runtime's own executable runs.
    pub(crate) launched: bool,
}

impl Default for Current {
    fn default() -> Self {
        Self { phase: Phase::Init, number: 0, request: String::new(), trace: String::new(), launched: false }
    }
}

impl Current {
    /// The next invocation.
    pub(crate) fn begin(&mut self, request: &str, trace: &str) {
        self.phase = Phase::Invoke;
        self.number += 1;
        self.launched = true;
        request.clone_into(&mut self.request);
        trace.clone_into(&mut self.trace);
    }

    /// The moment of a record.
    pub(crate) fn moment(&self, time: Timestamp) -> Moment<'_> {
        Moment {
            time,
            phase: self.phase,
            number: self.number,
            request: self.request.as_bytes(),
            trace: self.trace.as_bytes(),
        }
    }

    /// What the state page says.
    pub(crate) fn published(&self) -> Invocation {
        let mut invocation = Invocation::new(self.phase).with_request(self.request.as_bytes());
        invocation.launched = self.launched;
        invocation.number = self.number;
        invocation
    }
}

/// The trace id in an X-Ray header: `Root=1-5bef…;Parent=…` gives `1-5bef…`.
pub(crate) fn trace_id(header: &str) -> &str {
    header.split(';').find_map(|part| part.trim().strip_prefix("Root=")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invocations_are_counted_and_published() {
        let mut current = Current::default();
        current.begin("r-1", "t-1");
        current.begin("r-2", "");
        let published = current.published();
        assert_eq!((published.number, published.request(), published.launched), (2, &b"r-2"[..], true));
    }

    #[test]
    fn a_trace_header_gives_its_root() {
        assert_eq!(trace_id("Root=1-5bef-ad;Parent=5;Sampled=0"), "1-5bef-ad");
        assert_eq!(trace_id("garbage"), "");
    }
}
