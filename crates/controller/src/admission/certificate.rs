//! The admission server's certificate: made here, kept as the data of one Secret.
//!
//! Each certificate has an authority of its own whose key is thrown away at once, so nothing in
//! the cluster can sign another. The bundle keeps the previous authority too: while replicas
//! change over, both certificates are trusted. Not here: reading and writing the Secret.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

/// Days a certificate is valid.
const LIFE_DAYS: i64 = 90;
/// Days after which it is replaced: before two thirds of its life.
const RENEW_DAYS: i64 = 54;

const RENEW_AT: &str = "crossfade.dev/renew-at";
const HOSTS: &str = "crossfade.dev/hosts";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It could not be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The Secret does not hold one.
    #[error(
        "the Secret does not hold a usable certificate: {0}; delete the Secret, and a new one is made"
    )]
    Content(String),
}

/// A certificate with its key and the authorities to trust, as kept in the Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// PEM: the authority that signed it, then the one before.
    pub bundle: String,
    chain: String,
    key: String,
    hosts: BTreeSet<String>,
    renew_at: Timestamp,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Certificate")
            .field("hosts", &self.hosts)
            .field("renew_at", &self.renew_at)
            .finish_non_exhaustive()
    }
}

fn day(at: Timestamp) -> (i32, u8, u8) {
    let date = at.to_zoned(TimeZone::UTC).date();
    let small = |number: i8| u8::try_from(number).unwrap_or(1);
    (
        i32::from(date.year()),
        small(date.month()),
        small(date.day()),
    )
}

fn days(number: i64) -> SignedDuration {
    SignedDuration::from_hours(number * 24)
}

impl Certificate {
    /// Makes one for these hosts (names or addresses); `before` is the one it replaces.
    ///
    /// # Errors
    /// When a host is neither a name nor an address.
    pub fn make(
        hosts: &BTreeSet<String>,
        now: Timestamp,
        before: Option<&Self>,
    ) -> Result<Self, CertificateError> {
        // Whole days, from yesterday: clocks of the API servers may be behind ours.
        let from = now.saturating_sub(days(1)).unwrap_or(now);
        let until = now.saturating_add(days(LIFE_DAYS)).unwrap_or(now);
        let (from, until) = (day(from), day(until));
        let (from, until) = (
            rcgen::date_time_ymd(from.0, from.1, from.2),
            rcgen::date_time_ymd(until.0, until.1, until.2),
        );

        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        authority.distinguished_name.push(
            DnType::CommonName,
            format!("crossfade admission authority {now}"),
        );
        authority.not_before = from;
        authority.not_after = until;
        let authority_certificate = authority.self_signed(&authority_key)?;

        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(hosts.iter().cloned().collect::<Vec<_>>())?;
        leaf.distinguished_name
            .push(DnType::CommonName, "crossfade admission");
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.use_authority_key_identifier_extension = true;
        leaf.not_before = from;
        leaf.not_after = until;
        let chain = leaf
            .signed_by(&key, &Issuer::from_params(&authority, &authority_key))?
            .pem();

        let mut bundle = authority_certificate.pem();
        if let Some(previous) = before.and_then(|before| first_block(&before.bundle)) {
            bundle.push_str(previous);
        }
        Ok(Self {
            bundle,
            chain,
            key: key.serialize_pem(),
            hosts: hosts.clone(),
            renew_at: now.saturating_add(days(RENEW_DAYS)).unwrap_or(now),
        })
    }

    /// It must be replaced: its time has come, or it lacks one of our hosts.
    #[must_use]
    pub fn due(&self, hosts: &BTreeSet<String>, now: Timestamp) -> bool {
        now >= self.renew_at || !hosts.is_subset(&self.hosts)
    }

    /// Hosts it is for.
    #[must_use]
    pub const fn hosts(&self) -> &BTreeSet<String> {
        &self.hosts
    }

    /// The authorities as `clientConfig.caBundle` takes them.
    #[must_use]
    pub fn ca_bundle(&self) -> String {
        STANDARD.encode(&self.bundle)
    }

