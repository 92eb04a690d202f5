//! Saving and loading through the typed client, in process.

use std::path::PathBuf;

use ringfence::vectors::{Collection, Metric};
use ringfence::{Client, ErrorCode};

/// A directory that is gone when the test is.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn another_client_loads_what_one_saved() {
    let dir = Dir(std::env::temp_dir().join(format!("ringfence-saving-{}", std::process::id())));
    let client = || Client::builder().inproc_state_dir(&dir.0).connect().unwrap();
    let options = Collection::new(2).metric(Metric::Cosine);
    let docs = client().vectors().create("docs", &options).unwrap();
    docs.add(&[7, 8], &[0.0, 1.0, 1.0, 0.0]).unwrap();
    let saved = docs.save().unwrap();
    let file = dir.0.join("vectors/docs.vectors");
    assert_eq!((saved.rows, saved.bytes), (2, file.metadata().unwrap().len()));

    let later = client();
    let missing = later.vectors().load("doc", false).unwrap_err();
    assert_eq!(missing.code(), ErrorCode::FileNotFound);
    let loaded = later.vectors().load("docs", false).unwrap();
    assert_eq!((loaded.rows, loaded.bytes), (2, saved.bytes));
    assert_eq!((loaded.dim, loaded.metric), (2, Metric::Cosine));
    assert_eq!(loaded.collection.search(&[0.1, 0.9], 1).unwrap().ids, [7]);
    let twice = later.vectors().load("docs", false).unwrap_err();
    assert_eq!(twice.code(), ErrorCode::AlreadyExists);
    assert_eq!(later.vectors().load("docs", true).unwrap().rows, 2);
}

#[test]
fn a_relative_state_directory_is_refused() {
    let refused = Client::builder().inproc_state_dir("saved").connect().unwrap_err();
    assert!(refused.to_string().contains("must be absolute"), "{refused}");
}
