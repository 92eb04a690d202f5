//! `ringfence codegen`: what is made of a contract, what is stale, and what no contract says.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::daemon::{Dir, Done, ringfence};

/// The contract and the generated files that the clients' tests share.
fn shared() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/messages")
}

fn codegen(contract: &Path, args: &[&str]) -> Done {
    let mut command = ringfence(&["codegen"]);
    Done::of(command.arg(contract).args(args).output().unwrap())
}

const HEAD: &str = "schema: {id: 1, version: 1}\nmessages:\n";

#[test]
fn the_committed_files_are_what_it_makes() {
    let contract = shared().join("contracts.yaml");
    for (language, file) in [("python", "generated.py"), ("rust", "generated.rs")] {
        let file = shared().join(file);
        let made = codegen(&contract, &["--lang", language]).ok();
        assert_eq!(made, std::fs::read_to_string(&file).unwrap(), "make {} anew", file.display());
        codegen(&contract, &["--lang", language, "--check", "--out", file.to_str().unwrap()]).ok();
    }
}

#[test]
fn a_stale_file_is_told_with_its_first_other_line() {
    let dir = Dir::new();
    let (contract, out) = (dir.0.join("contracts.yaml"), dir.0.join("messages.py"));
    let out_arg = out.to_str().unwrap();
    let args = ["--lang", "python", "--out", out_arg];
    std::fs::write(&contract, format!("{HEAD}  A: {{tlv_type: 1000, fields: {{x: u8}}}}\n"))
        .unwrap();
    let check = [&args[..], &["--check"]].concat();
    codegen(&contract, &check).failed(66);
    codegen(&contract, &args).ok();
    codegen(&contract, &check).ok();
    let written = std::fs::metadata(&out).unwrap().modified().unwrap();
    codegen(&contract, &args).ok();
    assert_eq!(std::fs::metadata(&out).unwrap().modified().unwrap(), written, "nothing to write");

    let before = std::fs::read_to_string(&out).unwrap();
    std::fs::write(&contract, format!("{HEAD}  A: {{tlv_type: 1000, fields: {{x: u16}}}}\n"))
        .unwrap();
    let told = codegen(&contract, &check).failed(76);
    assert!(told.contains("messages.py is stale. Make it anew:\n  ringfence codegen"), "{told}");
    assert!(
        told.contains("\n-SCHEMA_DIGEST_HEX = ") && told.contains("\n+SCHEMA_DIGEST_HEX = "),
        "{told}"
    );
    assert!(told.contains("@@ line 23 @@"), "{told}");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), before);
    codegen(&contract, &["--lang", "python", "--check"]).failed(64);
}

