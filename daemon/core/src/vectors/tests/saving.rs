//! Files: what comes back, what is refused, what is left behind.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use sha2::{Digest as _, Sha256};

use super::*;

/// A directory that is gone when the test is.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ringfence-core-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn engine(&self) -> Vectors {
        Vectors::new(Limits::default()).saved_in(self.0.join("new/vectors"))
    }

    fn file(&self) -> PathBuf {
        self.0.join("new/vectors/c.vectors")
    }

    /// Puts `bytes` there in place of the file. Not over it: ext4 would write each to the disk.
    fn put(&self, bytes: &[u8]) {
        std::fs::remove_file(self.file()).unwrap();
        std::fs::write(self.file(), bytes).unwrap();
    }

    /// Names in the directory, sorted.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.join("new/vectors")).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn save(engine: &Vectors) -> Result<api::Saved, Error> {
    let reply = call(engine, api::SAVE, &api::Collection { collection: "c" })?;
    Ok(api::Saved::decode(&reply).unwrap())
}

fn load(engine: &Vectors, replace: bool) -> Result<api::Loaded, Error> {
    let reply = call(engine, api::LOAD, &api::Load { replace, collection: "c" })?;
    Ok(api::Loaded::decode(&reply).unwrap())
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>, code: ErrorCode, words: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.code, code, "{error}");
    assert!(error.to_string().contains(words), "{words:?} is not in {error}");
}

/// "c" with `rows` rows, of which a fifth was deleted and another replaced.
fn filled(dir: &Dir, metric: Metric, rows: usize) -> Vectors {
    let engine = dir.engine();
    let create = api::Create { dim: DIM as u32, metric: metric as u8, ..DEFAULTS };
    call(&engine, api::CREATE, &create).unwrap();
    let ids: Vec<u64> = (0..rows as u64).map(|id| id * 1_000_003).collect();
    add(&engine, false, &ids, &clustered(rows, 1)).unwrap();
    delete(&engine, &ids[..rows / 5]);
    let changed = &ids[rows / 5..2 * rows / 5];
    add(&engine, true, changed, &clustered(changed.len(), 2)).unwrap();
    engine
}

fn answers(engine: &Vectors) -> Vec<(Vec<u64>, Vec<f32>)> {
    let queries = clustered(40, 3);
    let both = queries.chunks_exact(DIM).flat_map(|query| [(query, false), (query, true)]);
    both.map(|(query, exact)| search(engine, query, 10, exact).unwrap())
        .map(|hits| (hits.ids, hits.distances))
        .collect()
}

#[test]
fn a_loaded_collection_answers_as_the_saved_one() {
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
        let dir = Dir::new();
        let old = filled(&dir, metric, 3000);
        let (before, ids) = (answers(&old), (0..3000).map(|id| id * 1_000_003).collect::<Vec<_>>());
        assert!(here(&old).hidden.load(Relaxed) > 0, "the case of tombstones is not tested");
        let saved = save(&old).unwrap();
        assert_eq!(saved.bytes, dir.file().metadata().unwrap().len());
        let new = dir.engine();
        let loaded = load(&new, false).unwrap();
        assert_eq!((loaded.rows, loaded.bytes), (saved.rows, saved.bytes));
        assert_eq!((loaded.dim, loaded.metric), (DIM as u32, metric as u8));
        assert_eq!(answers(&new), before);
        assert_eq!(get(&new, &ids), get(&old, &ids));
        let (a, b) = (stats(&old), stats(&new));
        assert_eq!((a.count, a.connectivity, a.ef_add), (b.count, b.connectivity, b.ef_add));
        assert_eq!((b.added, b.deleted), (0, 0));
        // It goes on as a collection does: add, replace, delete, until it is built anew.
        let fresh: Vec<u64> = (1..2001).collect();
        assert_eq!(add(&new, true, &fresh, &clustered(2000, 4)).unwrap(), (2000, 0));
        assert_eq!(delete(&new, &fresh), 2000);
        assert_eq!(count(&new), saved.rows);
        assert!(here(&new).counters.rebuilds.load(Relaxed) > 0);
        assert_eq!(get(&new, &ids), get(&old, &ids));
    }
}

#[test]
fn many_search_a_loaded_collection_at_once() {
    let dir = Dir::new();
    let old = filled(&dir, Metric::L2, 2000);
    let (before, _) = (answers(&old), save(&old).unwrap());
    let new = dir.engine();
    load(&new, false).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(answers(&new), before));
        }
    });
}

