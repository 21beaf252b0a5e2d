//! Signature Version 4 for `@connections`, and for nothing else.
//!
//! A broadcast signs a thousand requests that differ in one path segment. So what depends on the credentials and the second
//! alone is made once a second ([`Stamp`]), and the hash of a body once per broadcast ([`Frame`]). The tests hold every
//! header to those of `aws_sigv4::http_request::sign` (docs/adr/0012).

use std::{
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use aws_types::SdkConfig;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use events::time;
use http::{
    HeaderMap, HeaderValue, Method, Request,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, InvalidHeaderValue},
};
use http_body_util::Full;
use sha2::{Digest, Sha256};

const SERVICE: &str = "execute-api";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What the SDK sends a frame as.
const BODY_TYPE: &str = "application/octet-stream";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
/// As the SDK keeps credentials: renewed this long before they expire, and after this long if they do not say.
const EARLY: TimeDelta = TimeDelta::seconds(10);
const KEPT: TimeDelta = TimeDelta::minutes(15);

/// The bytes to send to one connection or to many, with their hash.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    bytes: Bytes,
    hash: Arc<str>,
}

impl Frame {
    pub(crate) fn new(bytes: impl Into<Bytes>) -> Frame {
        let bytes = bytes.into();
        let hash = hex(&Sha256::digest(&bytes)).into();
        Frame { bytes, hash }
    }
}

/// Makes signed requests to one endpoint.
#[derive(Debug)]
pub(super) struct Signer {
    provider: Option<SharedCredentialsProvider>,
    region: String,
    host: String,
    /// `/stage/@connections/`, as it goes over the wire and as it is signed.
    path: String,
    signed_path: String,
    credentials: tokio::sync::Mutex<Option<Kept>>,
    stamp: Mutex<Option<Arc<Stamp>>>,
}

#[derive(Debug)]
struct Kept {
    credentials: Credentials,
    until: DateTime<Utc>,
}

impl Signer {
    /// For the endpoint `host` and `base`, the path of its stage.
    pub(super) fn new(sdk: &SdkConfig, host: &str, base: &str) -> Signer {
        let path = format!("{}/@connections/", base.trim_end_matches('/'));
        let mut signed_path = String::new();
        for (index, segment) in path.split('/').enumerate() {
            signed_path.push_str(if index > 0 { "/" } else { "" });
            encode(segment, "%", &mut signed_path);
        }
        Signer {
            provider: sdk.credentials_provider(),
            region: sdk.region().map(ToString::to_string).unwrap_or_default(),
            host: host.to_owned(),
            path,
            signed_path,
            credentials: tokio::sync::Mutex::default(),
            stamp: Mutex::default(),
        }
    }

    /// What this second's requests have in common.
    pub(super) async fn stamp(&self) -> Result<Arc<Stamp>, String> {
        let now = time::now();
        let kept = self.stamp.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(stamp) = kept.filter(|stamp| stamp.second == now.timestamp()) {
            return Ok(stamp);
        }
        let credentials = self.credentials(now).await?;
        let stamp = Stamp::new(&credentials, &self.region, &self.host, now);
        let stamp =
            Arc::new(stamp.map_err(|_| "the credentials or the gateway's host cannot be in a header".to_owned())?);
        *self.stamp.lock().unwrap_or_else(PoisonError::into_inner) = Some(stamp.clone());
        Ok(stamp)
    }

