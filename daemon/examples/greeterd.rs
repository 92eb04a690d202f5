//! A daemon with an engine of one's own, in forty lines. Start it, and from Python:
//!
//! ```python
//! client = ringfence.connect(daemon="target/release/examples/greeterd")
//! client.engine("greeter").hello(name="Ada", times=3)    # GreeterHello(letters=15, text='Ada! Ada! Ada! ')
//! ```

use std::process::ExitCode;

use ringfenced::{Call, Daemon, Engine, EngineSchema, Error, ErrorCode, MethodSchema, message};

message! {
    /// Whom to greet, and how often.
    struct Hello<'a> { times: u32, name: &'a str }
}
message! {
    /// The greeting.
    struct Greeting<'a> { letters: u32, text: &'a str }
}

struct Greeter;

impl Engine for Greeter {
    fn schema(&self) -> EngineSchema {
        let hello =
            MethodSchema::new::<Hello, Greeting>(0, "hello", "Greets by name.").idempotent();
        EngineSchema::new("greeter", "Says hello.", vec![hello])
    }

    fn call(&self, _op: u16, call: &mut Call<'_>) -> Result<(), Error> {
        let Hello { times, name } = call.request()?;
        if times > 1000 {
            return Err(Error::new(
                ErrorCode::InvalidArgument,
                format!("times = {times}: at most 1000"),
            ));
        }
        let text = format!("{name}! ").repeat(times as usize);
        call.reply(&Greeting { letters: text.len() as u32, text: &text });
        Ok(())
    }
}

fn main() -> ExitCode {
    Daemon::builder().builtin_engines().engine(Greeter).main()
}
