//! An extension that does nothing, as the crate's own documentation would write it.
use lambda_extension::{Error, LambdaEvent, NextEvent, service_fn};

async fn events(event: LambdaEvent) -> Result<(), Error> {
    if let NextEvent::Shutdown(_) = event.next {}
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_extension::run(service_fn(events)).await
}
