//! A function and an extension in one process: the extension registers in init and waits on a connection of its own.

use lambda_extension::{service_fn as extension_fn, Extension, LambdaEvent as ExtensionEvent, NextEvent};
use lambda_runtime::{service_fn, LambdaEvent};
use serde_json::{json, Value};

async fn handle(event: LambdaEvent<Value>) -> Result<Value, lambda_runtime::Error> {
    let stolen = event.payload.get("steal").map(|_| steal(&event.context.request_id));
    Ok(json!({ "echo": event.payload, "stolen": stolen }))
}

/// What a forged request does: answers in the runtime's place, on a connection of its own.
fn steal(request: &str) -> String {
    use std::io::{Read, Write};
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap();
    let mut socket = match std::net::TcpStream::connect(&api) {
        Ok(socket) => socket,
        Err(error) => return error.kind().to_string(),
    };
    let head = format!("POST /2018-06-01/runtime/invocation/{request}/response HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}");
    let sent = socket.write_all(head.as_bytes());
    let mut answer = [0; 12];
    match sent.and_then(|()| socket.read_exact(&mut answer)) {
        Ok(()) => String::from_utf8_lossy(&answer).into_owned(),
        Err(error) => error.kind().to_string(),
    }
}

async fn on_event(event: ExtensionEvent) -> Result<(), lambda_extension::Error> {
    if let NextEvent::Invoke(invoke) = event.next {
        eprintln!("extension saw {}", invoke.request_id.len());
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    let extension = Extension::new()
        .with_events(&["INVOKE"])
        .with_events_processor(extension_fn(on_event))
        .register()
        .await?;
    tokio::try_join!(lambda_runtime::run(service_fn(handle)), extension.run())?;
    Ok(())
}
