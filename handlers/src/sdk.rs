//! The SDK on Lambda: region and credentials are in the environment for as long as the process lives.
//!
//! So nothing else is looked for. The SDK's own search, through profiles, web identities and the metadata service, would
//! build a second service client and be a third of a cold start. Of what else it reads, an endpoint and the two that choose
//! among AWS's endpoints are kept.

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_runtime_api::client::{
    behavior_version::BehaviorVersion, stalled_stream_protection::StalledStreamProtectionConfig,
};
use aws_types::{SdkConfig, region::Region};

use crate::{InvalidSetting, Roots};

/// The configuration of the SDK's clients, from the variables that Lambda sets.
pub fn sdk_from_env(roots: &Roots) -> Result<SdkConfig, InvalidSetting> {
    from_variables(roots, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

fn from_variables(roots: &Roots, variable: impl Fn(&str) -> Option<String>) -> Result<SdkConfig, InvalidSetting> {
    let required = |name| variable(name).ok_or(InvalidSetting::Missing(name));
    let flag = |name| variable(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let credentials = Credentials::new(
        required("AWS_ACCESS_KEY_ID")?,
        required("AWS_SECRET_ACCESS_KEY")?,
        variable("AWS_SESSION_TOKEN"),
        None,
        "environment",
    );
    let mut sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(required("AWS_REGION")?))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .use_fips(flag("AWS_USE_FIPS_ENDPOINT"))
        .use_dual_stack(flag("AWS_USE_DUALSTACK_ENDPOINT"))
        .http_client(roots.http_client())
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        // Our answers are small, and every attempt has its time limit.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    sdk.set_endpoint_url(variable("AWS_ENDPOINT_URL"));
    Ok(sdk.build())
}

#[cfg(test)]
mod tests {
    use aws_credential_types::provider::ProvideCredentials;

    use super::*;

    const LAMBDA: [(&str, &str); 4] = [
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "ASIAQUITEANORMALKEYX"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "token"),
    ];

    fn sdk(variables: &[(&str, &str)]) -> Result<SdkConfig, InvalidSetting> {
        from_variables(&Roots::default(), |name| {
            variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[tokio::test]
    async fn region_and_credentials_are_those_lambda_sets() -> Result<(), Box<dyn std::error::Error>> {
        let sdk = sdk(&LAMBDA)?;
        assert_eq!(sdk.region().map(Region::as_ref), Some("eu-central-1"));
        assert_eq!((sdk.endpoint_url(), sdk.use_fips(), sdk.use_dual_stack()), (None, Some(false), Some(false)));
        let provider = sdk.credentials_provider().ok_or("no credentials")?;
        let credentials = provider.provide_credentials().await?;
        let (key, secret, token) =
            (credentials.access_key_id(), credentials.secret_access_key(), credentials.session_token());
        assert_eq!((key, secret, token), (LAMBDA[1].1, LAMBDA[2].1, Some(LAMBDA[3].1)));
        Ok(())
    }

    #[test]
    fn a_variable_that_lambda_always_sets_is_missed_by_name() {
        for (left_out, missed) in [(0, "AWS_REGION"), (1, "AWS_ACCESS_KEY_ID"), (2, "AWS_SECRET_ACCESS_KEY")] {
            let mut variables = LAMBDA.to_vec();
            variables.remove(left_out);
            assert_eq!(sdk(&variables).err(), Some(InvalidSetting::Missing(missed)));
        }
    }

    #[test]
    fn endpoints_may_be_chosen() -> Result<(), InvalidSetting> {
        let chosen = [
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566"),
            ("AWS_USE_FIPS_ENDPOINT", "true"),
            ("AWS_USE_DUALSTACK_ENDPOINT", "TRUE"),
        ];
        let sdk = sdk(&[&LAMBDA[..], &chosen].concat())?;
        assert_eq!(sdk.endpoint_url(), Some("http://127.0.0.1:4566"));
        assert_eq!((sdk.use_fips(), sdk.use_dual_stack()), (Some(true), Some(true)));
        Ok(())
    }
}
