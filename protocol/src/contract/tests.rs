//! Layouts against the original's numbers, checks, the digest, and what differs.

use super::*;

fn field(name: &str, ty: &str) -> Field {
    let ty = FieldType::parse(ty, None).unwrap();
    Field { name: name.into(), ty, rules: Vec::new(), doc: String::new() }
}

fn message(type_id: u16, name: &str, fields: &[(&str, &str)]) -> MessageType {
    let fields = fields.iter().map(|(name, ty)| field(name, ty)).collect();
    MessageType { name: name.into(), type_id, fields, doc: String::new() }
}

fn contract(messages: Vec<MessageType>) -> Contract {
    Contract { id: 0x4D59_4345, version: 1, min_compatible: 1, messages, ..Contract::default() }
}

const TEXT: [(&str, &str); 3] =
    [("sender", "String(32)"), ("content", "String(256)"), ("timestamp", "u64")];

#[test]
fn layouts_are_those_of_the_original() {
    let text = message(1001, "TextMessage", &TEXT).layout();
    assert_eq!((text.size, &text.offsets[..]), (312, &[0, 40, 304][..]));
    let counter = [("counter_id", "u64"), ("value", "i32"), ("delta", "i32")];
    assert_eq!(message(1002, "CounterUpdate", &counter).layout().size, 16);
    // Its generator gave the elements of this no bytes at all.
    assert_eq!(FieldType::parse("Vec<[u8; 20]>(10)", None).unwrap().size(), 208);
}

#[test]
fn fields_stand_at_their_alignment() {
    let mixed =
        [("a", "u8"), ("b", "Option<u32>"), ("c", "UUID"), ("d", "Option<bool>"), ("e", "U256")];
    let layout = message(1000, "Mixed", &mixed).layout();
    assert_eq!((layout.offsets, layout.size, layout.align), (vec![0, 4, 12, 28, 32], 64, 8));
    assert_eq!(message(1000, "Empty", &[]).layout().size, 0);
}

#[test]
fn types_are_read_as_they_are_written() {
    for text in
        ["bool", "Vec<Option<String(7)>>(3)", "[[f32; 3]; 2]", "Option<JSON(64)>", "Decimal"]
    {
        assert_eq!(FieldType::parse(text, None).unwrap().to_string(), text);
    }
    assert_eq!(FieldType::parse(" Vec < u8 > ( 9 ) ", None).unwrap().to_string(), "Vec<u8>(9)");
    let deep = format!("{}u8{}", "[".repeat(9), "; 1]".repeat(9));
    for (wrong, text) in [
        ("string", "`string` is no type; there are bool, u8"),
        ("String", "type `String` has no capacity: write String(n), or a rule max_length"),
        ("Vec<u8", "type `Vec<u8`: `>` is missing at character 7"),
        ("[u8; 0]", "type `[u8; 0]`: `0` is no number from 1 to 4294967295"),
        ("String(65536)", "type `String(65536)`: `65536` is no number from 1 to 65535"),
        ("u8 u8", "type `u8 u8`: the end is missing at character 4"),
        ("Option<Option<u8>>", "type `Option<Option<u8>>`: an option of an option"),
        (&deep, "is nested more than 8 deep"),
    ] {
        let said = FieldType::parse(wrong, None).unwrap_err().to_string();
        assert!(said.contains(text), "{said}");
    }
}

fn refused(messages: Vec<MessageType>) -> String {
    contract(messages).check().unwrap_err().to_string()
}