    /// The Secret that keeps it.
    #[must_use]
    pub fn secret(&self, namespace: &str, name: &str, resource_version: Option<&str>) -> Value {
        let hosts: Vec<&str> = self.hosts.iter().map(String::as_str).collect();
        let mut secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {
                "name": name, "namespace": namespace,
                "labels": { "app.kubernetes.io/name": "crossfade" },
                "annotations": { RENEW_AT: self.renew_at.to_string(), HOSTS: hosts.join(",") },
            },
            "data": {
                "ca.crt": STANDARD.encode(&self.bundle),
                "tls.crt": STANDARD.encode(&self.chain),
                "tls.key": STANDARD.encode(&self.key),
            },
        });
        if let Some(version) = resource_version {
            secret["metadata"]["resourceVersion"] = json!(version);
        }
        secret
    }

    /// Reads it from the Secret.
    ///
    /// # Errors
    /// When a part is missing or not readable.
    pub fn from_secret(secret: &Value) -> Result<Self, CertificateError> {
        let part = |key: &str| -> Result<String, CertificateError> {
            let text = secret["data"][key]
                .as_str()
                .ok_or_else(|| CertificateError::Content(format!("{key} is missing")))?;
            let bytes = STANDARD
                .decode(text)
                .map_err(|error| CertificateError::Content(format!("{key}: {error}")))?;
            String::from_utf8(bytes)
                .map_err(|_| CertificateError::Content(format!("{key} is not text")))
        };
        let annotations: BTreeMap<String, String> =
            serde_json::from_value(secret["metadata"]["annotations"].clone()).unwrap_or_default();
        let certificate = Self {
            bundle: part("ca.crt")?,
            chain: part("tls.crt")?,
            key: part("tls.key")?,
            hosts: annotations
                .get(HOSTS)
                .map(|text| text.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
            // Without the note nobody knows its age: replace it.
            renew_at: annotations
                .get(RENEW_AT)
                .and_then(|text| text.parse().ok())
                .unwrap_or(Timestamp::UNIX_EPOCH),
        };
        certificate.server_config()?;
        Ok(certificate)
    }

    /// What the server's TLS needs: version 1.3 only.
    ///
    /// # Errors
    /// When chain or key cannot be read.
    pub fn server_config(&self) -> Result<Arc<rustls::ServerConfig>, CertificateError> {
        let content = |error: &dyn std::fmt::Display| CertificateError::Content(error.to_string());
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| content(&error))?;
        let key =
            PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|error| content(&error))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| content(&error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| content(&error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn first_block(pem: &str) -> Option<&str> {
    const END: &str = "-----END CERTIFICATE-----";
    let end = pem.find(END)? + END.len();
    pem.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn survives_the_secret() {
        let made = Certificate::make(
            &hosts(&["10.0.0.1", "a.b.svc"]),
            at("2026-01-01T00:00:00Z"),
            None,
        )
        .unwrap();
        let secret = made.secret("crossfade-system", "crossfade-admission", Some("7"));
        assert_eq!(secret["metadata"]["resourceVersion"], "7");
        assert_eq!(Certificate::from_secret(&secret).unwrap(), made);
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }

    #[test]
    fn is_replaced_before_two_thirds_of_its_life_or_for_another_host() {
        let made = Certificate::make(&hosts(&["a.svc"]), at("2026-01-01T00:00:00Z"), None).unwrap();
        assert!(!made.due(&hosts(&["a.svc"]), at("2026-02-20T00:00:00Z")));
        assert!(made.due(&hosts(&["a.svc"]), at("2026-02-25T00:00:00Z")));
        assert!(made.due(&hosts(&["b.svc"]), at("2026-01-01T00:00:00Z")));
        const { assert!(RENEW_DAYS * 3 < LIFE_DAYS * 2) };
    }

    #[test]
    fn the_bundle_keeps_the_authority_before_and_no_more() {
        let now = at("2026-01-01T00:00:00Z");
        let mut certificate = Certificate::make(&hosts(&["a.svc"]), now, None).unwrap();
        for _ in 0..3 {
            let next = Certificate::make(&hosts(&["a.svc"]), now, Some(&certificate)).unwrap();
            assert_eq!(next.bundle.matches("BEGIN CERTIFICATE").count(), 2);
            assert!(
                next.bundle
                    .contains(first_block(&certificate.bundle).unwrap())
            );
            certificate = next;
        }
        assert!(
            CertificateDer::pem_slice_iter(certificate.bundle.as_bytes())
                .all(|block| block.is_ok())
        );
    }

    #[test]
    fn an_empty_secret_says_what_is_missing() {
        let error = Certificate::from_secret(&json!({}))
            .unwrap_err()
            .to_string();
        assert!(error.contains("ca.crt is missing"), "{error}");
    }
}
