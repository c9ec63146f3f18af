//! How a line says by which key it is signed: the members at the end of the `ringfence` object, in this order.
//!
//! `"version":"0.1.0","sequence":12,"publicKey":"…","key":"…","signature":"…"}}` and a line feed. Only `protection` has
//! `publicKey`. The signature is Ed25519 (RFC 8032), in URL-safe base64 without padding (RFC 4648, section 5). It covers
//! every byte of the line before [`SIGNATURE`]. The agent writes these members, `ringfence review` reads them.

/// Before the version of the layer.
pub const VERSION: &str = ",\"version\":\"";
/// Between version and number: lines of an environment count from 1.
pub const SEQUENCE: &str = "\",\"sequence\":";
/// Before the public key: 32 bytes, 43 characters.
pub const PUBLIC_KEY: &str = ",\"publicKey\":\"";
/// Before the first characters of the public key, by which a reader finds it.
pub const KEY: &str = ",\"key\":\"";
/// Characters of the public key in [`KEY`]: 72 bits.
pub const KEY_ID_LENGTH: usize = 12;
/// Before the signature: 64 bytes, 86 characters.
pub const SIGNATURE: &str = ",\"signature\":\"";
/// The end of each line.
pub const END: &str = "}}\n";
/// Most bytes that these members take.
pub const MAX_SEAL: usize = 320;
