//! Which certificate a server shows, to whom trusts an authority: as the API server looks at a webhook.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const LONGEST: Duration = Duration::from_secs(5);

/// The server's own certificate (DER); an error if it is not for this host, or not signed by an authority of the bundle (`caBundle` of a
/// webhook configuration: PEM in base64).
pub(crate) async fn served(
    address: SocketAddr,
    host: &str,
    bundle: &str,
) -> anyhow::Result<Vec<u8>> {
    let pem = STANDARD.decode(bundle).context("the bundle is no base64")?;
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&pem) {
        roots.add(authority.context("the bundle is no PEM")?)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())?;
    let asked = async {
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    };
    let stream = timeout(LONGEST, asked)
        .await
        .with_context(|| format!("{address} does not answer"))?
        .with_context(|| format!("TLS with {address} as {host}"))?;
    let (_, session) = stream.get_ref();
    let shown = session
        .peer_certificates()
        .and_then(|all| all.first())
        .context("no certificate was shown")?;
    Ok(shown.to_vec())
}
