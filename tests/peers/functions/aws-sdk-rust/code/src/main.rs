//! DynamoDB by the SDK for Rust, and a service that the policy refuses: its client gives up as without the layer.

use std::time::Instant;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

async fn note(client: &Client) -> Option<usize> {
    let key = AttributeValue::S("1".to_owned());
    let answer = client.get_item().table_name("notes").key("id", key).send().await.ok()?;
    Some(answer.item?.len())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let shared = aws_config::load_from_env().await;
    let at = |host: &str| {
        let to = aws_sdk_dynamodb::config::Builder::from(&shared).endpoint_url(format!("http://{host}")).build();
        Client::from_conf(to)
    };
    let (table, refused) = (at("dynamodb.eu-west-1.amazonaws.com"), at("other.example"));
    let (table, refused) = (&table, &refused);
    lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| async move {
        let began = Instant::now();
        let kept = note(table).await;
        let reached = if event.payload["refused"] == true { note(refused).await } else { None };
        Ok::<Value, Error>(json!([kept, reached, began.elapsed().as_secs() < 25]))
    }))
    .await
}