#[test]
fn a_collection_without_rows_is_saved_too() {
    let dir = Dir::new();
    let engine = dir.engine();
    call(&engine, api::CREATE, &DEFAULTS).unwrap();
    assert_eq!(save(&engine).unwrap().rows, 0);
    assert_eq!(load(&engine, true).unwrap().rows, 0);
    add(&engine, false, &[1], &[1.0; 4]).unwrap();
    delete(&engine, &[1]);
    save(&engine).unwrap();
    assert_eq!(load(&engine, true).unwrap().rows, 0);
    add(&engine, false, &[1], &[2.0; 4]).unwrap();
    assert_eq!(search(&engine, &[2.0; 4], 1, false).unwrap().ids, [1]);
}

#[test]
fn what_is_in_the_way_is_said() {
    let nowhere = engine(4, Metric::L2);
    refused(save(&nowhere), ErrorCode::Io, "`[state] dir` of the daemon's configuration or RING");
    refused(load(&nowhere, false), ErrorCode::Io, "`[state] dir`");
    let dir = Dir::new();
    let engine = dir.engine();
    refused(save(&engine), ErrorCode::UnknownCollection, "\"c\"");
    refused(load(&engine, false), ErrorCode::FileNotFound, "c.vectors");
    call(&engine, api::CREATE, &DEFAULTS).unwrap();
    add(&engine, false, &[1], &[1.0; 4]).unwrap();
    save(&engine).unwrap();
    add(&engine, false, &[2], &[2.0; 4]).unwrap();
    refused(load(&engine, false), ErrorCode::AlreadyExists, "replace=True");
    assert_eq!(count(&engine), 2);
    load(&engine, true).unwrap();
    assert_eq!(count(&engine), 1);
    let bad = api::Load { replace: false, collection: "a\nb" };
    refused(call(&engine, api::LOAD, &bad), ErrorCode::InvalidArgument, "control characters");
}

#[test]
fn a_name_with_a_path_in_it_stays_in_the_directory() {
    let (dir, name) = (Dir::new(), "../../e vil/é");
    let engine = dir.engine();
    call(&engine, api::CREATE, &api::Create { name, ..DEFAULTS }).unwrap();
    call(&engine, api::SAVE, &api::Collection { collection: name }).unwrap();
    assert_eq!(dir.names(), ["%2E%2E%2F%2E%2E%2Fe%20vil%2F%C3%A9.vectors"]);
    call(&engine, api::LOAD, &api::Load { replace: true, collection: name }).unwrap();
}

#[test]
fn limits_hold_for_files() {
    let dir = Dir::new();
    let saved_in = dir.0.join("new/vectors");
    let limits = Limits { files: 1, memory_bytes: 1 << 20, ..Limits::default() };
    let engine = Vectors::new(limits).saved_in(saved_in);
    for name in ["c", "d"] {
        call(&engine, api::CREATE, &api::Create { name, ..DEFAULTS }).unwrap();
    }
    save(&engine).unwrap();
    save(&engine).unwrap();
    let second = call(&engine, api::SAVE, &api::Collection { collection: "d" });
    refused(second, ErrorCode::TooLarge, "there are 1 saved collections");
    // A file that claims more than there may be; it takes no room on the disk.
    let huge = std::fs::File::create(dir.file()).unwrap();
    huge.set_len(1 << 40).unwrap();
    refused(load(&engine, true), ErrorCode::TooLarge, "collections may take 1048576");
    // One that is short, but larger in memory than there is room.
    let big = filled(&dir, Metric::L2, 4000);
    let bytes = save(&big).unwrap().bytes;
    drop(big);
    let roomy = Limits { memory_bytes: bytes, ..limits };
    let engine = Vectors::new(roomy).saved_in(dir.0.join("new/vectors"));
    refused(load(&engine, false), ErrorCode::OutOfMemory, "bytes for vectors are in use");
    assert_eq!(engine.meter.used(), 0);
}

