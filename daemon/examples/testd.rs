//! A daemon for the project's own tests: its engine `trial` naps, burns, panics and counts on demand.
//!
//! What `note` is given goes into the file that TRIAL_JOURNAL names, which outlives a killed daemon: by
//! it a test knows which calls took effect, whatever their callers were told.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringfenced::{
    Call, Cost, Daemon, Engine, EngineSchema, Error, ErrorCode, MethodSchema, message,
};

message! {
    /// A number.
    struct Number { value: u64 }
}
message! {
    /// Any bytes.
    struct Bytes<'a> { data: &'a [u8] }
}
message! {
    /// So many steps of so many microseconds.
    struct Steps { count: u32, step_us: u32 }
}
message! {
    /// One of everything that a field can be.
    struct Everything<'a> {
        flag: bool, a: u8, b: u16, c: u32, d: u64, e: i8, f: i16, g: i32, h: i64, x: f32, y: f64,
        text: &'a str, words: &'a [u64], rows: &'a [f32],
    }
}

const NAP: u16 = 0;
const BURN: u16 = 1;
const PANIC: u16 = 2;
const FILL: u16 = 3;
const COUNT: u16 = 4;
const COUNTED: u16 = 5;
const STEPS: u16 = 6;
const MIRROR: u16 = 7;
const FAIL: u16 = 8;
const NOTE: u16 = 9;

#[derive(Default)]
struct Trial {
    counted: AtomicU64,
    examined: AtomicU64,
}

impl Engine for Trial {
    fn schema(&self) -> EngineSchema {
        EngineSchema::new(
            "trial",
            "What tests need.",
            vec![
                MethodSchema::new::<Number, Number>(NAP, "nap", "Sleeps so many milliseconds.")
                    .idempotent(),
                MethodSchema::new::<Number, Number>(
                    BURN,
                    "burn",
                    "Computes so many microseconds in place.",
                )
                .idempotent(),
                MethodSchema::new::<Number, Number>(
                    PANIC,
                    "panic",
                    "Panics: 0 in the call, 1 in a worker.",
                ),
                MethodSchema::new::<Number, Bytes>(FILL, "fill", "Answers so many bytes.")
                    .idempotent(),
                MethodSchema::new::<Number, Number>(
                    COUNT,
                    "count",
                    "Adds to a counter, after so many milliseconds.",
                ),
                MethodSchema::new::<Number, Number>(
                    COUNTED,
                    "counted",
                    "0: the counter; 1: steps examined.",
                )
                .idempotent(),
                MethodSchema::new::<Steps, Number>(
                    STEPS,
                    "steps",
                    "Examines steps until its deadline.",
                ),
                MethodSchema::new::<Everything, Everything>(
                    MIRROR,
                    "mirror",
                    "Answers what it was sent.",
                )
                .idempotent(),
                MethodSchema::new::<Number, Number>(
                    FAIL,
                    "fail",
                    "Fails with this number of the error table.",
                ),
                MethodSchema::new::<Number, Number>(NOTE, "note", "Writes it into the journal."),
            ],
        )
    }

    fn cost(&self, op: u16, request: &[u8]) -> Cost {
        let value = request.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        match op {
            NAP | STEPS => Cost::micros(u32::MAX),
            PANIC if value == 1 => Cost::micros(u32::MAX),
            COUNT if value > 0 => Cost::micros(u32::MAX),
            FILL if value > 64 * 1024 => Cost::micros(u32::MAX),
            _ => Cost::LIGHT,
        }
    }

    fn call(&self, op: u16, call: &mut Call<'_>) -> Result<(), Error> {
        if op == MIRROR {
            let all: Everything<'_> = call.request()?;
            call.reply(&all);
            return Ok(());
        }
        if op == STEPS {
            return self.steps(call);
        }
        let Number { value } = call.request()?;
        match op {
            NOTE => note(value)?,
            NAP => call.sleep(Duration::from_millis(value))?,
            BURN => {
                let end = Instant::now() + Duration::from_micros(value);
                while Instant::now() < end {}
            }
            PANIC => panic!("asked to panic with {value}"),
            FILL => {
                let data: Vec<u8> = (0..value).map(|at| (at % 251) as u8).collect();
                call.reply(&Bytes { data: &data });
                return Ok(());
            }
            COUNT => {
                std::thread::sleep(Duration::from_millis(value));
                let value = self.counted.fetch_add(1, Ordering::SeqCst) + 1;
                call.reply(&Number { value });
                return Ok(());
            }
            COUNTED => {
                let counter = if value == 0 { &self.counted } else { &self.examined };
                call.reply(&Number { value: counter.load(Ordering::SeqCst) });
                return Ok(());
            }
            _ => {
                let code = ErrorCode::from_u16(value as u16).unwrap_or(ErrorCode::Internal);
                return Err(Error::new(code, format!("asked to fail with {value}")));
            }
        }
        call.reply(&Number { value });
        Ok(())
    }
}

impl Trial {
    fn steps(&self, call: &mut Call<'_>) -> Result<(), Error> {
        let Steps { count, step_us } = call.request()?;
        for step in 0..count {
            call.check()?;
            self.examined.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_micros(u64::from(step_us)));
            call.progress(u64::from(step) + 1);
        }
        call.reply(&Number { value: u64::from(count) });
        Ok(())
    }
}

/// One write(2), so that a kill leaves all of it or nothing.
fn note(value: u64) -> Result<(), Error> {
    let io = |error: std::io::Error| Error::new(ErrorCode::Io, error.to_string());
    let path = std::env::var_os("TRIAL_JOURNAL").unwrap_or_default();
    let mut journal = OpenOptions::new().append(true).open(path).map_err(io)?;
    journal.write_all(&value.to_le_bytes()).map_err(io)
}

fn main() -> ExitCode {
    Daemon::builder().builtin_engines().engine(Trial::default()).main()
}