#[test]
fn json_says_the_digest_and_the_warnings() {
    let dir = Dir::new();
    let contract = dir.0.join("contracts.yaml");
    std::fs::write(&contract, format!("{HEAD}  Trial: {{tlv_type: 50000}}\n")).unwrap();
    let done = codegen(&contract, &["--lang", "rust", "--json"]);
    assert_eq!(done.err, "");
    let json: Value = serde_json::from_str(&done.ok()).unwrap();
    let digest = json["digest"].as_str().unwrap();
    assert!(digest.len() == 64 && json["text"].as_str().unwrap().contains(digest));
    let warning = json["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("Trial: type number 50000 is experimental"), "{warning}");
    assert_eq!((&json["language"], &json["file"]), (&"rust".into(), &Value::Null));

    let done = codegen(&contract, &["--lang", "rust"]);
    assert!(done.err.starts_with("ringfence: warning: Trial:"), "{}", done.err);
}

/// What is wrong with a contract, with its line.
#[test]
fn every_mistake_is_told_with_its_line() {
    let dir = Dir::new();
    let contract = dir.0.join("contracts.yaml");
    let message = |fields: &str| format!("{HEAD}  A:\n    tlv_type: 1000\n    fields:\n{fields}");
    for (text, says) in [
        (String::new(), "the file is empty"),
        ("schema: {id: 1, version: 1}".into(), "line 1: `messages` is missing"),
        ("messages: {}".into(), "line 1: `schema` is missing"),
        ("schema: {id: 1}\nmessages: {}".into(), "line 1: `schema` has no `version`"),
        (
            "schema: {id: 1, version: 65536}".into(),
            "schema.version must be a whole number up to 65535",
        ),
        (
            "schema: {id: \"1\", version: 1}".into(),
            "schema.id must be a whole number up to 4294967295",
        ),
        ("schema: [\n".into(), "line "),
        (
            "schema: {id: 1, version: 1}\nmessage: {}".into(),
            "line 2: unknown key `message` in the top level: did you mean `messages`?",
        ),
        (
            format!("{HEAD}  A: {{tlv_typ: 1000}}"),
            "line 3: unknown key `tlv_typ` in message `A`: did you mean `tlv_type`?",
        ),
        (
            format!(
                "{HEAD}  A: {{tlv_type: 1000}}\n  B: {{tlv_type: 1001}}\n  A: {{tlv_type: 1002}}"
            ),
            "line 5: key `A` is repeated; it stands at line 3",
        ),
        (format!("{HEAD}  A: {{fields: {{}}}}"), "line 3: message `A` has no `tlv_type`"),
        (
            format!("{HEAD}  A: {{tlv_type: 1000, type_id: 1000}}"),
            "line 3: message `A` has `tlv_type` and `type_id`",
        ),
        (
            format!("{HEAD}  A: {{tlv_type: 1000}}\n  B: {{tlv_type: 1000}}"),
            "line 4: B: type number 1000 is taken by `A`",
        ),
        (
            format!("{HEAD}  A: {{tlv_type: 7}}"),
            "line 3: A: type number 7 is in the core range (1 to 999)",
        ),
        (
            format!("{HEAD}  A: {{tlv_type: 70000}}"),
            "line 3: type number of `A` must be a whole number up to 65535",
        ),
        (
            format!("{HEAD}  A: {{tlv_type: 1000, domain: x}}\ndomains: {{y: {{}}}}"),
            "line 3: domain `x` is none of `domains`: y",
        ),
        (
            format!("{HEAD}  A: {{tlv_type: 1000, required_prior_messages: [B]}}"),
            "line 3: there is no message `B`",
        ),
        (format!("{HEAD}  A: &x {{tlv_type: 1000}}\n  B: *x"), "line 4: aliases (*) are not taken"),
        (format!("{HEAD}  A: !!map {{tlv_type: 1000}}"), "line 3: tags (!) are not taken"),
        (format!("{HEAD}  A: {{tlv_type: 1000}}\n---\n"), "a second document begins"),
        (
            format!("tag_ranges: {{core: 1-1000}}\n{HEAD}  A: {{tlv_type: 1000}}"),
            "line 1: tag_ranges: core and app both have 1000",
        ),
        (
            format!("tag_ranges: {{core: 1}}\n{HEAD}  A: {{tlv_type: 1000}}"),
            "line 1: tag_ranges.core must be two numbers",
        ),
        (
            message("      x: {typ: u8}\n"),
            "line 6: unknown key `typ` in field `A.x`: did you mean `type`?",
        ),
        (message("      x: {optional: true}\n"), "line 6: field `A.x` has no `type`"),
        (message("      x: u9\n"), "line 6: A.x: `u9` is no type; there are bool, u8"),
        (message("      x: String\n"), "line 6: A.x: type `String` has no capacity"),
        (
            message("      x: u8\n      y: {type: u8, validation: [{min_lenght: 3}]}\n"),
            "line 7: unknown key `min_lenght` in validation of `A.y`: did you mean `min_length`?",
        ),
        (
            message("      x: u8\n      y: {type: u8, validation: [not_empty]}\n"),
            "line 7: A.y: rule `not_empty` is for String",
        ),
        (
            message("      x: {type: String(3), validation: [not_emty]}\n"),
            "line 6: unknown key `not_emty` in validation of `A.x`: did you mean `not_empty`?",
        ),
        (
            message("      x: {type: u8, validation: [max]}\n"),
            "line 6: rule `max` of `A.x` needs a number: max: n",
        ),
        (
            message("      x: {type: u8, validation: [{max: 256}]}\n"),
            "line 6: A.x: rule `max` is 256; `u8` takes 0 to 255",
        ),
        (message("      x: {type: u8, optional: yes}\n"), "line 6: optional must be true or false"),
        (message("      X: u8\n"), "line 6: A.X: `X` is no name for it: write it like_this"),
        (message("      class_: u8\n"), "line 6: A.class_: `class_` is no name for it"),
        (message("      x: [u8, u8]\n"), "line 6: field `A.x` must be a mapping"),
        (
            message(&format!("      x: {}1{}\n", "[".repeat(40), "]".repeat(40))),
            "nested more than 32 deep",
        ),
    ] {
        std::fs::write(&contract, &text).unwrap();
        let told = codegen(&contract, &["--lang", "python"]).failed(65);
        assert!(told.contains(says), "{text}\n{told}");
        assert!(told.contains("contracts.yaml: "), "{told}");
    }
    codegen(&dir.0.join("none.yaml"), &["--lang", "python"]).failed(66);
}

#[test]
fn a_change_is_judged() {
    let dir = Dir::new();
    let (old, new) = (dir.0.join("old.yaml"), dir.0.join("new.yaml"));
    let one = format!("{HEAD}  A: {{tlv_type: 1000, fields: {{x: u8}}}}\n");
    std::fs::write(&old, &one).unwrap();
    std::fs::write(&new, format!("{one}  B: {{tlv_type: 1001}}\n")).unwrap();
    let old_arg = old.to_str().unwrap();
    assert_eq!(codegen(&new, &["--since", old_arg]).ok(), "backward\nMessageAdded B: is 1001\n");
    assert_eq!(codegen(&old, &["--since", old_arg]).ok(), "full\n");

    std::fs::write(&new, one.replace("u8", "u16")).unwrap();
    let done = codegen(&new, &["--since", old_arg, "--json"]);
    assert_eq!(done.code, Some(76));
    let json: Value = serde_json::from_slice(&done.out).unwrap();
    assert_eq!(json["compatibility"], "incompatible");
    let change = &json["changes"][0];
    assert_eq!((&change["issue"], &change["path"]), (&"FieldTypeChanged".into(), &"A.x".into()));
    assert_eq!(change["what"], "is u16, was u8");
    codegen(&new, &["--since", old_arg, "--lang", "rust"]).failed(64);
    codegen(&new, &[]).failed(64);
}