#[test]
fn numbers_and_names_are_checked() {
    let one = |id, name| message(id, name, &[]);
    for (messages, text) in [
        (
            vec![one(999, "A")],
            "A: type number 999 is in the core range (1 to 999); take one of 1000 to 49999",
        ),
        (vec![one(0, "A")], "A: type number 0 is in no range; take one of 1000 to 49999"),
        (vec![one(1000, "A"), one(1000, "B")], "B: type number 1000 is taken by `A`"),
        (vec![one(1001, "A"), one(1000, "A")], "A: the name `A` is taken by `1000`"),
        (vec![one(1000, "aB")], "aB: `aB` is no name for it: write it LikeThis"),
        (
            vec![one(1000, "Option")],
            "Option: `Option` is no name for it: generated code needs that name",
        ),
        (
            vec![message(1000, "A", &[("X", "u8")])],
            "A.X: `X` is no name for it: write it like_this",
        ),
        (vec![message(1000, "A", &[("x", "u8"), ("x", "u8")])], "A.x: the name is taken by `x`"),
        (
            vec![message(1000, "A", &[("x", "[u64; 4294967295]")])],
            "A.x: 34359738360 bytes, the most is 4194304",
        ),
    ] {
        assert_eq!(refused(messages), text);
    }
    let mut trial = contract(vec![one(50_000, "Trial")]);
    let warnings = trial.check().unwrap();
    assert!(warnings[0].starts_with("Trial: type number 50000 is experimental (50000 to 65535)"));
}

fn with(ty: &str, rules: &[Rule]) -> Vec<MessageType> {
    let mut one = message(1000, "A", &[("x", ty)]);
    one.fields[0].rules = rules.to_vec();
    vec![one]
}

#[test]
fn rules_are_for_their_types() {
    let int = Number::Int;
    for (ty, rules, text) in [
        (
            "u8",
            &[Rule::NotEmpty][..],
            "A.x: rule `not_empty` is for String, bytes, JSON and Vec, not for `u8`",
        ),
        ("u8", &[Rule::Min(int(300))], "A.x: rule `min` is 300; `u8` takes 0 to 255"),
        ("u8", &[Rule::Min(Number::Float(1.0))], "A.x: rule `min` takes a number that `u8` has"),
        (
            "String(4)",
            &[Rule::MaxLength(5)],
            "A.x: rule `max_length` 5 is over the capacity of `String(4)`",
        ),
        (
            "String(4)",
            &[Rule::MaxLength(1), Rule::MinLength(2)],
            "A.x: rule `max_length` 1 is under min_length 2",
        ),
        ("i8", &[Rule::Max(int(1)), Rule::Min(int(2))], "A.x: rule `max` 1 is under min 2"),
        ("i8", &[Rule::Max(int(1)), Rule::Max(int(2))], "A.x: rule `max` stands there twice"),
        (
            "f64",
            &[Rule::Max(Number::Float(f64::NAN))],
            "A.x: rule `max` takes a finite number, not NaN",
        ),
    ] {
        assert_eq!(refused(with(ty, rules)), text);
    }
    contract(with("Option<i8>", &[Rule::Min(int(-3))])).check().unwrap();
}

#[test]
fn the_digest_is_of_layouts_and_rules_alone() {
    let mut here = contract(vec![message(1001, "TextMessage", &TEXT), message(1000, "Empty", &[])]);
    here.messages[0].fields[1].rules = vec![Rule::NotEmpty, Rule::MaxLength(256)];
    here.check().unwrap();
    assert_eq!(
        here.canonical(),
        "ringfence contract 1\n\
         schema 4d594345 version 1 min_compatible 1\n\
         message 1000 Empty size 0\n\
         message 1001 TextMessage size 312\n \
         sender String(32) at 0\n \
         content String(256) at 40 not_empty\n \
         timestamp u64 at 304\n"
    );
    let mut there = here.clone();
    there.messages[1].doc = "Says something.".into();
    assert_eq!(here.digest(), there.digest());
    there.messages[1].fields[1].rules.clear();
    assert_ne!(here.digest(), there.digest());
}

type Edit = fn(&mut Contract);

