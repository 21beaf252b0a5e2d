//! Headers and query of the upgrade request, as the `$connect` event shows them.
//!
//! hyper hands out header names in lower case; AWS passes on what the client wrote. Names are put back into the spelling
//! browsers use, so a client with a spelling of its own will not find it here.

use std::{collections::BTreeMap, net::IpAddr};

use axum::{
    extract::Query,
    http::{HeaderMap, Uri, header},
};

use super::ids;

/// `multiValueHeaders`, `multiValueQueryStringParameters`.
pub(super) type MultiMap = BTreeMap<String, Vec<String>>;

/// `headers`, `queryStringParameters`.
pub(super) type SingleMap<'a> = BTreeMap<&'a str, &'a str>;

/// Of a name given more than once, the single map shows the last value.
pub(super) fn last_of_each(map: &MultiMap) -> SingleMap<'_> {
    map.iter().map(|(name, values)| (name.as_str(), values.last().map_or("", String::as_str))).collect()
}

/// The client's headers without `Connection` and `Upgrade`, and with those AWS adds on the way in.
pub(super) fn connect_headers(sent: &HeaderMap, source_ip: IpAddr, now: i64) -> MultiMap {
    let mut headers = MultiMap::new();
    for (name, value) in sent {
        if name != header::CONNECTION && name != header::UPGRADE {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            headers.entry(canonical(name.as_str())).or_default().push(value);
        }
    }
    let forwarded_for = match headers.get("X-Forwarded-For") {
        Some(before) => format!("{}, {source_ip}", before.join(", ")),
        None => source_ip.to_string(),
    };
    let port = headers.get("Host").and_then(|hosts| port_of(hosts.last()?)).unwrap_or("80").to_owned();
    headers.insert("X-Forwarded-For".into(), vec![forwarded_for]);
    headers.insert("X-Forwarded-Port".into(), vec![port]);
    headers.insert("X-Forwarded-Proto".into(), vec!["http".into()]);
    headers.insert("X-Amzn-Trace-Id".into(), vec![ids::trace(now)]);
    headers
}

/// The query, decoded; `None` if there is none, for then AWS leaves both maps out.
pub(super) fn query(uri: &Uri) -> Option<MultiMap> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    let mut query = MultiMap::new();
    for (name, value) in pairs {
        query.entry(name).or_default().push(value);
    }
    (!query.is_empty()).then_some(query)
}

fn port_of(host: &str) -> Option<&str> {
    let (_, port) = host.rsplit_once(':')?;
    port.bytes().all(|byte| byte.is_ascii_digit()).then_some(port)
}

fn canonical(name: &str) -> String {
    name.split('-').map(canonical_word).collect::<Vec<_>>().join("-")
}

fn canonical_word(word: &str) -> String {
    if word == "websocket" {
        return "WebSocket".into();
    }
    let (first, rest) = word.split_at(word.len().min(1));
    first.to_ascii_uppercase() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_browsers_spell_them() {
        assert_eq!(canonical("sec-websocket-key"), "Sec-WebSocket-Key");
        assert_eq!(canonical("user-agent"), "User-Agent");
        assert_eq!(canonical("x--y"), "X--Y");
    }

    #[test]
    fn a_host_may_name_a_port() {
        assert_eq!(port_of("localhost:8080"), Some("8080"));
        assert_eq!(port_of("[::1]:8080"), Some("8080"));
        assert_eq!(port_of("[::1]"), None);
        assert_eq!(port_of("localhost"), None);
    }

    #[test]
    fn a_repeated_parameter_shows_its_last_value() {
        let query = query(&Uri::from_static("/local?t=1&t=2&u=%3D")).unwrap_or_default();
        assert_eq!(last_of_each(&query), SingleMap::from([("t", "2"), ("u", "=")]));
        assert_eq!(query["t"], ["1", "2"]);
    }
}
