//! What tells the agent's lines from forged ones: a number and a signature at the end of each.
//!
//! Any process of the function can print a line that looks like a record. Only the agent has the key, which is made for
//! this environment and never leaves the agent's memory. A reader of the log checks the signature, and the numbers show
//! lines that are missing or doubled. It does not know what a record says. [`super::Emitter`] calls it.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use ringfence_records::seal::{END, KEY, KEY_ID_LENGTH, PUBLIC_KEY, SEQUENCE, SIGNATURE, VERSION};

/// The version of the layer.
const LAYER_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The key of this environment, and how many lines it has signed.
pub(crate) struct Seal {
    key: Option<SigningKey>,
    public: String,
    sequence: u64,
}

impl Seal {
    /// A new key. Where the kernel gives no random bytes, lines have numbers and no signature.
    pub(crate) fn new() -> Self {
        let mut secret = [0; 32];
        let key = getrandom::fill(&mut secret).ok().map(|()| SigningKey::from_bytes(&secret));
        let public = key
            .as_ref()
            .map(|key| BASE64_URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()))
            .unwrap_or_default();
        Self { key, public, sequence: 0 }
    }

    /// Adds the number and the signature to a line, which ends with [`END`]. `introduces` says that the record also
    /// carries the public key. A line of another shape is left as it is.
    pub(crate) fn close(&mut self, line: &mut Vec<u8>, introduces: bool) {
        let Some(start) = line.strip_suffix(END.as_bytes()).map(<[u8]>::len) else { return };
        line.truncate(start);
        self.sequence = self.sequence.saturating_add(1);
        let mut add = |parts: &[&str]| parts.iter().for_each(|part| line.extend_from_slice(part.as_bytes()));
        add(&[VERSION, LAYER_VERSION, SEQUENCE, &self.sequence.to_string()]);
        if introduces && !self.public.is_empty() {
            add(&[PUBLIC_KEY, &self.public, "\""]);
        }
        if let Some(id) = self.public.get(..KEY_ID_LENGTH) {
            add(&[KEY, id, "\""]);
        }
        if let Some(key) = &self.key {
            let signature = BASE64_URL_SAFE_NO_PAD.encode(key.sign(line).to_bytes());
            line.extend_from_slice([SIGNATURE, &signature, "\""].concat().as_bytes());
        }
        line.extend_from_slice(END.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signature, VerifyingKey};

    const LINE: &[u8] =
        b"{\"timestamp\":\"2026-11-22T01:02:03.456Z\",\"ringfence\":{\"kind\":\"degraded\"}}\n";

    fn closed(seal: &mut Seal, introduces: bool) -> String {
        let mut line = LINE.to_vec();
        seal.close(&mut line, introduces);
        String::from_utf8(line).unwrap()
    }

    fn is_authentic(line: &str, public: &str) -> bool {
        let (signed, rest) = line.split_once(SIGNATURE).unwrap();
        let bytes = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        let signature = Signature::from_slice(&bytes(rest.strip_suffix("\"}}\n").unwrap())).unwrap();
        let public = VerifyingKey::from_bytes(&bytes(public).try_into().unwrap()).unwrap();
        public.verify_strict(signed.as_bytes(), &signature).is_ok()
    }

    #[test]
    fn a_line_is_signed_with_the_key_that_the_first_record_introduces() {
        let mut seal = Seal::new();
        let first = closed(&mut seal, true);
        let record: serde_json::Value = serde_json::from_str(&first).unwrap();
        let public = record["ringfence"]["publicKey"].as_str().unwrap();
        assert!(public.starts_with(record["ringfence"]["key"].as_str().unwrap()));
        assert_eq!(record["ringfence"]["version"], LAYER_VERSION);
        assert!(is_authentic(&first, public));
        let second = closed(&mut seal, false);
        assert!(is_authentic(&second, public) && !second.contains("publicKey"), "{second}");
        assert!(second.contains(",\"sequence\":2,"), "{second}");
    }

    #[test]
    fn a_changed_line_or_another_key_is_found() {
        let mut seal = Seal::new();
        let public = seal.public.clone();
        let line = closed(&mut seal, false);
        assert!(!is_authentic(&line.replace("degraded", "summary"), &public));
        assert!(!is_authentic(&line.replace("\"sequence\":1", "\"sequence\":2"), &public));
        assert!(!is_authentic(&line, &Seal::new().public));
    }

    #[test]
    fn the_members_have_room_and_another_shape_is_left_alone() {
        let mut seal = Seal { sequence: u64::MAX - 1, ..Seal::new() };
        assert!(closed(&mut seal, true).len() - LINE.len() <= ringfence_records::seal::MAX_SEAL);
        let mut other = b"no record\n".to_vec();
        seal.close(&mut other, false);
        assert_eq!(other, b"no record\n");
    }
}