#[test]
fn the_first_difference_is_named() {
    let here = contract(vec![message(1001, "Text", &TEXT), message(1003, "Last", &[])]);
    let changes: [(Edit, &str); 7] = [
        (
            |there| there.messages[0].fields[1].ty = FieldType::String(64),
            "Text.content: `String(256) at 40` here, `String(64) at 40` there",
        ),
        (
            |there| there.messages[0].fields[1].name = "body".into(),
            "Text.content: `String(256) at 40` here, `body String(256) at 40` there",
        ),
        (|there| drop(there.messages[0].fields.pop()), "Text.timestamp: `u64 at 304` here only"),
        (
            |there| there.messages[0].fields.push(field("more", "u8")),
            "Text.more: `u8 at 312` there only",
        ),
        (
            |there| there.messages[0].name = "Texts".into(),
            "Text: `message 1001 Text size 312` here, `message 1001 Texts size 312` there",
        ),
        (
            |there| there.messages.insert(1, message(1002, "New", &[])),
            "New: `message 1002 New size 0` there only",
        ),
        (
            |there| there.version = 2,
            "schema: `schema 4d594345 version 1 min_compatible 1` here, \
             `schema 4d594345 version 2 min_compatible 1` there",
        ),
    ];
    for (change, text) in changes {
        let mut there = here.clone();
        change(&mut there);
        let found = difference(&here.canonical(), &there.canonical()).unwrap().to_string();
        assert_eq!(found, format!("{text}; make both from one contracts.yaml: {REGENERATE}"));
    }
    assert_eq!(difference(&here.canonical(), &here.canonical()), None);
}

#[test]
fn a_report_says_who_still_understands_whom() {
    use Compatibility::{Backward, Forward, Full, Incompatible};
    let mut old =
        contract(vec![message(1001, "Text", &TEXT), message(1003, "Last", &[("x", "Option<u8>")])]);
    old.messages[0].fields[0].rules = vec![Rule::NotEmpty];
    let changes: [(Edit, Compatibility, &str); 13] = [
        (|_| {}, Full, ""),
        (|new| new.messages[0].doc = "Says.".into(), Full, ""),
        (|new| new.version = 2, Full, ""),
        (|new| new.id = 1, Incompatible, "SchemaMismatch schema: id 0x1, was 0x4d594345"),
        (
            |new| (new.version, new.min_compatible) = (2, 2),
            Incompatible,
            "VersionTooOld schema: version 1 is under min_compatible 2",
        ),
        (|new| new.messages.push(message(1004, "New", &[])), Backward, "MessageAdded New: is 1004"),
        (|new| drop(new.messages.pop()), Forward, "MessageRemoved Last: was 1003"),
        (
            |new| new.messages[0].type_id = 1002,
            Incompatible,
            "TypeIdChanged Text: is 1002, was 1001",
        ),
        (
            |new| new.messages[0].fields[0].rules.clear(),
            Backward,
            "RuleRemoved Text.sender: was not_empty",
        ),
        (
            |new| new.messages[0].fields[1].rules = vec![Rule::MinLength(2)],
            Forward,
            "RuleAdded Text.content: is min_length=2",
        ),
        (
            |new| drop(new.messages[0].fields.remove(2)),
            Incompatible,
            "RequiredFieldRemoved Text.timestamp: was u64",
        ),
        (
            |new| new.messages[1].fields[0].ty = FieldType::U8,
            Incompatible,
            "FieldBecameRequired Last.x: is u8, was Option<u8>",
        ),
        (
            |new| new.messages[0].fields[0].ty = FieldType::String(24),
            Incompatible,
            "FieldTypeChanged Text.sender: is String(24), was String(32); \
             FieldMoved Text.content: is at 32, was at 40; FieldMoved Text.timestamp: is at 296, was at 304",
        ),
    ];
    for (change, compatibility, text) in changes {
        let mut new = old.clone();
        change(&mut new);
        let report = new.since(&old);
        let said: Vec<String> = report.changes.iter().map(ToString::to_string).collect();
        assert_eq!((said.join("; "), report.compatibility), (text.into(), compatibility));
    }
}
