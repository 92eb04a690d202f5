//! The mutants: where, what it says, what it would say, and who notices.
//!
//! A text is the `nth` of its file. Where nobody can notice, the reason stands in its place.

use crate::mutant::{Mutant, Test, kill_model, killed, loom, same};

const CLIENT: &str = "protocol/src/ring/client.rs";
const SERVER: &str = "protocol/src/ring/server.rs";
const RING: &str = "protocol/src/ring/mod.rs";
const LEASE: &str = "protocol/src/ring/lease.rs";
const RECOVERY: &str = "protocol/src/ring/recovery.rs";
const LISTENING: &str = "protocol/src/ring/listening.rs";
const READER: &str = "protocol/src/log/reader.rs";
const WRITER: &str = "protocol/src/log/writer.rs";
const BLOCKS: &str = "protocol/src/log/blocks.rs";
const CURSORS: &str = "protocol/src/log/cursors.rs";
const INBOX: &str = "protocol/src/log/inbox.rs";
const BOARD: &str = "protocol/src/board.rs";
const LEDGER: &str = "protocol/src/ledger.rs";
const SNAPSHOT: &str = "protocol/src/board/snapshot.rs";
const PLACE: &str = "daemon/core/src/bus/place.rs";
const HEADLINES: &str = "daemon/core/src/bus/headlines.rs";
const MEMORY: &str = "protocol/src/memory.rs";
const REGION: &str = "protocol/src/region.rs";
const WINDOWS: &str = "protocol/src/sys/window/table.rs";
const WALL: &str = "protocol/src/sys/wall.rs";

const ABCD: Test = loom("a_b_c_d_what_is_published_is_what_is_read");
const EF: Test = loom("e_f_a_slot_is_reused_only_after_the_daemon_has_read_it");
const GH: Test = loom("g_h_an_answer_is_overwritten_only_after_it_was_read");
const IJ: Test = loom("i_j_a_sleeping_daemon_is_woken_for_requests_and_for_credit");
const KL: Test = loom("k_l_a_sleeping_client_is_woken_for_its_answers");
const MN: Test = loom("m_n_a_reply_block_is_rewritten_only_after_it_was_given_back");
const PROGRESS: Test = loom("aa_ab_progress_is_that_of_the_call_whose_ticket_stands_there");
const LISTEN: Test = loom("ac_ad_a_sleeping_subscription_is_woken_for_what_is_published");
const OP: Test = loom("o_p_a_message_that_is_overwritten_meanwhile_is_not_accepted");
const QR: Test = loom("q_r_a_message_is_read_as_it_was_written");
const SHORT: Test = loom("o_p_q_r_a_short_message_is_read_as_it_was_written_or_not_at_all");
const ST: Test = loom("s_t_what_lies_below_the_end_is_there");
const WP: Test = loom("w_p_a_block_that_is_reused_meanwhile_is_not_accepted");
const WXYZ: Test = loom("w_x_y_z_a_block_is_reused_only_while_nobody_reads_it_in_place");
const CURSOR: Test = loom("ai_aj_a_message_is_overwritten_only_after_it_was_copied");
const CURSOR_BUFFERED: Test =
    loom("ai_aj_a_message_is_overwritten_only_after_it_was_copied_into_a_buffer");
const ROW: Test = loom("a_row_that_is_written_meanwhile_is_not_accepted");
const LEDGERS: Test = loom("ae_af_ag_ah_a_ledger_that_is_written_meanwhile_is_not_accepted");
const HEADER: Test = loom("a_header_is_there_when_its_magic_is");
const KILLS: Test = kill_model("f1_two_kills_anywhere_leave_every_request_answered_once");
const HOISTED: Test = kill_model("f1_the_orderings_are_enough_however_stores_are_hoisted");
const SUNK: Test = kill_model("f1_the_orderings_are_enough_however_stores_sink");
const HEIR_SLEEPS: Test = kill_model("p1_a_successor_sleeps_under_a_value_that_nobody_rang_for");

const WAKING: Test = Test {
    package: "ringfence-core",
    target: "lib",
    name: "p8_a_fence_stands_between_a_publish_and_the_look_at_sleepers",
};

