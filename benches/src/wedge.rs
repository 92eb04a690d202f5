//! The two processes of `tests/raw_sync_wedge.rs`: one that holds a raw_sync mutex, one that wants
//! what it guards. They talk to the test in lines; they decide nothing.

use std::io::BufRead;
use std::rc::Rc;

use crate::BenchError;
use crate::peer::say_ready;
use crate::raw::{Flavour, OBJECT_LINES, RawEvent, RawLock, Role, Segment};

/// Line of the plain mutex.
pub const MUTEX_LINE: usize = 0;
/// Line of the blocking event, which begins with its own mutex.
pub const EVENT_LINE: usize = OBJECT_LINES;
/// Lines of the whole segment.
pub const LINES: usize = EVENT_LINE + OBJECT_LINES;
/// What the waiter says once it has what it wanted.
pub const ACQUIRED: &str = "acquired";

/// Initialises both objects.
pub fn make(segment: &Rc<Segment>) -> Result<(), BenchError> {
    RawLock::at(segment, MUTEX_LINE, Role::Maker)?;
    RawEvent::at(segment, EVENT_LINE, Flavour::Blocking, Role::Maker)?;
    Ok(())
}

/// Takes both mutexes, says "ready", and keeps them until its input says anything at all.
///
/// The event's own mutex is what any caller of `wait` or `set` holds for a moment.
pub(crate) fn hold(name: &str) -> Result<(), BenchError> {
    let segment = Rc::new(Segment::open(name)?);
    let mutex = RawLock::at(&segment, MUTEX_LINE, Role::Opener)?;
    let inside_event = RawLock::at(&segment, EVENT_LINE, Role::Opener)?;
    let (_held, _also_held) = (mutex.lock()?, inside_event.lock()?);
    say_ready()?;
    read_line()?;
    Ok(())
}

/// Says "ready", then takes the mutex or sets the event, as its input says, and says "acquired".
pub(crate) fn wait(name: &str) -> Result<(), BenchError> {
    let segment = Rc::new(Segment::open(name)?);
    let mutex = RawLock::at(&segment, MUTEX_LINE, Role::Opener)?;
    let event = RawEvent::at(&segment, EVENT_LINE, Flavour::Blocking, Role::Opener)?;
    say_ready()?;
    match read_line()?.trim_end() {
        "mutex" => drop(mutex.lock()?),
        _ => event.set()?,
    }
    println!("{ACQUIRED}");
    Ok(())
}

fn read_line() -> Result<String, BenchError> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line)
}
