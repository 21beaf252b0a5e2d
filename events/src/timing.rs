//! Every duration of the design, in one place, with its default.
//!
//! Handlers and the local runtime are handed a `Timing`; tests hand them a faster one instead of sleeping.
//! The deployed functions run with [`Timing::default`]. A change here is a change of the design.

use std::time::Duration;

/// How long things may take, last, or wait.
#[derive(Clone, Debug)]
pub struct Timing {
    /// A route handler refuses a request older than this, which is what makes id order final (docs/adr/0001).
    pub request_max_age: Duration,
    /// Order by id inside a conversation is final after this: `request_max_age` + `route_timeout`.
    pub finality: Duration,

    /// Timeout of the functions behind a route.
    pub route_timeout: Duration,
    /// Timeout of `projector`.
    pub projector_timeout: Duration,
    /// Timeout of `post`.
    pub post_timeout: Duration,
    /// Timeout of `manage`.
    pub manage_timeout: Duration,
    /// A function that works through a list stops and hands on this long before its deadline.
    pub deadline_margin: Duration,

    /// One attempt of one AWS call. They answer in some 10 ms; what takes a hundred times as long is not coming.
    pub call_timeout: Duration,
    /// All attempts of one AWS call. A route handler makes three in a row at the worst, within `route_timeout`.
    pub operation_timeout: Duration,

    /// A 410 for a connection younger than this may mean "not established yet"; older, it means gone.
    pub early_gone: Duration,
    /// First wait before a push is tried again; doubles up to `push_backoff_max`.
    pub push_backoff: Duration,
    /// Longest wait between two tries of a push.
    pub push_backoff_max: Duration,
    /// How long one `post` invocation keeps trying before it hands the rest to a fresh notice.
    pub push_budget: Duration,
    /// A listener that took nothing of a broadcast within `push_budget`, while others did, gets one try of each for this long.
    pub slow_memory: Duration,

    /// A planner of a broadcast publishes a page of 500 this often: 10,000 pushes a second, what API Gateway takes from an
    /// account unless it was asked for more.
    pub page_interval: Duration,

    /// How often `manage` sweeps the live connections.
    pub sweep_interval: Duration,
    /// Rows of ended connections are kept this long after the end.
    pub view_retention: Duration,

    /// API Gateway: no data in either direction for this long closes the connection with 1001.
    pub idle_limit: Duration,
    /// API Gateway: no connection lives longer.
    pub connection_limit: Duration,
    /// Local gateway: a client that reads nothing for this long while frames wait for it is dropped. AWS names no such limit.
    pub unread_limit: Duration,
    /// Local gateway: a client that has not sent the head of its request by then is dropped.
    pub head_limit: Duration,
    /// API Gateway: an integration that has not answered by then has failed.
    pub integration_timeout: Duration,
    /// Lambda: waits before the second and the third attempt of an asynchronous invocation.
    pub async_retries: [Duration; 2],
    /// Lambda: first wait after a throttled asynchronous invocation; doubles up to `throttle_retry_max`.
    pub throttle_retry: Duration,
    /// Lambda: longest wait after a throttled asynchronous invocation.
    pub throttle_retry_max: Duration,
    /// Stream mapping: first wait after a failed batch; doubles up to `batch_retry_max`.
    pub batch_retry: Duration,
    /// Stream mapping: longest wait after a failed batch.
    pub batch_retry_max: Duration,
    /// Stream mapping: a record that has failed until it is this old goes to the on-failure destination.
    pub record_max_age: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            request_max_age: Duration::from_secs(20),
            finality: Duration::from_secs(30),
            route_timeout: Duration::from_secs(10),
            projector_timeout: Duration::from_secs(60),
            post_timeout: Duration::from_secs(60),
            manage_timeout: Duration::from_secs(240),
            deadline_margin: Duration::from_secs(10),
            call_timeout: Duration::from_secs(1),
            operation_timeout: Duration::from_secs(3),
            early_gone: Duration::from_secs(60),
            push_backoff: Duration::from_millis(100),
            push_backoff_max: Duration::from_secs(3),
            push_budget: Duration::from_secs(20),
            slow_memory: Duration::from_secs(60),
            page_interval: Duration::from_millis(50),
            sweep_interval: Duration::from_secs(300),
            view_retention: Duration::from_secs(7 * 24 * 3600),
            idle_limit: Duration::from_secs(600),
            connection_limit: Duration::from_secs(2 * 3600),
            unread_limit: Duration::from_secs(30),
            head_limit: Duration::from_secs(10),
            integration_timeout: Duration::from_secs(29),
            async_retries: [Duration::from_secs(60), Duration::from_secs(120)],
            throttle_retry: Duration::from_secs(1),
            throttle_retry_max: Duration::from_secs(300),
            batch_retry: Duration::from_secs(1),
            batch_retry_max: Duration::from_secs(60),
            record_max_age: Duration::from_secs(6 * 3600),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `chat` reads the recipient's stream, appends, and looks the event up if the answer is lost.
    #[test]
    fn a_route_handler_can_always_answer_before_it_is_killed() {
        let timing = Timing::default();
        assert!(timing.operation_timeout * 3 < timing.route_timeout);
        assert!(timing.route_timeout < timing.integration_timeout);
    }

    #[test]
    fn an_event_of_a_request_is_in_the_log_before_its_order_is_final() {
        let timing = Timing::default();
        assert!(timing.request_max_age + timing.route_timeout <= timing.finality);
    }

    /// What is left of a page after the index is read and its pushes are made, each for as long as may be: the record of the
    /// outcome (and its look-up), then the notices.
    #[test]
    fn post_has_time_to_record_what_it_did() {
        let timing = Timing::default();
        assert!(timing.push_budget * 2 + timing.call_timeout + timing.operation_timeout * 5 < timing.post_timeout);
    }
}