#[test]
fn only_a_plain_file_is_read() {
    let dir = Dir::new();
    let engine = filled(&dir, Metric::L2, 100);
    save(&engine).unwrap();
    let elsewhere = dir.0.join("elsewhere");
    std::fs::rename(dir.file(), &elsewhere).unwrap();
    symlink(&elsewhere, dir.file()).unwrap();
    refused(load(&engine, true), ErrorCode::Io, "opening");
    // A save replaces the link, not what it leads to.
    save(&engine).unwrap();
    assert!(dir.file().symlink_metadata().unwrap().is_file());
    std::fs::remove_file(dir.file()).unwrap();
    nix::unistd::mkfifo(&dir.file(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused(load(&engine, true), ErrorCode::Io, "it is no file");
    std::fs::remove_file(dir.file()).unwrap();
    std::fs::create_dir(dir.file()).unwrap();
    refused(load(&engine, true), ErrorCode::Io, "it is no file");
    refused(save(&engine), ErrorCode::Io, "directory");
    assert_eq!(dir.names(), ["c.vectors"], "a partial file is left");
}

#[test]
fn a_save_that_ends_early_leaves_the_file_before_it() {
    let dir = Dir::new();
    let engine = filled(&dir, Metric::L2, 1000);
    save(&engine).unwrap();
    let before = std::fs::read(dir.file()).unwrap();
    delete(&engine, &[999 * 1_000_003]);
    for checks in 0..5 {
        let name = api::Collection { collection: "c" };
        let ended = run(&engine, api::SAVE, &name, &Ends::after(checks));
        refused(ended, ErrorCode::Expired, "deadline");
        assert_eq!(dir.names(), ["c.vectors"]);
        assert!(std::fs::read(dir.file()).unwrap() == before);
    }
    for checks in 0..4 {
        let again = api::Load { replace: true, collection: "c" };
        let ended = run(&engine, api::LOAD, &again, &Ends::after(checks));
        refused(ended, ErrorCode::Expired, "deadline");
        assert_eq!(count(&engine), 799);
    }
    save(&engine).unwrap();
    assert!(std::fs::read(dir.file()).unwrap() != before);
    assert_eq!(engine.meter.used(), stats(&engine).memory_bytes);
}

#[test]
fn what_dead_writers_left_is_swept_and_nothing_else() {
    let dir = Dir::new();
    let engine = filled(&dir, Metric::L2, 100);
    save(&engine).unwrap();
    let place = |name: &str| dir.0.join("new/vectors").join(name);
    std::fs::write(place(".c.1-0.partial"), "dead").unwrap();
    std::fs::write(place("notes.txt"), "an operator's").unwrap();
    let alive = std::fs::File::create(place(".c.1-1.partial")).unwrap();
    alive.try_lock().unwrap();
    save(&engine).unwrap();
    assert_eq!(dir.names(), [".c.1-1.partial", "c.vectors", "notes.txt"]);
}

#[test]
fn a_file_that_is_not_whole_is_refused_whatever_is_missing_or_changed() {
    let dir = Dir::new();
    let engine = filled(&dir, Metric::L2, 20);
    save(&engine).unwrap();
    let whole = std::fs::read(dir.file()).unwrap();
    let refuses = |bytes: &[u8], what: &dyn std::fmt::Display| {
        dir.put(bytes);
        let error = load(&engine, true).expect_err(&what.to_string());
        assert_eq!(error.code, ErrorCode::Io, "{what}: {error}");
        assert!(error.message.contains("damaged"), "{what}: {error}");
    };
    for length in (0..whole.len()).step_by(7) {
        refuses(&whole[..length], &format_args!("{length} bytes"));
    }
    refuses(&[&whole[..], &[0]].concat(), &"a byte too many");
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        refuses(&changed, &format_args!("byte {at}"));
    }
    // Refused before memory is asked for: sizes that the file does not have.
    for (field, value) in [(32, u64::MAX), (32, u64::from(u32::MAX)), (48, u64::MAX), (48, 1 << 40)]
    {
        let mut changed = whole.clone();
        changed[field..field + 8].copy_from_slice(&u64::to_le_bytes(value));
        refuses(&signed(changed), &format_args!("{value} at {field}"));
    }
    assert_eq!(count(&engine), 16);
}

/// The same with the right checksum: what somebody would write who knows the format.
fn signed(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - 32;
    let sum = Sha256::digest(&bytes[..end]);
    bytes[end..].copy_from_slice(&sum);
    bytes
}

/// Files with wrong numbers and the right checksum are refused, or harmless: whoever follows an
/// edge that leads nowhere does not come back.
#[test]
fn a_hostile_file_does_no_harm() {
    let dir = Dir::new();
    let engine = filled(&dir, Metric::L2, 300);
    save(&engine).unwrap();
    let whole = std::fs::read(dir.file()).unwrap();
    let rows = here(&engine).state.read().table.len();
    let ids = 56 + rows * 8;
    let graph = ids + 8 + rows * DIM * 4;
    // The header, usearch's own, levels and the first nodes byte by byte, the rest here and there.
    let near = (0..56).chain(ids..ids + 8).chain(graph..graph + 64 + 40 + rows * 2 + 300);
    let far = (graph..whole.len() - 32).step_by(61);
    let (mut loaded, mut refused) = (0, 0);
    for at in near.chain(far) {
        for value in [0, 0xff, whole[at].wrapping_add(1)] {
            if value == whole[at] {
                continue;
            }
            let mut changed = whole.clone();
            changed[at] = value;
            dir.put(&signed(changed));
            let victim = dir.engine();
            match load(&victim, false) {
                Ok(_) => {
                    loaded += 1;
                    let query = clustered(1, 9);
                    search(&victim, &query, 10, false).unwrap();
                    let _ = add(&victim, true, &[1, 2, 3], &clustered(3, 5)).unwrap();
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(loaded > 100 && refused > 500, "{loaded} loaded, {refused} refused");
}

#[test]
fn rows_that_no_client_could_add_are_refused() {
    let dir = Dir::new();
    let engine = filled(&dir, Metric::L2, 50);
    save(&engine).unwrap();
    let whole = std::fs::read(dir.file()).unwrap();
    let rows = here(&engine).state.read().table.len();
    let first_value = 56 + rows * 8 + 8;
    for (at, value, words) in [
        (first_value, f32::NAN.to_le_bytes(), "row 0, column 0 is NaN"),
        (first_value + 4, f32::INFINITY.to_le_bytes(), "column 1 is inf"),
    ] {
        let mut changed = whole.clone();
        changed[at..at + 4].copy_from_slice(&value);
        dir.put(&signed(changed));
        refused(load(&engine, true), ErrorCode::Io, words);
    }
    let mut twice = whole.clone();
    let last: [u8; 8] = whole[56 + rows * 8 - 8..][..8].try_into().unwrap();
    twice[56 + rows * 8 - 16..][..8].copy_from_slice(&last);
    dir.put(&signed(twice));
    refused(load(&engine, true), ErrorCode::Io, "two rows have id");
}

/// Batches of ten rows come and go in one thread while another saves: each file has whole batches.
#[test]
fn a_save_is_the_collection_at_one_moment() {
    let dir = Dir::new();
    let engine = dir.engine();
    call(&engine, api::CREATE, &api::Create { dim: DIM as u32, ..DEFAULTS }).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for batch in 0..150_u64 {
                let ids: Vec<u64> = (batch * 10..batch * 10 + 10).collect();
                add(&engine, false, &ids, &clustered(10, batch + 1)).unwrap();
                if batch % 3 == 2 {
                    let before: Vec<u64> = ids.iter().map(|id| id - 10).collect();
                    delete(&engine, &before);
                }
            }
            done.store(true, Relaxed);
        });
        scope.spawn(|| {
            let query = clustered(1, 3);
            while !done.load(Relaxed) {
                search(&engine, &query, 5, false).unwrap();
            }
        });
        let mut last = false;
        while !last {
            last = done.load(Relaxed);
            let saved = save(&engine).unwrap();
            assert_whole_batches(&dir, saved.rows);
        }
    });
}

fn assert_whole_batches(dir: &Dir, rows: u64) {
    let copy = dir.engine();
    assert_eq!(load(&copy, false).unwrap().rows, rows);
    let ids: Vec<u64> = (0..1500).collect();
    let (found, _) = get(&copy, &ids);
    for (batch, found) in found.chunks(10).enumerate() {
        assert!(found.iter().all(|it| *it == found[0]), "half of batch {batch}: {found:?}");
    }
    assert_eq!(found.iter().map(|it| u64::from(*it)).sum::<u64>(), rows);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = Dir::new();
    std::fs::write(dir.0.join("new"), "a file").unwrap();
    let engine = dir.engine();
    call(&engine, api::CREATE, &DEFAULTS).unwrap();
    refused(save(&engine), ErrorCode::Io, "new/vectors");
    assert!(Path::new(&dir.0.join("new")).is_file());
}