    async fn credentials(&self, now: DateTime<Utc>) -> Result<Credentials, String> {
        let mut kept = self.credentials.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| now < kept.until) {
            return Ok(kept.credentials.clone());
        }
        let provider = self.provider.as_ref().ok_or("there are no credentials to sign with")?;
        let found = provider.provide_credentials().await;
        let credentials = found.map_err(|error| format!("no credentials to sign with: {error}"))?;
        let until = credentials.expiry().map_or(now + KEPT, |expiry| DateTime::<Utc>::from(expiry) - EARLY);
        *kept = Some(Kept { credentials: credentials.clone(), until });
        Ok(credentials)
    }

    /// A request about one connection: a frame for it, or a question.
    pub(super) fn request(
        &self,
        stamp: &Stamp,
        method: Method,
        connection: &str,
        frame: &Frame,
    ) -> Result<Request<Full<Bytes>>, http::Error> {
        let authorization = self.authorization(stamp, &method, connection, frame);
        let mut path = String::with_capacity(self.path.len() + connection.len() * 3);
        path.push_str(&self.path);
        encode(connection, "%", &mut path);
        let post = method == Method::POST;
        let mut request = Request::builder().method(method).uri(path).body(Full::new(frame.bytes.clone()))?;
        let headers = request.headers_mut();
        headers.reserve(stamp.headers.len() + 2);
        headers.extend(stamp.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        if post {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(BODY_TYPE));
        }
        headers.insert(AUTHORIZATION, HeaderValue::from_maybe_shared(Bytes::from(authorization))?);
        Ok(request)
    }

    /// The value of `Authorization`. The path is signed with its escapes escaped once more, as every service but S3 wants.
    fn authorization(&self, stamp: &Stamp, method: &Method, connection: &str, frame: &Frame) -> String {
        let (typed, signed_type) = if *method == Method::POST { ("content-type;", true) } else { ("", false) };
        let mut request = String::with_capacity(512 + stamp.signed_headers.len());
        request.push_str(method.as_str());
        request.push('\n');
        request.push_str(&self.signed_path);
        encode(connection, "%25", &mut request);
        request.push_str("\n\n");
        if signed_type {
            request.push_str("content-type:");
            request.push_str(BODY_TYPE);
            request.push('\n');
        }
        request.push_str(&stamp.signed_headers);
        request.push('\n');
        request.push_str(typed);
        request.push_str(stamp.signed_names);
        request.push('\n');
        request.push_str(&frame.hash);

        let mut to_sign = String::with_capacity(stamp.to_sign.len() + 64);
        to_sign.push_str(&stamp.to_sign);
        to_sign.push_str(&hex(&Sha256::digest(&request)));
        let signature = calculate_signature(&stamp.key, to_sign.as_bytes());
        let (credential, names) = (&stamp.credential, stamp.signed_names);
        format!("{ALGORITHM} Credential={credential}, SignedHeaders={typed}{names}, Signature={signature}")
    }
}

/// What all requests of one second have in common.
#[derive(Debug)]
pub(super) struct Stamp {
    second: i64,
    key: Vec<u8>,
    /// The access key and the scope.
    credential: String,
    /// The lines of the text to sign before the hash.
    to_sign: String,
    headers: HeaderMap,
    /// The same headers as lines to sign, and their names.
    signed_headers: String,
    signed_names: &'static str,
}

impl Stamp {
    fn new(
        credentials: &Credentials,
        region: &str,
        host: &str,
        now: DateTime<Utc>,
    ) -> Result<Stamp, InvalidHeaderValue> {
        let date = now.format("%Y%m%dT%H%M%SZ").to_string();
        let scope = format!("{}/{region}/{SERVICE}/aws4_request", now.format("%Y%m%d"));
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(HOST, host.parse()?);
        headers.insert(DATE, date.parse()?);
        let mut signed_headers = format!("host:{host}\nx-amz-date:{date}\n");
        let mut signed_names = "host;x-amz-date";
        if let Some(token) = credentials.session_token() {
            headers.insert(TOKEN, token.parse()?);
            let _ = writeln!(signed_headers, "x-amz-security-token:{token}"); // into a String: never fails
            signed_names = "host;x-amz-date;x-amz-security-token";
        }
        let key = generate_signing_key(credentials.secret_access_key(), now.into(), region, SERVICE);
        Ok(Stamp {
            second: now.timestamp(),
            key: key.as_ref().to_vec(),
            credential: format!("{}/{scope}", credentials.access_key_id()),
            to_sign: format!("{ALGORITHM}\n{date}\n{scope}\n"),
            headers,
            signed_headers,
            signed_names,
        })
    }
}

