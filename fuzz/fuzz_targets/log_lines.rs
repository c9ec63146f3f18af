//! Lines of logs as the command line reads them: a function can print whatever it likes into its log.
#![no_main]
#![expect(dead_code, reason = "the command line's own modules, of which not everything is called here")]

#[path = "../../cli/src/logs/authenticity.rs"]
mod authenticity;
#[path = "../../cli/src/deed.rs"]
mod deed;
#[path = "../../cli/src/logs/lines.rs"]
mod lines;
#[path = "../../cli/src/logs/ranges.rs"]
mod ranges;
#[path = "../../cli/src/record.rs"]
mod record;

use authenticity::Review;
use libfuzzer_sys::fuzz_target;
use record::Record;

fuzz_target!(|text: &str| {
    let mut review = Review::default();
    for (number, line) in (1..).zip(text.lines()) {
        for found in lines::records(line.trim_end()) {
            assert!(found.text.contains("ringfence"));
            review.take(&found, "log", number, &mut |record| assert!(!record.is_empty()));
            if let Ok(record) = serde_json::from_str::<Record>(&found.text) {
                let _ = (record.ringfence.times(), record::Body::day(&record.timestamp), record.ringfence.actor.author());
                let _ = deed::Deed::of_record(&record.ringfence);
            }
        }
        let _ = deed::What::parse(line);
        let _ = deed::whole(line);
    }
});
