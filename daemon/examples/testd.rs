//! A daemon for the project's own tests: its engine `trial` naps, burns, panics and counts on demand;
//! its engine `later` answers when it is told to.
//!
//! What `note` is given goes into the file that TRIAL_JOURNAL names, which outlives a killed daemon: by
//! it a test knows which calls took effect, whatever their callers were told.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringfenced::{
    Call, Cost, Daemon, Deferred, Engine, EngineSchema, Error, ErrorCode, MethodSchema, message,
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
const DIG: u16 = 10;
const ABORT: u16 = 11;
const PLACE: u16 = 12;

#[derive(Default)]
struct Trial {
    counted: AtomicU64,
    examined: AtomicU64,
    placed: AtomicU64,
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
                MethodSchema::new::<Number, Number>(
                    DIG,
                    "dig",
                    "Takes so many KiB of stack; of an even number in a worker.",
                ),
                MethodSchema::new::<Number, Number>(ABORT, "abort", "Aborts the process."),
                MethodSchema::new::<Number, Number>(
                    PLACE,
                    "place",
                    "The place of this call among all such; it says that it costs so many microseconds.",
                ),
            ],
        )
    }

    fn cost(&self, op: u16, request: &[u8]) -> Cost {
        let value = request.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        match op {
            NAP | STEPS => Cost::micros(u32::MAX),
            PANIC if value == 1 => Cost::micros(u32::MAX),
            COUNT if value > 0 => Cost::micros(u32::MAX),
            DIG if value.is_multiple_of(2) => Cost::micros(u32::MAX),
            FILL if value > 64 * 1024 => Cost::micros(u32::MAX),
            PLACE => Cost::micros(value as u32),
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
            DIG => assert!(dig(value) > 0),
            ABORT => std::process::abort(),
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
            PLACE => {
                let value = self.placed.fetch_add(1, Ordering::SeqCst);
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

/// Goes down until this many KiB of stack are taken: how many steps.
fn dig(kib: u64) -> u64 {
    let here = 0_u8;
    deeper(std::ptr::from_ref(&here).addr(), kib as usize * 1024)
}

#[inline(never)]
fn deeper(top: usize, bytes: usize) -> u64 {
    let room = std::hint::black_box([1_u8; 1024]);
    let taken = top.saturating_sub(room.as_ptr().addr());
    if taken >= bytes { 0 } else { deeper(top, bytes) + u64::from(room[taken % 1024]) }
}

/// One write(2), so that a kill leaves all of it or nothing.
fn note(value: u64) -> Result<(), Error> {
    let io = |error: std::io::Error| Error::new(ErrorCode::Io, error.to_string());
    let path = std::env::var_os("TRIAL_JOURNAL").unwrap_or_default();
    let mut journal = OpenOptions::new().append(true).open(path).map_err(io)?;
    journal.write_all(&value.to_le_bytes()).map_err(io)
}

message! {
    /// A call to be kept under this key.
    struct Wait<'a> { key: u64, begin: bool, data: &'a [u8] }
}
message! {
    /// What is to become of the calls under this key.
    struct Tell { key: u64, how: u8 }
}

const WAIT: u16 = 0;
const TELL: u16 = 1;
const KEPT: u16 = 2;

/// Answers when another call says so.
#[derive(Default)]
struct Later {
    /// Session, key, call.
    kept: Mutex<Vec<(u64, u64, Deferred)>>,
}

impl Engine for Later {
    fn schema(&self) -> EngineSchema {
        EngineSchema::new(
            "later",
            "Answers later.",
            vec![
                MethodSchema::new::<Wait, Number>(
                    WAIT,
                    "wait",
                    "Waits until it is told; key 0 answers at once, key 1 fails at once.",
                ),
                MethodSchema::new::<Tell, Number>(
                    TELL,
                    "tell",
                    "0 answers here, 1 in a thread, 2 drops, 3 begins: how many calls.",
                ),
                MethodSchema::new::<Number, Number>(KEPT, "kept", "How many calls are kept."),
            ],
        )
    }

    fn cost(&self, op: u16, _request: &[u8]) -> Cost {
        if op == WAIT { Cost::WAITS } else { Cost::LIGHT }
    }

    fn call(&self, op: u16, call: &mut Call<'_>) -> Result<(), Error> {
        let value = match op {
            WAIT => {
                let Wait { key, begin, data: _ } = call.request()?;
                if key > 0 {
                    let deferred = call.defer()?;
                    let _it_is_over = begin && deferred.begin();
                    self.kept.lock().map_err(poisoned)?.push((call.session(), key, deferred));
                }
                if key == 1 {
                    return Err(Error::new(ErrorCode::InvalidArgument, "key 1 fails"));
                }
                key
            }
            TELL => {
                let Tell { key, how } = call.request()?;
                self.tell(key, how)?
            }
            _ => self.kept.lock().map_err(poisoned)?.len() as u64,
        };
        call.reply(&Number { value });
        Ok(())
    }

    fn session_ended(&self, session: u64) {
        if let Ok(mut kept) = self.kept.lock() {
            kept.retain(|(of, _, _)| *of != session);
        }
    }
}

impl Later {
    fn tell(&self, key: u64, how: u8) -> Result<u64, Error> {
        let mut kept = self.kept.lock().map_err(poisoned)?;
        if how == 3 {
            let begun = kept.iter().filter(|(_, of, call)| *of == key && call.begin()).count();
            return Ok(begun as u64);
        }
        let told: Vec<_> = kept.extract_if(.., |(_, of, _)| *of == key).collect();
        let count = told.len() as u64;
        let answer = move || {
            for (_, key, call) in told {
                if how < 2 {
                    let _nobody_wants_it = call.answer(Ok(key.to_le_bytes().to_vec()));
                }
            }
        };
        if how == 1 {
            std::thread::spawn(answer);
        } else {
            answer();
        }
        Ok(count)
    }
}

fn poisoned<T>(_: T) -> Error {
    Error::new(ErrorCode::Internal, "a call panicked")
}

fn main() -> ExitCode {
    let trial = Trial::default();
    Daemon::builder().builtin_engines().engine(trial).engine(Later::default()).main()
}
