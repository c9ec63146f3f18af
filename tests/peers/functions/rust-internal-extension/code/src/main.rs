//! A runtime and an internal extension in one process: a task registers beside the loop of the runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lambda_extension::{Extension, LambdaEvent as ExtensionEvent, NextEvent, service_fn as extension_fn};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let extension = Extension::new()
        .with_events(&["INVOKE"])
        .with_events_processor(extension_fn(move |event: ExtensionEvent| {
            let count = Arc::clone(&count);
            async move {
                if matches!(event.next, NextEvent::Invoke(_)) {
                    count.fetch_add(1, Ordering::SeqCst);
                }
                Ok::<(), Error>(())
            }
        }))
        .with_extension_name("internal")
        .register()
        .await?;
    let runtime = lambda_runtime::run(service_fn(|_: LambdaEvent<Value>| async {
        Ok::<Value, Error>(json!({ "answered": true }))
    }));
    tokio::try_join!(runtime, extension.run())?;
    Ok(())
}
