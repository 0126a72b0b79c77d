//! Tests of `statement.rs`.

use proptest::prelude::*;

use super::*;

const STATEMENT: Statement = Statement::new("example", "SELECT $2 FROM t WHERE id::text = $1 LIMIT $3")
    .with_ids(
        "SELECT types",
        &[IdComparison {
            columns: &[0],
            of_texts: "id::text = $1",
            in_type: "id = $1",
            value: Some(0),
        }],
    );

proptest! {
    #[test]
    fn text_values_contain_only_hexadecimal_digits_between_quotes(text in any::<String>()) {
        let rendered = Value::Text(&text).to_string();
        let digits = rendered
            .strip_prefix("pg_catalog.convert_from(pg_catalog.decode('")
            .and_then(|rest| rest.strip_suffix("', 'hex'), 'UTF8')"))
            .unwrap();
        prop_assert!(digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
        prop_assert_eq!(HEXLOWER.decode(digits.as_bytes()).unwrap(), text.as_bytes());
    }
}

#[test]
fn inline_statements_have_their_values_in_place() {
    let values = [Value::Text("a"), Value::NullText, Value::Number(7)];
    let query = Query {
        statement: &STATEMENT,
        values: &values,
    };
    let query = FormedQuery(query, MessageForm::default());
    assert_eq!(
        query.inline().to_string(),
        "SELECT NULL::pg_catalog.text FROM t \
         WHERE id::text = pg_catalog.textin(pg_catalog.textout(\
         pg_catalog.convert_from(pg_catalog.decode('61', 'hex'), 'UTF8'))) LIMIT 7"
    );
    assert_eq!(
        query.prepare("example_1").to_string(),
        "PREPARE example_1(text, text, bigint) AS SELECT $2 FROM t WHERE id::text = $1 LIMIT $3"
    );
}

fn inline(text: &str) -> String {
    format!("pg_catalog.textin(pg_catalog.textout({}))", Value::Text(text))
}

#[test]
fn ids_are_compared_in_their_type_if_it_is_known() {
    let form = MessageForm {
        id_types: Some([IdType::Integer, IdType::Text, IdType::Text, IdType::Text]),
        ..MessageForm::default()
    };
    for (id, expected) in [
        (
            "7",
            "pg_catalog.convert_from(pg_catalog.decode('37', 'hex'), 'UTF8')",
        ),
        ("seven", "NULL::pg_catalog.text"),
    ] {
        let values = [Value::Text(id), Value::Text("x"), Value::Number(1)];
        let query = Query {
            statement: &STATEMENT,
            values: &values,
        };
        let query = FormedQuery(query, form);
        assert_eq!(
            query.inline().to_string(),
            format!(
                "SELECT {} FROM t WHERE id = {}::pg_catalog.int8 LIMIT 1",
                inline("x"),
                if id == "7" {
                    inline(id)
                } else {
                    expected.to_owned()
                }
            )
        );
        assert_eq!(
            query.prepare("example_1").to_string(),
            "PREPARE example_1(text, text, bigint) AS SELECT $2 FROM t WHERE id = $1::pg_catalog.int8 LIMIT $3"
        );
        assert_eq!(
            query.execute("example_1").to_string(),
            format!("EXECUTE example_1({expected}, {}, 1)", Value::Text("x"))
        );
    }
}

#[test]
fn citext_sections_are_left_out_if_no_id_is_one() {
    const STATEMENT: Statement =
        Statement::new("example", "a /*if citext*/b/*end*/ c /*if citext*/d /*end*/e");
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
    let citext = [IdType::Text, IdType::Text, IdType::CaseInsensitive, IdType::Text];
    assert_eq!(text(None), STATEMENT.text);
    assert_eq!(text(Some(citext)), STATEMENT.text);
    assert_eq!(text(Some(IdTypes::default())), "a  c e");
}
