//! The floor with one call: the runtime, and a handler that puts one item through the SDK as `bootstrap` has it set up.

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use handlers::{Roots, sdk_from_env};
use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let client = &Client::new(&sdk_from_env(&Roots::from_env()?)?);
    run(service_fn(async |_: LambdaEvent<Value>| {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let put = client.put_item().table_name("webchat-poc-events").item("stream", text("a")).item("id", text("b"));
        put.send().await?;
        Ok::<_, Error>(json!({"statusCode": 200}))
    }))
    .await
}
