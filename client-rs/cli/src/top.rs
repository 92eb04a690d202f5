//! `ringfence top`: rates between two looks at the daemon's board, again and again.
//!
//! Invariants: the daemon is never asked for a number, it writes its board whether anybody looks or
//! not; nothing on the terminal has to be put back, so that any way to end is a good one. [`sample`]
//! is the shape of the JSON, [`screen`] what people see.

mod sample;
mod screen;

use std::io::{IsTerminal as _, stdout};
use std::time::Duration;

use ringfence::board_rows::Snapshot;
use ringfence::{Board, Client};

use crate::args::{Global, Top};
use crate::board::{Moment, fresh};
use crate::exit::Failure;
use crate::output;
use sample::Sample;

pub(crate) fn run(global: &Global, top: &Top) -> Result<(), Failure> {
    let client = global.connect()?;
    let mut watch = Watch::start(client)?;
    if top.once || !stdout().is_terminal() {
        let sample = watch.sample(top.interval)?;
        return match global.json {
            true => output::json(&sample),
            false => output::text(&screen::text(&sample, usize::MAX)),
        };
    }
    let mut paint = screen::painter(top.interval);
    loop {
        let sample = watch.sample(top.interval)?;
        let read = if global.json { output::next_json(&sample)? } else { paint(&sample)? };
        if !read {
            return Ok(());
        }
    }
}

/// A board and the last look at it.
struct Watch {
    client: Client,
    board: Board,
    last: Snapshot,
}

impl Watch {
    fn start(client: Client) -> Result<Self, Failure> {
        let board = client.board()?;
        let last = fresh(&board)?;
        Ok(Self { client, board, last })
    }

    /// What happened in the next while. Of a daemon that came after another there is nothing to
    /// compare with yet: its rates are of the whole time that it runs.
    fn sample(&mut self, interval: Duration) -> Result<Sample, Failure> {
        std::thread::sleep(interval);
        let mut next = fresh(&self.board)?;
        if next.totals.beat_ns == self.last.totals.beat_ns
            && let Ok(board) = self.client.board()
        {
            // Stalled or gone: if there is another daemon in its place, this is its board.
            self.board = board;
            next = self.board.snapshot()?;
        }
        let sample = Sample::between(&self.last, &next, self.client.info(), &Moment::now());
        self.last = next;
        Ok(sample)
    }
}
