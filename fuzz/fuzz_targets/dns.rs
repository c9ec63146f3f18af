//! Questions of the function and answers of name servers, as the guarded resolver reads them.
#![no_main]

#[path = "../../extension/agent/src/resolver/packet.rs"]
#[expect(dead_code, reason = "the agent's own module, of which not everything is called here")]
mod packet;

use libfuzzer_sys::fuzz_target;
use packet::{Question, addresses, forbidden, framed, id, loopback, refusal, targets, with_id};

fuzz_target!(|bytes: &[u8]| {
    addresses(bytes).for_each(drop);
    for name in targets(bytes) {
        assert!(name.len() <= 255);
    }
    let _ = framed(bytes);
    let _ = with_id(bytes, id(bytes).wrapping_add(1));
    match Question::parse(bytes) {
        Err(code) => {
            if let Some(answer) = refusal(bytes, code) {
                assert_eq!(answer[3] & 0xf, code);
            }
        }
        Ok(question) => {
            assert!(question.name.len() <= 255);
            let answers = [refusal(bytes, 2), forbidden(bytes, &question), loopback(bytes, &question)];
            for answer in answers.into_iter().flatten() {
                assert!(question.is_answered_by(&answer, id(bytes)));
                addresses(&answer).for_each(drop);
                assert!(targets(&answer).is_empty());
            }
        }
    }
});
