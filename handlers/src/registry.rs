//! The nine functions by name: what `bootstrap` dispatches on and the local runtime invokes.
//!
//! A function is built from [`Settings`] and an SDK configuration, and builds only the clients it uses. To add one: its
//! file, a variant here, and its place in the deployment.

use std::{fmt, sync::Arc, time::Duration};

use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use events::{EventLog, Timing};
use projections::ConnectionsView;

use crate::{
    Service, Settings, broadcast::Broadcast, bus::Bus, chat::Chat, connect::Connect, disconnect::Disconnect,
    fallback::Fallback, gateway::GatewayClient, list::List, manage::Manage, parked::Parked, post::Post,
    projector::Projector, pusher::Pusher, request::route_service, service::service,
};

/// A function of the deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each has its own module
pub enum Function {
    Connect,
    Disconnect,
    Broadcast,
    List,
    Chat,
    Fallback,
    Projector,
    Post,
    Manage,
}

impl Function {
    /// All nine.
    pub const ALL: [Function; 9] = [
        Function::Connect,
        Function::Disconnect,
        Function::Broadcast,
        Function::List,
        Function::Chat,
        Function::Fallback,
        Function::Projector,
        Function::Post,
        Function::Manage,
    ];

    /// The name: Lambda's `handler` property, which it puts into `_HANDLER`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Function::Connect => "connect",
            Function::Disconnect => "disconnect",
            Function::Broadcast => "broadcast",
            Function::List => "list",
            Function::Chat => "chat",
            Function::Fallback => "fallback",
            Function::Projector => "projector",
            Function::Post => "post",
            Function::Manage => "manage",
        }
    }

    /// The function of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Function> {
        Function::ALL.into_iter().find(|function| function.name() == name)
    }

    /// How long one invocation may take.
    #[must_use]
    pub fn timeout(self, timing: &Timing) -> Duration {
        match self {
            Function::Projector => timing.projector_timeout,
            Function::Post => timing.post_timeout,
            Function::Manage => timing.manage_timeout,
            _ => timing.route_timeout,
        }
    }

    /// The function, ready to be invoked.
    #[must_use]
    pub fn service(self, settings: &Settings, sdk: &SdkConfig) -> Service {
        let parts = Parts::new(settings, sdk);
        let timing = settings.timing.clone();
        match self {
            Function::Connect => {
                let connect = Arc::new(Connect { log: parts.log(), origins: settings.allowed_origins.clone(), timing });
                service(move |event, _| connect.clone().handle(event))
            }
            Function::Disconnect => {
                let disconnect = Arc::new(Disconnect { log: parts.log() });
                service(move |event, _| disconnect.clone().handle(event))
            }
            Function::Broadcast => {
                let broadcast = Arc::new(Broadcast { log: parts.log(), timing });
                route_service("broadcast", move |request| broadcast.clone().handle(request))
            }
            Function::List => {
                let list = Arc::new(List { view: parts.view() });
                route_service("list", move |request| list.clone().handle(request))
            }
            Function::Chat => {
                let chat = Arc::new(Chat { log: parts.log(), timing });
                route_service("chat", move |request| chat.clone().handle(request))
            }
            Function::Fallback => {
                let fallback = Arc::new(Fallback);
                route_service("fallback", move |request| fallback.clone().handle(request))
            }
            Function::Projector => {
                let (view, parked, bus) = (parts.view(), parts.parked(), parts.bus());
                let projector = Arc::new(Projector { view, parked, bus });
                service(move |event, _| projector.clone().handle(event))
            }
            Function::Post => {
                let (log, bus, view) = (parts.log(), parts.bus(), parts.view());
                let pusher = Pusher::new(parts.gateway(), log.clone(), timing.clone());
                let post = Arc::new(Post { pusher, log, view, bus, timing });
                service(move |notice, context| post.clone().handle(notice, context))
            }
            Function::Manage => {
                let (log, view, gateway) = (parts.log(), parts.view(), parts.gateway());
                let manage = Arc::new(Manage { log, view, gateway, timing });
                service(move |trigger, context| manage.clone().handle(trigger, context))
            }
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Makes the parts a function asks for.
struct Parts<'a> {
    settings: &'a Settings,
    sdk: SdkConfig,
}

impl<'a> Parts<'a> {
    fn new(settings: &'a Settings, sdk: &SdkConfig) -> Parts<'a> {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(settings.timing.call_timeout)
            .operation_attempt_timeout(settings.timing.call_timeout)
            .operation_timeout(settings.timing.operation_timeout)
            .build();
        Parts { settings, sdk: sdk.to_builder().timeout_config(timeouts).build() }
    }

    fn log(&self) -> EventLog {
        EventLog::new(self.dynamodb(), &self.settings.events_table)
    }

    fn view(&self) -> ConnectionsView {
        ConnectionsView::new(self.dynamodb(), &self.settings.connections_table, self.settings.timing.view_retention)
    }

    fn parked(&self) -> Parked {
        Parked::new(self.dynamodb(), &self.settings.parked_table)
    }

    fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.sdk)
    }

    fn bus(&self) -> Bus {
        Bus::new(aws_sdk_eventbridge::Client::new(&self.sdk), &self.settings.bus, self.settings.timing.push_backoff)
    }

    fn gateway(&self) -> GatewayClient {
        let Settings { gateway_url, dial, timing, .. } = self.settings;
        GatewayClient::new(&self.sdk, gateway_url, dial.clone(), timing.call_timeout)
    }
}
