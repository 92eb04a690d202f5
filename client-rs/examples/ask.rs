//! Asks whoever serves a name, and awaits the answers: `ask TARGET NAME PAYLOAD...` prints each as text.
//! What serves it may be a Python process (`client-py/tests/test_serving.py`).

use std::error::Error;

use ringfence::{CallOptions, Client};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(target), Some(name)) = (arguments.next(), arguments.next()) else {
        return Err("usage: ask TARGET NAME PAYLOAD...".into());
    };
    let client = Client::builder().target(&target)?.connect()?;
    let driver = smol::Async::new(client.driver()?)?;
    smol::block_on(async {
        let _driving = smol::spawn(async move {
            while driver.readable().await.is_ok() {
                driver.get_ref().turn();
            }
        });
        // All are asked before the first is awaited.
        let options = CallOptions::default();
        let asked: Vec<_> = arguments
            .map(|payload| smol::spawn(client.request_async(&name, payload.as_bytes(), &options)))
            .collect();
        for answer in asked {
            println!("{}", String::from_utf8_lossy(&answer.await?));
        }
        Ok(())
    })
}
