//! What a function must be told: table names, bus, gateway. Read once at start.
//!
//! [`VARIABLES`] is the one list of environment variables; the deployment is tested against it. The local runtime fills
//! the same struct in code.

use events::Timing;

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

/// A variable that must be set and is not.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {0} is not set")]
pub struct MissingSetting(&'static str);

impl Settings {
    /// Reads the process's environment.
    pub fn from_env() -> Result<Settings, MissingSetting> {
        Settings::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Settings, MissingSetting> {
        let [events, connections, parked, bus, gateway, origins] = VARIABLES.map(|(name, required)| {
            let value = variable(name).filter(|value| !value.is_empty());
            match value {
                None if required => Err(MissingSetting(name)),
                value => Ok(value.unwrap_or_default()),
            }
        });
        Ok(Settings {
            events_table: events?,
            connections_table: connections?,
            parked_table: parked?,
            bus: bus?,
            gateway_url: gateway?,
            allowed_origins: origins?.split(',').map(str::trim).filter(|o| !o.is_empty()).map(str::to_owned).collect(),
            timing: Timing::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_variable_is_named() {
        let missing = Settings::from_variables(|name| (name != "WEBCHAT_BUS").then(|| name.to_owned()));
        assert_eq!(missing.err(), Some(MissingSetting("WEBCHAT_BUS")));
    }

    #[test]
    fn allowed_origins_are_separated_by_commas_and_may_be_left_out() {
        let origins = |list: Option<&str>| {
            let settings = Settings::from_variables(|name| match name {
                "WEBCHAT_ALLOWED_ORIGINS" => list.map(str::to_owned),
                name => Some(name.to_owned()),
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
