//! Tests of `statement.rs`.

use proptest::prelude::*;

use super::*;
use crate::tenancy::id_type::IdType;

const STATEMENT: Statement = Statement::new("example", "SELECT $2 FROM t WHERE id::text = $1 LIMIT $3")
    .with_ids(
        "SELECT types",
        &[IdComparison {
            columns: &[0],
            of_texts: "id::text = $1",
            in_type: ["id", "$1"],
            value: Some(0),
        }],
    );

proptest! {
    #[test]
    fn text_cannot_end_its_literal(text in prop_oneof![any::<String>(), "[a-zA-Z0-9_.:@'\\\\-]{0,9}"]) {
        let rendered = Value::Text(&text).to_string();
        match rendered.strip_prefix("pg_catalog.convert_from(pg_catalog.decode('") {
            None => {
                let literal = rendered.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap();
                prop_assert!(literal.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:@".contains(c)));
                prop_assert_eq!(literal, text);
            }
            Some(rest) => {
                let digits = rest.strip_suffix("', 'hex'), 'UTF8')").unwrap();
                prop_assert!(digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
                prop_assert_eq!(HEXLOWER.decode(digits.as_bytes()).unwrap(), text.as_bytes());
            }
        }
    }
}

#[test]
fn inline_statements_have_their_values_in_place() {
    let values = [Value::Text("ä"), Value::NullText, Value::Number(7)];
    let query = Query {
        statement: &STATEMENT,
        values: &values,
    };
    let query = FormedQuery(query, MessageForm::default());
    assert_eq!(
        query.inline().to_string(),
        "SELECT NULL::pg_catalog.text FROM t \
         WHERE id::text = pg_catalog.textin(pg_catalog.textout(\
         pg_catalog.convert_from(pg_catalog.decode('c3a4', 'hex'), 'UTF8'))) LIMIT 7"
    );
    assert_eq!(
        query.prepare("example_1").to_string(),
        "PREPARE example_1(text, text, bigint) AS SELECT $2 FROM t WHERE id::text = $1 LIMIT $3"
    );
}

#[test]
fn ids_are_compared_in_their_type_if_it_is_known() {
    let form = MessageForm {
        id_types: Some([IdType::Integer, IdType::Text, IdType::Text, IdType::Text]),
        ..MessageForm::default()
    };
    for (id, executed, inlined) in [
        ("7", "'7'", "'7'::pg_catalog.text"),
        ("seven", "NULL::pg_catalog.text", "NULL::pg_catalog.text"),
    ] {
        let values = [Value::Text(id), Value::Text("x"), Value::Number(1)];
        let query = Query {
            statement: &STATEMENT,
            values: &values,
        };
        let query = FormedQuery(query, form);
        assert_eq!(
            query.inline().to_string(),
            format!("SELECT 'x'::pg_catalog.text FROM t WHERE id = {inlined}::pg_catalog.int8 LIMIT 1")
        );
        assert_eq!(
            query.prepare("example_1").to_string(),
            "PREPARE example_1(text, text, bigint) AS SELECT $2 FROM t WHERE id = $1::pg_catalog.int8 LIMIT $3"
        );
        assert_eq!(
            query.execute("example_1").to_string(),
            format!("EXECUTE example_1({executed}, 'x', 1)")
        );
    }
}

#[test]
fn sections_for_inexact_ids_are_left_out_if_all_are_exact() {
    const STATEMENT: Statement =
        Statement::new("example", "a /*if inexact*/b/*end*/ c /*if inexact*/d /*end*/e");
    let text = |id_types| {
        let form = MessageForm {
            id_types,
            ..MessageForm::default()
        };
        let query = Query {
            statement: &STATEMENT,
            values: &[],
        };
        FormedQuery(query, form).text()
    };
    let exact = [IdType::Text, IdType::Integer, IdType::Uuid, IdType::Text];
    let inexact = [IdType::Text, IdType::Text, IdType::Other, IdType::Text];
    assert_eq!(text(None), STATEMENT.text);
    assert_eq!(text(Some(inexact)), STATEMENT.text);
    assert_eq!(text(Some(exact)), "a  c e");
}