/// It sees what the processor does, which takes two cores and some luck.
pub(crate) const LITMUS: Test = Test {
    package: "ringfence-protocol",
    target: "litmus",
    name: "p2_one_of_two_sides_sees_what_the_other_stored",
};

const ONE_WORD: &str = "the word is all that is asked for: nothing is read because of it";
const DEAD: &str =
    "its writer is dead, and its lock was taken: the kernel ordered all its stores before";
const ONCE_PER_VALUE: &str = "the other side acts once on each odd value, awake or not (SPEC P2)";
const AGAIN: &str = "with a kill on either side of it recovery finds, and stores, the same again";
const HANDED: &str = "nobody else has the memory yet: a descriptor or a lock hands it over";
const X86: &str = "on x86 the weaker one is the same instruction; over loom's memory, by the same trait, the \
                   models prove what it is for";
const GUARDED: &str = "a hint: what it speaks of is read under a lock";
const X86_ALONE: &str = "on x86 the weaker one is the same instruction";
const WALL_X86: &str = "the counter is used on x86 only, where it is the same instruction";

/// All of them.
pub(crate) const TABLE: &[Mutant] = &[
    // The rings: who submits, who answers.
    killed(CLIENT, "self.down.load_acquire(down::RELEASED)", "self.down.load(down::RELEASED)", EF),
    killed(
        CLIENT,
        "self.up.store_release(at + slot::SEQ, self.submitted);",
        "self.up.store(at + slot::SEQ, self.submitted);",
        ABCD,
    ),
    killed(
        CLIENT,
        "write_slot(&self.up, at, header, line, behind);",
        "self.up.store_release(at + slot::SEQ, ticket.wrapping_add(1)); \
         write_slot(&self.up, at, header, line, behind);",
        ABCD,
    ),
    killed(CLIENT, "self.up.fence(Ordering::SeqCst);", "", IJ),
    killed(CLIENT, "self.up.fence(Ordering::SeqCst);", "self.up.fence(Ordering::AcqRel);", IJ),
    killed(CLIENT, "self.down.fence(Ordering::Acquire);", "", ABCD),
    killed(
        CLIENT,
        "self.up.store_release(self.up_map.release + number * 8, generation);",
        "self.up.store(self.up_map.release + number * 8, generation);",
        MN,
    ),
    killed(
        CLIENT,
        "self.up.store_release(up::CONSUMED, self.consumed);",
        "self.up.store(up::CONSUMED, self.consumed);",
        GH,
    ),
    killed(CLIENT, "self.up.store_u32(up::PARKED, self.parked);", "", KL),
    killed(CLIENT, "self.up.fence(Ordering::SeqCst);", "", KL).nth(1),
    killed(CLIENT, "self.up.fence(Ordering::SeqCst);", "self.up.fence(Ordering::AcqRel);", KL)
        .nth(1),
    killed(
        CLIENT,
        "Nap::Sleep { wake }",
        "Nap::Sleep { wake: self.down.load_u32(down::WAKE) }",
        KL,
    ),
    same(CLIENT, "self.up.store_u32(up::PARKED, self.parked);", ONCE_PER_VALUE).nth(1),
    same(CLIENT, "self.down.load_acquire(self.entry_at(*index) + entry::TICKET)", ONE_WORD),
    same(CLIENT, "self.up.store_release(self.up_map.cancel + index * 8, mark);", ONE_WORD),
    killed(
        CLIENT,
        "self.down.load_acquire(at + entry::TICKET)",
        "self.down.load(at + entry::TICKET)",
        PROGRESS,
    ),
    same(CLIENT, "self.down.load_acquire(down::CLAIMED)", ONE_WORD),
    // The rings: the daemon.
    same(
        SERVER,
        "up.load_acquire(up::CONSUMED)",
        "the dead daemon's H came before; what is claimed anew has B's fence in between",
    ),
    same(SERVER, "down.store_release(down::EPOCH, epoch);", "nobody reads the word in layout 1.0"),
    killed(SERVER, "lane.unpark();", "", HEIR_SLEEPS),
    killed(SERVER, "self.up.fence(Ordering::Acquire);", "", ABCD),
    killed(SERVER, "self.up.fence(Ordering::Acquire);", "", GH),
    killed(
        SERVER,
        "self.down.store_release(down::CLAIMED, self.claimed);",
        "self.down.store(down::CLAIMED, self.claimed);",
        HOISTED,
    ),
    killed(SERVER, "self.down.store_release(down::CLAIMED, self.claimed);", "", KILLS),
    killed(
        SERVER,
        "self.down.store_release(down::RELEASED, self.released);",
        "self.down.store(down::RELEASED, self.released);",
        EF,
    ),
    killed(
        SERVER,
        "self.claim();\n        self.release();\n        Entry(entry)",
        "self.release(); self.claim(); Entry(entry)",
        KILLS,
    ),
    killed(SERVER, "self.down.fence(Ordering::Release);", "", HOISTED),
    killed(
        SERVER,
        "self.down.store_release(at + entry::TICKET, request.ticket.wrapping_add(1));",
        "self.down.store(at + entry::TICKET, request.ticket.wrapping_add(1));",
        PROGRESS,
    ),
    killed(
        SERVER,
        "self.down.store_release(at + entry::ATTEMPTS, open.attempts.saturating_add(1));",
        "",
        KILLS,
    ),
    killed(
        SERVER,
        "write_slot(&self.down, at, header, line_words(line), behind);",
        "self.down.store_release(at + slot::SEQ, self.done.wrapping_add(1)); \
         write_slot(&self.down, at, header, line_words(line), behind);",
        ABCD,
    ),
    killed(
        SERVER,
        "write_slot(&self.down, at, header, line_words(line), behind);",
        "self.down.store_release(down::DONE, self.done.wrapping_add(1)); \
         write_slot(&self.down, at, header, line_words(line), behind);",
        KILLS,
    ),
    killed(
        SERVER,
        "self.down.store_release(at + slot::SEQ, self.done);",
        "self.down.store(at + slot::SEQ, self.done);",
        ABCD,
    ),
    killed(
        SERVER,
        "self.down.store_release(down::DONE, self.done);",
        "self.down.store(down::DONE, self.done);",
        HOISTED,
    ),
    killed(SERVER, "self.down.store_release(down::DONE, self.done);", "", KILLS),
    killed(
        SERVER,
        "self.answer(header, inline);",
        "self.down.store_release(self.entry_at(entry.0) + entry::TICKET, 0); \
         self.answer(header, inline);",
        KILLS,
    ),
    killed(
        SERVER,
        "self.down.store_release(self.entry_at(entry.0) + entry::TICKET, 0);",
        "self.down.store(self.entry_at(entry.0) + entry::TICKET, 0);",
        HOISTED,
    ),
    killed(SERVER, "self.down.fence(Ordering::SeqCst);", "", KL),
    killed(SERVER, "self.down.fence(Ordering::SeqCst);", "self.down.fence(Ordering::AcqRel);", KL),
    killed(SERVER, "self.down.store_u32(down::WAKE, self.wake);", "", KL),
    killed(SERVER, "self.down.store_u32(down::PARKED, self.parked);", "", IJ),
    killed(SERVER, "self.down.fence(Ordering::SeqCst);", "", IJ).nth(1),
    killed(SERVER, "self.down.fence(Ordering::SeqCst);", "self.down.fence(Ordering::AcqRel);", IJ)
        .nth(1),
    same(SERVER, "self.down.store_u32(down::PARKED, self.parked);", ONCE_PER_VALUE).nth(1),
    killed(RING, "memory.store(at + slot::TICKET, start.wrapping_sub(1));", "", KILLS),
    // Reply memory.
    same(LEASE, "down.load_acquire(at)", DEAD),
    same(
        LEASE,
        "up.load_acquire(leases.up.release + number * 8)",
        "the Acquire of `consumed` follows in `recover`, before any block is written",
    ),
    same(LEASE, "down.store_release(at + 8, NOBODY);", AGAIN),
    killed(
        LEASE,
        "down.store(self.down.lease + number * 16 + 8, ticket);",
        "down.store_release(self.down.lease + number * 16, lease.generation); \
         down.store(self.down.lease + number * 16 + 8, ticket);",
        KILLS,
    ),
    killed(
        LEASE,
        "down.store_release(self.down.lease + number * 16, lease.generation);",
        "down.store(self.down.lease + number * 16, lease.generation);",
        SUNK,
    ),
    killed(
        LEASE,
        "up.load_acquire(self.up.release + number * 8)",
        "up.load(self.up.release + number * 8)",
        MN,
    ),
    // Recovery.
    same(RECOVERY, "down.load_acquire(down::CLAIMED)", DEAD),
    same(RECOVERY, "down.load_acquire(down::RELEASED)", DEAD),
    same(RECOVERY, "down.load_acquire(down::DONE)", DEAD),
    same(RECOVERY, "down.load_acquire(answer_at(geometry, done) + slot::SEQ)", DEAD),
    same(RECOVERY, "down.load_acquire(at + entry::TICKET)", DEAD),
    killed(
        RECOVERY,
        "down.store_release(down::DONE, words.done);",
        "down.store_release(down::RELEASED, words.claimed); down.store_release(down::DONE, words.done);",
        KILLS,
    ),
    same(RECOVERY, "down.store_release(entry_at(geometry, index) + entry::TICKET, 0);", AGAIN),
    killed(
        RECOVERY,
        "down.store_release(down::RELEASED, words.claimed);",
        "down.store(down::RELEASED, words.claimed);",
        HOISTED,
    ),
    killed(
        RECOVERY,
        "down.store(at + entry::ATTEMPTS, 1);",
        "down.store_release(at + entry::TICKET, position.wrapping_add(1)); \
         down.store(at + entry::ATTEMPTS, 1);",
        KILLS,
    ),
    killed(
        RECOVERY,
        "down.store_release(at + entry::TICKET, position.wrapping_add(1));",
        "down.store(at + entry::TICKET, position.wrapping_add(1));",
        SUNK,
    ),
    // Subscriptions that sleep.
    killed(LISTENING, "up.store_u32(up::LISTENING, value);", "", LISTEN),
    killed(LISTENING, "up.fence(Ordering::SeqCst);", "", LISTEN),
    killed(LISTENING, "up.fence(Ordering::SeqCst);", "up.fence(Ordering::AcqRel);", LISTEN),
    killed(LISTENING, "down.store_u32(down::NEWS, news);", "", LISTEN),
    // The broadcast log.
    same(READER, "memory.load_acquire(header::MAGIC)", HANDED),
    killed(READER, "self.memory.load_acquire(header::NEXT)", "self.memory.load(header::NEXT)", ST),
    killed(
        READER,
        "self.memory.load_acquire(at + slot::SEQ)",
        "self.memory.load(at + slot::SEQ)",
        SHORT,
    ),
    killed(READER, "self.memory.fence(Ordering::Acquire);", "", SHORT),
    killed(
        READER,
        "self.memory.load_acquire(at + slot::SEQ)",
        "self.memory.load(at + slot::SEQ)",
        QR,
    )
    .nth(1),
    killed(READER, "self.memory.fence(Ordering::SeqCst);", "", WXYZ),
    killed(
        READER,
        "self.memory.fence(Ordering::SeqCst);",
        "self.memory.fence(Ordering::AcqRel);",
        WXYZ,
    ),
    killed(READER, "self.memory.fence(Ordering::Acquire);", "", OP).nth(1),
    killed(
        BLOCKS,
        "self.up.store_release(self.word(number), 0);",
        "self.up.store(self.word(number), 0);",
        WXYZ,
    ),
    killed(BLOCKS, "self.up.fence(Ordering::Acquire);", "", WXYZ),
    killed(
        CURSORS,
        "self.up.store_release(self.word(number), cursor);",
        "self.up.store(self.word(number), cursor);",
        CURSOR,
    ),
    killed(
        CURSORS,
        "self.up.load_acquire(self.word(number))",
        "self.up.load(self.word(number))",
        CURSOR,
    ),
    killed(
        INBOX,
        "self.log.read_held(&mut self.payload, hold)",
        "moved(Counts::default(), self.log.position().sequence.wrapping_add(1)); \
         self.log.read_held(&mut self.payload, hold)",
        CURSOR,
    ),
    killed(
        INBOX,
        "self.log.read(&mut self.payload)",
        "moved(Counts::default(), self.log.position().sequence.wrapping_add(1)); \
         self.log.read(&mut self.payload)",
        CURSOR_BUFFERED,
    ),
    same(WRITER, "memory.store_release(header::MAGIC, header::MAGIC_VALUE);", HANDED),
    killed(WRITER, "self.memory.store(at + slot::SEQ, position.sequence);", "", OP),
    killed(WRITER, "self.memory.fence(Ordering::Release);", "", OP),
    killed(
        WRITER,
        "self.fill(at, head, payload);",
        "self.memory.store_release(at + slot::SEQ, position.sequence.wrapping_add(1)); \
         self.fill(at, head, payload);",
        QR,
    ),
    killed(
        WRITER,
        "self.fill(at, head, payload);",
        "self.memory.store_release(header::NEXT, position.sequence.wrapping_add(1)); \
         self.fill(at, head, payload);",
        ST,
    ),
    killed(
        WRITER,
        "self.memory.store_release(at + slot::SEQ, self.next);",
        "self.memory.store(at + slot::SEQ, self.next);",
        QR,
    ),
    killed(
        WRITER,
        "self.memory.store_release(header::NEXT, self.next);",
        "self.memory.store(header::NEXT, self.next);",
        ST,
    ),
    killed("daemon/core/src/bus/sequencer.rs", "state.writer.before_waking();", "", WAKING),
    killed(WRITER, "self.memory.fence(Ordering::SeqCst);", "", LISTEN),
    killed(
        WRITER,
        "self.memory.fence(Ordering::SeqCst);",
        "self.memory.fence(Ordering::AcqRel);",
        LISTEN,
    ),
    killed(WRITER, "memory.store(geometry.slot(sequence) + slot::SEQ, reused);", "", WP),
    killed(WRITER, "memory.fence(Ordering::SeqCst);", "", WXYZ).nth(1),
    killed(WRITER, "memory.fence(Ordering::SeqCst);", "memory.fence(Ordering::AcqRel);", WXYZ)
        .nth(1),
    killed(WRITER, "!keeps(sequence, of)", "true", WXYZ),
    // The board.
    killed(LEDGER, "down.store(down::LEDGER, 0);", "", LEDGERS),
    killed(LEDGER, "down.fence(Ordering::Release);", "", LEDGERS),
    killed(
        LEDGER,
        "down.store_release(down::LEDGER, ticket.wrapping_add(1));",
        "down.store(down::LEDGER, ticket.wrapping_add(1));",
        LEDGERS,
    ),
    killed(LEDGER, "down.load_acquire(down::LEDGER)", "down.load(down::LEDGER)", LEDGERS),
    killed(LEDGER, "down.fence(Ordering::Acquire);", "", LEDGERS),
    killed(BOARD, "words.fence_release();", "", HEADER),
    killed(BOARD, "words.store(at, odd);", "", ROW),
    killed(BOARD, "words.fence_release();", "", ROW).nth(1),
    killed(BOARD, "words.fence_release();", "", ROW).nth(2),
    killed(SNAPSHOT, "words.fence_acquire();", "", HEADER),
    killed(SNAPSHOT, "words.fence_acquire();", "", ROW).nth(1),
    killed(SNAPSHOT, "words.fence_acquire();", "", ROW).nth(2),
    same(BOARD, "fence(Ordering::Acquire);", X86),
    same(BOARD, "fence(Ordering::Release);", X86),
    same(BOARD, "(**self).fence_acquire();", X86),
    same(BOARD, "(**self).fence_release();", X86),
    // Beside the shared memory: subscriptions, as their topic sees them.
    same(PLACE, "self.cursor.load(Ordering::Acquire)", X86_ALONE),
    same(PLACE, "self.cursor.store(cursor, Ordering::Release);", X86_ALONE),
    same(PLACE, "self.standing.load(Ordering::Acquire)", X86_ALONE),
    same(PLACE, "self.standing.store(Standing::Closed as u8, Ordering::Release);", X86_ALONE),
    same(PLACE, "self.standing.store(Standing::CutOff as u8, Ordering::Release);", X86_ALONE),
    same(HEADLINES, "self.any.store(true, Ordering::Release);", GUARDED),
    same(HEADLINES, "self.any.store(true, Ordering::Release);", GUARDED).nth(1),
    same(HEADLINES, "self.any.load(Ordering::Acquire)", GUARDED),
    same(HEADLINES, "self.any_queue.store(true, Ordering::Release);", GUARDED),
    same(HEADLINES, "self.any_queue.store(!queues.is_empty(), Ordering::Release);", GUARDED),
    same(HEADLINES, "self.any_queue.load(Ordering::Acquire)", GUARDED),
    same(HEADLINES, "self.any.store(false, Ordering::Release);", GUARDED),
    same("client-rs/src/topics/ears.rs", "fetch_update(SeqCst, SeqCst, free)", ONE_WORD),
    same("client-rs/src/topics/ears.rs", "fetch_and(!(1 << number), SeqCst)", ONE_WORD),
    same("client-rs/src/topics/ears.rs", "fetch_or(1 << number, SeqCst)", ONE_WORD),
    same("client-rs/src/topics/ears.rs", "self.leaving.load(SeqCst)", ONE_WORD),
    same("client-rs/src/topics/ears.rs", "fetch_update(SeqCst, SeqCst, without_first)", ONE_WORD),
    // The memory below.
    killed(MEMORY, "self.fence(Ordering::Acquire);", "", QR),
    killed(MEMORY, "fence(order);", "", LITMUS),
    same(MEMORY, "store(value, Ordering::Release);", X86),
    same(MEMORY, "store(u64::from(value), Ordering::Release);", X86),
    same(REGION, "fence(Ordering::Acquire);", X86),
    same(REGION, "store(value, Ordering::Release);", X86),
    same(REGION, "store(value, Ordering::Release);", X86).nth(1),
    same(WINDOWS, "entry.span.store(span.0, Release);", X86_ALONE),
    same(WINDOWS, "self.entry.span.store(FREE, Release);", X86_ALONE),
    same(WINDOWS, "fence(Acquire);", X86_ALONE),
    same(WINDOWS, "self.span.load(Acquire);", X86_ALONE),
    same(WINDOWS, "compare_exchange(span, CLAIMED, Acquire, Relaxed)", X86_ALONE),
    same(WINDOWS, "Span(entry.span.load(Acquire));", X86_ALONE),
    same(WINDOWS, "entry.dead.store(true, SeqCst);", "a system call stands behind it"),
    same(WALL, "self.until.load(Acquire)", WALL_X86),
    same(WALL, "self.until.store(at.wrapping_add(good_for as u64), Release);", WALL_X86),
    same("protocol/src/listen_fds.rs", "TAKEN.swap(true, Ordering::AcqRel)", ONE_WORD),
];

const THREADS: &str =
    "threads of one client: no model; its stress tests run on what the processor orders";
const SLEEPS: &str = "threads of one process that sleep by a lock or an eventfd: no model, and its tests would \
                      need luck";

/// Sources whose orderings are left alone, and why: all of them are private to a process.
pub(crate) const UNMODELLED: &[(&str, &str)] = &[
    ("client-rs/src/any.rs", THREADS),
    ("client-rs/src/bulk.rs", THREADS),
    ("client-rs/src/cell.rs", THREADS),
    ("client-rs/src/pending.rs", THREADS),
    ("client-rs/src/reactor.rs", THREADS),
    ("client-rs/src/remote.rs", THREADS),
    ("client-rs/src/topics/publisher.rs", THREADS),
    ("client-rs/src/topics/reader.rs", THREADS),
    ("client-rs/src/wait.rs", THREADS),
    ("daemon/core/src/bus/queue.rs", SLEEPS),
    ("daemon/core/src/bus/room.rs", SLEEPS),
    ("daemon/src/inbox.rs", SLEEPS),
];
