//! The stub of an engine whose names Python does not like, kept as a file that the Python tests
//! check with a type checker (client-py/tests/test_stubs.py).

use super::*;

const KEPT: &str = include_str!("awkward.pyi");

fn field(name: &str, ty: FieldType, doc: &str) -> FieldSchema {
    FieldSchema { name: name.into(), ty, offset: 0, doc: doc.into() }
}

fn method(name: &str, request: &[FieldSchema], reply: &[FieldSchema]) -> MethodSchema {
    let layout = |fields: &[FieldSchema]| Layout { fields: fields.to_vec(), fixed: 0 };
    MethodSchema {
        op: 0,
        name: name.into(),
        request: layout(request),
        reply: layout(reply),
        idempotent: false,
        timeout_ms: None,
        doc: format!("Does {name}.\n\nSays \"\"\"so\"\"\" and \\n."),
    }
}

fn awkward() -> EngineSchema {
    let int = |name: &str| field(name, FieldType::One(Scalar::U32), "");
    let text = |name: &str| field(name, FieldType::Text, "A \x1b text.");
    let methods = vec![
        method("list", &[int("class"), text("from"), int("plain")], &[int("count"), text("index")]),
        method("int", &[int("int")], &[int("int"), text("str")]),
        method("a_b", &[], &[int("class"), text("_x"), int("index"), int("x")]),
        method("a__b", &[], &[field("bytes", FieldType::Many(Scalar::U8), "")]),
        method("import", &[], &[int("x")]),
        method("no-name", &[], &[int("x")]),
        method("names", &[], &[]),
        method("late", &[int("timeout")], &[]),
        method("tuple", &[], &[field("x", FieldType::Many(Scalar::Bool), "")]),
    ];
    EngineSchema::new("named", "Ends with a \"quote\"", methods)
}

#[test]
fn whatever_names_an_engine_has_the_stub_is_the_one_that_the_python_tests_check() {
    let stub = stub(&awkward());
    assert!(stub == KEPT, "the new stub, to be checked and kept as awkward.pyi:\n{stub}");
}

#[test]
fn only_what_is_used_is_imported() {
    let stub = stub(&EngineSchema::new("empty", "", Vec::new()));
    let imports: Vec<&str> = stub.lines().filter(|line| line.contains("import ")).collect();
    assert_eq!(imports.last(), Some(&"from ringfence import Method as _Method"));
    assert!(!stub.contains("numpy") && !stub.contains("_Timeout"), "{stub}");
}
