//! What a function must be told: table names, bus, gateway. Read once at start.
//!
//! [`VARIABLES`] is the one list of environment variables; the deployment is tested against it. The local runtime fills
//! the same struct in code.

use events::Timing;
use http::Uri;

use crate::{Dial, Roots};

/// Configuration of every function.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `WEBCHAT_EVENTS_TABLE`
    pub events_table: String,
    /// `WEBCHAT_CONNECTIONS_TABLE`
    pub connections_table: String,
    /// `WEBCHAT_PARKED_TABLE`
    pub parked_table: String,
    /// `WEBCHAT_BUS`: the bus's name.
    pub bus: String,
    /// `WEBCHAT_GATEWAY_URL`: the `@connections` endpoint with its stage, such as `https://….amazonaws.com/poc`.
    pub gateway_url: String,
    /// `WEBCHAT_ALLOWED_ORIGINS`, separated by commas. Empty: any origin may connect.
    pub allowed_origins: Vec<String>,
    /// How the gateway is reached. Deployed: over the network, trusting [`Roots`].
    pub dial: Dial,
    /// Not configurable when deployed.
    pub timing: Timing,
}

/// Every environment variable, and whether a function refuses to start without it.
pub const VARIABLES: [(&str, bool); 6] = [
    ("WEBCHAT_EVENTS_TABLE", true),
    ("WEBCHAT_CONNECTIONS_TABLE", true),
    ("WEBCHAT_PARKED_TABLE", true),
    ("WEBCHAT_BUS", true),
    ("WEBCHAT_GATEWAY_URL", true),
    ("WEBCHAT_ALLOWED_ORIGINS", false),
];

/// A variable that a function cannot start with.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSetting {
    /// It must be set.
    #[error("the environment variable {0} is not set")]
    Missing(&'static str),
    /// It must be a URL with scheme and host.
    #[error("the environment variable {0} is `{1}`, which is no URL such as https://….amazonaws.com/poc")]
    NoUrl(&'static str, String),
}

impl Settings {
    /// Reads the process's environment.
    pub fn from_env(roots: &Roots) -> Result<Settings, InvalidSetting> {
        let settings = Settings::from_variables(|name| std::env::var(name).ok())?;
        Ok(Settings { dial: Dial::Network(roots.clone()), ..settings })
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Settings, InvalidSetting> {
        let [events, connections, parked, bus, gateway, origins] = VARIABLES.map(|(name, required)| {
            let value = variable(name).filter(|value| !value.is_empty());
            match value {
                None if required => Err(InvalidSetting::Missing(name)),
                value => Ok(value.unwrap_or_default()),
            }
        });
        Ok(Settings {
            events_table: events?,
            connections_table: connections?,
            parked_table: parked?,
            bus: bus?,
            gateway_url: url(VARIABLES[4].0, gateway?)?,
            allowed_origins: origins?.split(',').map(str::trim).filter(|o| !o.is_empty()).map(str::to_owned).collect(),
            dial: Dial::default(),
            timing: Timing::default(),
        })
    }
}

fn url(name: &'static str, value: String) -> Result<String, InvalidSetting> {
    let usable = |url: Uri| url.host().is_some() && matches!(url.scheme_str(), Some("http" | "https"));
    if value.parse().is_ok_and(usable) { Ok(value) } else { Err(InvalidSetting::NoUrl(name, value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_variable_is_named() {
        let missing = Settings::from_variables(|name| (name != "WEBCHAT_BUS").then(|| any(name)));
        assert_eq!(missing.err(), Some(InvalidSetting::Missing("WEBCHAT_BUS")));
    }

    #[test]
    fn a_gateway_that_is_no_url_is_refused_at_start() {
        for wrong in
            ["nn27okk1we.execute-api.us-east-1.amazonaws.com/poc", "wss://chat.example/poc", "https:///poc", "poc"]
        {
            let settings = Settings::from_variables(|name| {
                Some(if name == "WEBCHAT_GATEWAY_URL" { wrong.to_owned() } else { any(name) })
            });
            assert_eq!(settings.err(), Some(InvalidSetting::NoUrl("WEBCHAT_GATEWAY_URL", wrong.to_owned())));
        }
    }

    fn any(name: &str) -> String {
        format!("https://{name}.example")
    }

    #[test]
    fn allowed_origins_are_separated_by_commas_and_may_be_left_out() {
        let origins = |list: Option<&str>| {
            let settings = Settings::from_variables(|name| match name {
                "WEBCHAT_ALLOWED_ORIGINS" => list.map(str::to_owned),
                name => Some(any(name)),
            });
            settings.map(|s| s.allowed_origins)
        };
        assert_eq!(origins(None), Ok(vec![]));
        assert_eq!(
            origins(Some("https://a.example, https://b.example")),
            Ok(vec!["https://a.example".to_owned(), "https://b.example".to_owned()])
        );
    }
}
