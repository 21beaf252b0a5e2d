//! Whom we trust to say who AWS is: Amazon's own root certificates, which are in the binary.
//!
//! Reading the machine's 140 and more would be half of a cold start. `AWS_CA_BUNDLE`, known from AWS's other SDKs, names a
//! PEM file to trust instead: behind a proxy that opens TLS, or for a partition of AWS with other authorities.

use std::{borrow::Cow, env, fs, sync::Arc};

use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};

/// The environment variable that names other roots.
const VARIABLE: &str = "AWS_CA_BUNDLE";
/// Amazon Root CA 1 to 4 and Starfield Services Root CA G2, as <https://www.amazontrust.com/repository/> lists them.
const AMAZON: &[u8] = include_bytes!("amazon-roots.pem");

/// Certificates of authorities, as PEM.
#[derive(Clone, Debug)]
pub struct Roots(Cow<'static, [u8]>);

/// A bundle that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {VARIABLE} names `{file}`: {why}")]
pub struct UnusableRoots {
    file: String,
    why: String,
}

impl Default for Roots {
    fn default() -> Self {
        Roots(Cow::Borrowed(AMAZON))
    }
}

impl Roots {
    /// Amazon's, or those of the file that `AWS_CA_BUNDLE` names.
    pub fn from_env() -> Result<Roots, UnusableRoots> {
        match env::var(VARIABLE).ok().filter(|file| !file.is_empty()) {
            Some(file) => Roots::from_file(&file).map_err(|why| UnusableRoots { file, why }),
            None => Ok(Roots::default()),
        }
    }

    fn from_file(file: &str) -> Result<Roots, String> {
        let roots = Roots(Cow::Owned(fs::read(file).map_err(|error| error.to_string())?));
        let store = roots.store()?;
        if store.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(roots) }
    }

    /// What makes the SDK's requests.
    #[must_use]
    pub fn http_client(&self) -> SharedHttpClient {
        let trusted = TrustStore::empty().with_pem_certificate(self.0.as_ref());
        let builder = Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        match TlsContext::builder().with_trust_store(trusted).build() {
            Ok(context) => builder.tls_context(context).build_https(),
            Err(_) => builder.build_https(), // never: it checks nothing
        }
    }

    /// TLS for our own connections, by the same library and rules.
    pub(crate) fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| error.to_string())?;
        let mut config = config.with_root_certificates(self.store()?).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn store(&self) -> Result<RootCertStore, String> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&self.0) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            store.add(certificate).map_err(|error| error.to_string())?;
        }
        Ok(store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amazons_five_roots_are_in_the_binary() {
        assert_eq!(Roots::default().store().map(|store| store.len()), Ok(5));
        assert!(Roots::default().tls().is_ok());
    }

    #[test]
    fn a_bundle_that_is_none_is_refused_at_start_and_says_why() {
        let refused = |file: &str| Roots::from_file(file).err();
        assert_eq!(refused(concat!(env!("CARGO_MANIFEST_DIR"), "/src/amazon-roots.pem")), None);
        assert_eq!(
            refused(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")),
            Some("there is no certificate in it".to_owned())
        );
        assert!(refused("/nowhere/roots.pem").is_some_and(|why| why.starts_with("No such file")));
    }
}
