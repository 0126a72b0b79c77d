//! Tests of `message.rs`.

use proptest::prelude::*;

use super::*;

const STATEMENT: Statement = Statement {
    name: "example",
    text: "SELECT $2, $1 FROM t LIMIT $3",
};

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
    assert_eq!(
        Inline(query, MessageForm::default()).to_string(),
        "SELECT NULL::pg_catalog.text, pg_catalog.convert_from(pg_catalog.decode('61', 'hex'), 'UTF8') \
         FROM t LIMIT 7"
    );
    assert_eq!(
        Prepare("example_1", query, MessageForm::default()).to_string(),
        "PREPARE example_1(text, text, bigint) AS SELECT $2, $1 FROM t LIMIT $3"
    );
}
