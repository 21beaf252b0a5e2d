//! `webchat url`: the address of a stage, signed with the caller's AWS credentials where connecting needs that.
//!
//! With `auth=iam` API Gateway takes only handshakes signed with SigV4. Browsers and wscat cannot sign, but can open an
//! address that carries the signature. The deployment keeps the plain address as a tag of the connections table.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use aws_credential_types::{Credentials, provider::ProvideCredentials};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};

use crate::source::{Data, Source};

/// The tag that holds a stage's address.
const TAG: &str = "webchat:url";

/// Arguments of `webchat url`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,

    /// The address to sign, instead of the stage's own
    #[arg(long, value_name = "WSS-URL")]
    url: Option<String>,
    /// How long the address can be opened, in seconds; what is open stays open
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    expires: u64,
    /// Do not sign: the stage was deployed with auth=none
    #[arg(long)]
    plain: bool,
}

pub(crate) async fn run(args: Args) -> Result<u8> {
    if args.source.is_local() {
        bail!("name the --stage; `webchat local` prints its own address, which needs no signature");
    }
    let data = args.source.open().await?;
    let url = match args.url {
        Some(url) => url,
        None => url_of_stage(&data).await?,
    };
    if args.plain {
        println!("{url}");
        return Ok(0);
    }
    let provider = data.sdk().credentials_provider().context("no AWS credentials")?;
    let credentials = provider.provide_credentials().await.context("no AWS credentials")?;
    let region = data.sdk().region().context("no AWS region")?.to_string();
    println!("{}", presign(&url, credentials, &region, SystemTime::now(), Duration::from_secs(args.expires))?);
    Ok(0)
}

async fn url_of_stage(data: &Data) -> Result<String> {
    let (client, table) = (data.dynamodb(), data.table("connections"));
    let described = client.describe_table().table_name(&table).send().await;
    let described = described.with_context(|| format!("looking for the table {table}"))?;
    let arn = described.table.and_then(|table| table.table_arn).context("the table has no ARN")?;
    let tags = client.list_tags_of_resource().resource_arn(arn).send().await.context("reading the table's tags")?;
    let url = tags.tags.unwrap_or_default().into_iter().find(|tag| tag.key == TAG).map(|tag| tag.value);
    url.with_context(|| format!("the table {table} has no tag {TAG}; name the address with --url"))
}

/// The address with a signature in its query, good for one `GET` until it expires.
fn presign(url: &str, credentials: Credentials, region: &str, now: SystemTime, expires: Duration) -> Result<String> {
    let Some((scheme @ ("wss" | "ws"), address)) = url.split_once("://") else {
        bail!("{url}: an address to sign begins with wss:// (or ws://, for an emulator)")
    };
    let host = address.split(['/', '?']).next().unwrap_or_default();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(expires);
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("execute-api")
        .time(now)
        .settings(settings)
        .build()?
        .into();
    // The signature is over the handshake's GET; the scheme is no part of it.
    let request = SignableRequest::new(
        "GET",
        format!("https://{address}"),
        [("host", host)].into_iter(),
        SignableBody::Bytes(&[]),
    )?;
    let (instructions, _) = sign(request, &params)?.into_parts();
    let mut signed = http::Request::get(format!("https://{address}")).body(())?;
    instructions.apply_to_request_http1x(&mut signed);
    Ok(signed.uri().to_string().replacen("https", scheme, 1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails

    use super::*;

    const URL: &str = "wss://abc123.execute-api.eu-central-1.amazonaws.com/poc";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// The signatures were computed with Python's hmac and hashlib after AWS's description of query signing.
    #[test]
    fn an_address_is_signed_as_aws_describes_it() {
        let plain = Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None, None, "test");
        let signed = presign(URL, plain, "eu-central-1", at(1_795_337_746), Duration::from_secs(300)).unwrap();
        assert_eq!(signed, VECTOR_PLAIN);
        let session = Credentials::new(
            "ASIAEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            Some("AQoDYXdz/+=token".into()),
            None,
            "test",
        );
        let signed = presign(URL, session, "eu-central-1", at(1_795_337_746), Duration::from_secs(60)).unwrap();
        assert_eq!(signed, VECTOR_SESSION);
    }

    #[test]
    fn an_address_that_is_no_websocket_s_is_refused() {
        let credentials = || Credentials::new("a", "b", None, None, "test");
        for url in ["https://a.example/poc", "a.example", ""] {
            let error = presign(url, credentials(), "eu-central-1", at(0), Duration::from_secs(60)).unwrap_err();
            assert!(error.to_string().contains(url), "{error}");
        }
    }

    const VECTOR_PLAIN: &str = "wss://abc123.execute-api.eu-central-1.amazonaws.com/poc?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20261122%2Feu-central-1%2Fexecute-api%2Faws4_request&X-Amz-Date=20261122T085546Z&X-Amz-Expires=300&X-Amz-SignedHeaders=host&X-Amz-Signature=a82c7dd58245a77c795a95080c70e46f2bf7d71349cae1f4c80439da3852111b";

    const VECTOR_SESSION: &str = "wss://abc123.execute-api.eu-central-1.amazonaws.com/poc?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=ASIAEXAMPLE%2F20261122%2Feu-central-1%2Fexecute-api%2Faws4_request&X-Amz-Date=20261122T085546Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=45ceac98ed656c7ffd8dcdfe9ab9438560f76c266a9ab6778d164bb0632d3961&X-Amz-Security-Token=AQoDYXdz%2F%2B%3Dtoken";
}
