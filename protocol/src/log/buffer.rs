//! A subscription's own bounded store: messages in order, and between them how many were missed.
//!
//! It never holds more messages than it was made for. What was missed is a number beside the message
//! that follows, so that dropping a message never drops the news of a loss, nor its place in the
//! order.

use std::collections::VecDeque;

use super::inbox::{Event, Keep, Message};

#[derive(Debug)]
pub(super) struct Buffer {
    keep: Keep,
    /// Each with how many were missed right before it.
    messages: VecDeque<(u64, Message)>,
    /// Missed behind the last message.
    missed: u64,
}

impl Buffer {
    pub(super) fn new(keep: Keep) -> Self {
        Self { keep, messages: VecDeque::new(), missed: 0 }
    }

    /// May the log be read ahead of what was asked for?
    pub(super) fn reads_ahead(&self) -> bool {
        self.keep != Keep::InLog
    }

    /// Is there nothing to be popped?
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.missed == 0
    }

    /// Adds a message; how many were dropped for it, itself included.
    pub(super) fn push(&mut self, message: Message) -> u64 {
        let (room, drops_oldest) = match self.keep {
            Keep::InLog => (usize::MAX, false),
            Keep::DropOldest { buffer } => (buffer, true),
            Keep::DropNewest { buffer } => (buffer, false),
        };
        let full = self.messages.len() >= room;
        if full && !drops_oldest {
            return 1;
        }
        let missed = std::mem::take(&mut self.missed);
        self.messages.push_back((missed, message));
        if full {
            self.drop_oldest();
        }
        full.into()
    }

    fn drop_oldest(&mut self) {
        let Some((missed, _)) = self.messages.pop_front() else { return };
        match self.messages.front_mut() {
            Some((before, _)) => *before += missed,
            None => self.missed += missed,
        }
    }

    pub(super) fn miss(&mut self, missed: u64) {
        self.missed += missed;
    }

    /// What comes next.
    pub(super) fn pop(&mut self) -> Option<Event> {
        let Some((missed, _)) = self.messages.front_mut() else {
            let missed = std::mem::take(&mut self.missed);
            return (missed > 0).then_some(Event::Overtaken { missed });
        };
        match std::mem::take(missed) {
            0 => self.messages.pop_front().map(|(_, message)| Event::Message(message)),
            missed => Some(Event::Overtaken { missed }),
        }
    }

    /// Throws away what is in it; how many messages that were.
    pub(super) fn clear(&mut self) -> u64 {
        let count = self.messages.len() as u64;
        self.messages.clear();
        self.missed = 0;
        count
    }
}