/// Appends the text with everything escaped but what a path may hold as it is; `escape` comes before the two digits.
fn encode(text: &str, escape: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(escape);
            let _ = write!(out, "{byte:02X}"); // into a String: never fails
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails

    use std::time::{Duration, SystemTime};

    use aws_sigv4::{
        http_request::{SignableBody, SignableRequest, SigningSettings, sign},
        sign::v4::SigningParams,
    };
    use aws_types::region::Region;

    use super::*;

    const HOST: &str = "nn27okk1we.execute-api.us-east-1.amazonaws.com";
    const BODY: &[u8] = b"{\"type\":\"chat\",\"message\":\"Yo! \xF0\x9F\x91\x8B\"}";

    /// The headers that the SDK's signing adds.
    fn signed_by_the_sdk(
        credentials: &Credentials,
        at: SystemTime,
        method: &Method,
        path: &str,
        body: &[u8],
    ) -> Vec<(String, String)> {
        let identity = credentials.clone().into();
        let params = SigningParams::builder().identity(&identity).region("us-east-1").name(SERVICE).time(at);
        let params = params.settings(SigningSettings::default()).build().unwrap().into();
        let uri = format!("https://{HOST}{path}");
        let headers = [("content-type", BODY_TYPE)].into_iter().filter(|_| method == Method::POST);
        let request = SignableRequest::new(method.as_str(), &uri, headers, SignableBody::Bytes(body)).unwrap();
        let (instructions, _) = sign(request, &params).unwrap().into_parts();
        instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn every_header_is_the_one_the_sdk_would_send() {
        let ids = ["L0SM00000000001=", "abcDEF-_12345678=", "Zz9+/x y~.=", "é=%41", "👋", "a"];
        let times =
            [0, 86_399, 86_400, 951_827_696, 1_709_210_096, 1_763_798_907, 1_798_761_599, 1_798_761_600, 4_102_444_799];
        let token = "IQoJb3JpZ2luX2VjE+/=".repeat(45);
        let mut compared = 0;
        for token in [Some(token), None] {
            let credentials = Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCY", token, None, "test");
            let region = Region::new("us-east-1");
            let sdk = SdkConfig::builder().region(region).build();
            for base in ["/poc", "/", "/a%20b/@home"] {
                let signer = Signer::new(&sdk, HOST, base);
                for (seconds, id) in times.iter().flat_map(|seconds| ids.map(|id| (*seconds, id))) {
                    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
                    let stamp = Stamp::new(&credentials, "us-east-1", HOST, at.into()).unwrap();
                    for (method, frame) in [(Method::POST, Frame::new(BODY)), (Method::GET, Frame::new(Bytes::new()))] {
                        let request = signer.request(&stamp, method.clone(), id, &frame).unwrap();
                        let path = request.uri().path();
                        for (name, value) in signed_by_the_sdk(&credentials, at, &method, path, &frame.bytes) {
                            assert_eq!(request.headers()[&name], value, "{name} of {method} {path} at {seconds}");
                            compared += 1;
                        }
                    }
                }
            }
        }
        // 6 ids, 9 times, 2 methods, 3 stages, and 3 headers with a token, 2 without.
        assert_eq!(compared, 6 * 9 * 2 * 3 * (3 + 2));
    }

    #[tokio::test]
    async fn credentials_are_asked_for_again_before_they_expire_and_not_sooner() {
        use std::sync::atomic::{AtomicU32, Ordering};

        #[derive(Debug)]
        struct Counting(Arc<AtomicU32>);
        impl ProvideCredentials for Counting {
            fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
            where
                Self: 'a,
            {
                let count = self.0.fetch_add(1, Ordering::Relaxed);
                let expiry = time::from_millis(1_000_000).unwrap() + TimeDelta::minutes(5 + i64::from(count) * 100);
                let found = Credentials::new(format!("key{count}"), "secret", None, Some(expiry.into()), "test");
                aws_credential_types::provider::future::ProvideCredentials::ready(Ok(found))
            }
        }

        let asked = Arc::new(AtomicU32::new(0));
        let provider = SharedCredentialsProvider::new(Counting(asked.clone()));
        let signer = Signer::new(&SdkConfig::builder().credentials_provider(provider).build(), HOST, "/poc");
        let start = time::from_millis(1_000_000).unwrap();
        for (seconds, key) in [(0, "key0"), (289, "key0"), (290, "key1"), (300, "key1"), (5000, "key1")] {
            let credentials = signer.credentials(start + TimeDelta::seconds(seconds)).await.unwrap();
            assert_eq!(credentials.access_key_id(), key, "after {seconds} s");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
