//! The JSON a function is invoked with: CONNECT, MESSAGE and DISCONNECT events.
//!
//! Written with structs of our own because what AWS leaves out must be absent, and `aws_lambda_events` would write it as
//! null or `{}`. Field names are AWS's contract.

use serde::Serialize;

use super::{
    GatewayConfig,
    clock::common_log_format,
    connection::{Connection, Identity},
    end::End,
    headers::{MultiMap, SingleMap, last_of_each},
    ids,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConnectEvent<'a> {
    pub(super) headers: SingleMap<'a>,
    pub(super) multi_value_headers: &'a MultiMap,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) query_string_parameters: Option<SingleMap<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) multi_value_query_string_parameters: Option<&'a MultiMap>,
    pub(super) request_context: RequestContext<'a>,
    pub(super) is_base64_encoded: bool,
}

impl<'a> ConnectEvent<'a> {
    pub(super) fn new(request_context: RequestContext<'a>, headers: &'a MultiMap, query: Option<&'a MultiMap>) -> Self {
        ConnectEvent {
            headers: last_of_each(headers),
            multi_value_headers: headers,
            query_string_parameters: query.map(last_of_each),
            multi_value_query_string_parameters: query,
            request_context,
            is_base64_encoded: false,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageEvent<'a> {
    pub(super) request_context: RequestContext<'a>,
    pub(super) body: &'a str,
    pub(super) is_base64_encoded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DisconnectEvent<'a> {
    pub(super) headers: SingleMap<'a>,
    pub(super) multi_value_headers: &'a MultiMap,
    pub(super) request_context: RequestContext<'a>,
    pub(super) is_base64_encoded: bool,
}

impl<'a> DisconnectEvent<'a> {
    pub(super) fn new(request_context: RequestContext<'a>, headers: &'a MultiMap) -> Self {
        DisconnectEvent {
            headers: last_of_each(headers),
            multi_value_headers: headers,
            request_context,
            is_base64_encoded: false,
        }
    }
}

/// The headers AWS makes up for a `$disconnect`: those of the upgrade are not repeated.
pub(super) fn disconnect_headers(domain_name: &str) -> MultiMap {
    [("Host", domain_name), ("x-api-key", ""), ("X-Forwarded-For", ""), ("x-restapi", "")]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), vec![value.to_owned()]))
        .collect()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestContext<'a> {
    route_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnect_status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnect_reason: Option<&'a str>,
    event_type: &'static str,
    extended_request_id: String,
    request_time: String,
    message_direction: &'static str,
    stage: &'a str,
    connected_at: i64,
    request_time_epoch: i64,
    identity: &'a Identity,
    pub(super) request_id: String,
    domain_name: &'a str,
    connection_id: &'a str,
    api_id: &'a str,
}

impl<'a> RequestContext<'a> {
    pub(super) fn connect(config: &'a GatewayConfig, connection: &'a Connection, now: i64) -> Self {
        Self::new(config, connection, now, "CONNECT", "$connect")
    }

    pub(super) fn message(config: &'a GatewayConfig, connection: &'a Connection, now: i64, route_key: &'a str) -> Self {
        RequestContext { message_id: Some(ids::fresh()), ..Self::new(config, connection, now, "MESSAGE", route_key) }
    }

    pub(super) fn disconnect(config: &'a GatewayConfig, connection: &'a Connection, now: i64, end: &'a End) -> Self {
        RequestContext {
            disconnect_status_code: Some(end.code),
            disconnect_reason: Some(&end.reason),
            ..Self::new(config, connection, now, "DISCONNECT", "$disconnect")
        }
    }

    fn new(
        config: &'a GatewayConfig,
        connection: &'a Connection,
        now: i64,
        event_type: &'static str,
        route_key: &'a str,
    ) -> Self {
        let request_id = ids::fresh();
        RequestContext {
            route_key,
            message_id: None,
            disconnect_status_code: None,
            disconnect_reason: None,
            event_type,
            extended_request_id: request_id.clone(),
            request_time: common_log_format(now),
            message_direction: "IN",
            stage: &config.stage,
            connected_at: connection.connected_at,
            request_time_epoch: now,
            identity: &connection.identity,
            request_id,
            domain_name: &config.domain_name,
            connection_id: &connection.id,
            api_id: &config.api_id,
        }
    }
}
