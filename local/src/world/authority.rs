//! The certificate authority of one run and the certificates of its hosts.
//!
//! Decides what the certificates say (names and addresses of the host, valid everywhere in this world and nowhere
//! else). The key never leaves the process. Called when the world is planned.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::description::Host;

/// What a TLS service presents.
pub(crate) type Identity = Arc<ServerConfig>;

/// A certificate authority that only this world's sandbox trusts.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new() -> Result<Self, String> {
        let text = |e: rcgen::Error| e.to_string();
        let key = KeyPair::generate().map_err(text)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(text)?;
        params.distinguished_name.push(DnType::CommonName, "Ringfence local world");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).map_err(text)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for all names and addresses of a host.
    pub(crate) fn identity(&self, host: &Host) -> Result<Identity, String> {
        let text = |e: rcgen::Error| e.to_string();
        let key = KeyPair::generate().map_err(text)?;
        let mut params = CertificateParams::new(host.names.clone()).map_err(text)?;
        params.subject_alt_names.extend(host.addresses.iter().map(|a| SanType::IpAddress(*a)));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let certificate = params.signed_by(&key, &self.issuer).map_err(text)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key)
            })
            .map_err(|e| e.to_string())?;
        Ok(Arc::new(config))
    }
}
