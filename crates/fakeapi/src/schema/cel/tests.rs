//! The language against known answers: the CEL definition's own rules, and expressions as
//! installations of Crossfade and others use them.

use serde_json::{Value as Json, json};

use super::{Bindings, Environment, Program, Root, Value, Variables};

const NAMES: &[(&str, Root)] = &[
    ("self", Root::This),
    ("oldSelf", Root::OldThis),
    ("object", Root::Object),
    ("oldObject", Root::OldObject),
    ("request", Root::Request),
];

fn compile(source: &str) -> std::sync::Arc<Program> {
    let environment = Environment {
        roots: NAMES,
        variables: None,
    };
    Program::compile(source, environment).unwrap_or_else(|reason| panic!("{source}: {reason}"))
}

fn refusal(source: &str) -> String {
    let environment = Environment {
        roots: NAMES,
        variables: None,
    };
    match Program::compile(source, environment) {
        Ok(_) => panic!("{source} compiled"),
        Err(reason) => reason,
    }
}

fn on(source: &str, object: &Json) -> Result<Json, String> {
    let program = compile(source);
    let bindings = Bindings::new(vec![(Root::This, object.into())]);
    program.evaluate(&bindings).map(|value| shown(&value))
}

/// A value as JSON, so that expectations are short.
fn shown(value: &Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(truth) => json!(truth),
        Value::Int(number) => json!(number),
        Value::Uint(number) => json!(number),
        Value::Double(number) => json!(number),
        Value::Text(text) => json!(text),
        Value::Optional(None) => json!("none"),
        Value::Optional(Some(inner)) => json!({ "some": shown(inner) }),
        Value::Duration(length) => json!(format!("{length}ns")),
        Value::Timestamp(moment) => json!(moment.to_string()),
        Value::Type(name) => json!(name),
        Value::Bytes(bytes) => json!(bytes.to_vec()),
        other => other.elements().map_or_else(
            || {
                let entries = other.entries().unwrap_or_default();
                let text = |key: &Value<'_>| match shown(key) {
                    Json::String(text) => text,
                    other => other.to_string(),
                };
                entries
                    .iter()
                    .map(|(key, value)| (text(key), shown(value)))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            },
            |elements| elements.iter().map(shown).collect(),
        ),
    }
}

fn gives(source: &str, expected: Json) {
    let subject = json!({
        "a": 1, "b": "text", "c": [1, 2, 3], "d": { "x": 1, "y": null }, "e": 2.5, "t": true,
        "empty": [], "namespace": "n", "foo-bar": 3,
        "items": [{ "name": "one", "n": 1 }, { "name": "two", "n": 2 }],
    });
    assert_eq!(on(source, &subject), Ok(expected), "{source}");
}

fn fails(source: &str, expected: &str) {
    let subject = json!({ "a": 1, "b": "text", "c": [1, 2, 3], "n": null });
    assert_eq!(on(source, &subject), Err(expected.to_owned()), "{source}");
}

#[test]
fn signs_of_not_and_minus_add_up() {
    gives("!!self.t", json!(true));
    gives("!!!self.t", json!(false));
    gives("--self.a", json!(1));
    gives("-9223372036854775808", json!(i64::MIN));
    gives("1 - -1", json!(2));
}

#[test]
fn operators_bind_as_the_language_says() {
    gives("1 + 2 * 3 == 7 && 10 / 3 == 3 && -7 % 3 == -1", json!(true));
    gives("false ? 1 : true ? 2 : 3", json!(2));
    gives("self.a == 1 || self.missing == 2", json!(true));
    gives("1 < 2 == true", json!(true));
    gives("\"a\" + 'b' + r'\\n'", json!("ab\\n"));
    gives("'''it's''' + \"\\u00e9\\x41\\101\"", json!("it's\u{e9}AA"));
    gives("0x1F + 1", json!(32));
    gives("1e3 + .5", json!(1000.5));
    gives("[1, 2,] + [3]", json!([1, 2, 3]));
    gives("{'k': 1, 2: 'two'}[2]", json!("two"));
    gives("2 // the rest is a comment\n + 1", json!(3));
}

#[test]
fn numbers_of_different_types_compare_by_amount() {
    gives("1 == 1.0 && 1u == 1 && 2 > 1.5 && self.e >= 2", json!(true));
    gives("1 in [1.0] && self.a in [1u]", json!(true));
    gives("self.c == [1.0, 2, 3u]", json!(true));
    gives("{'a': 1} == {'a': 1.0}", json!(true));
    gives("'1' == 1", json!(false));
    fails("1 + 1.0", "no such overload");
    fails("1 < 'a'", "no such overload");
}

#[test]
fn errors_have_the_words_of_the_real_evaluator() {
    fails("self.missing == 1", "no such key: missing");
    fails("self.c[3]", "index out of bounds: 3");
    fails("self['zz']", "no such key: zz");
    fails("1 / 0", "division by zero");
    fails("1 % 0", "modulus by zero");
    fails("9223372036854775807 + 1", "integer overflow");
    fails("self.n.x", "no such key: x");
    fails("oldSelf == 1", "no such attribute(s): oldSelf");
    fails("self.a && true", "no such overload");
}

#[test]
fn the_other_side_may_decide_in_spite_of_an_error() {
    gives("self.missing || true", json!(true));
    gives("true || self.missing", json!(true));
    gives("self.missing && false", json!(false));
    fails("self.missing && true", "no such key: missing");
    fails("self.missing || false", "no such key: missing");
    gives("[0, 1].exists(x, 1 / x == 1)", json!(true));
    gives("[0, 1].all(x, 1 / x == 2)", json!(false));
    fails("[0].exists(x, 1 / x == 1)", "division by zero");
}

#[test]
fn has_asks_for_a_field_and_never_fails_on_the_last() {
    gives("has(self.a) && !has(self.z)", json!(true));
    gives("has(self.d.y)", json!(false));
    gives("'y' in self.d", json!(true));
    gives("has(self.b.x)", json!(false));
    fails("has(self.x.y)", "no such key: x");
    gives(
        "'x' in self.d && !('z' in self.d) && 2 in self.c",
        json!(true),
    );
}

#[test]
fn macros_go_over_lists_and_keys_of_maps() {
    gives("self.c.all(x, x > 0) && !self.c.all(x, x > 1)", json!(true));
    gives(
        "self.c.exists(x, x == 3) && self.empty.all(x, false)",
        json!(true),
    );
    gives(
        "self.c.exists_one(x, x > 2) && !self.c.existsOne(x, x > 1)",
        json!(true),
    );
    gives("self.c.map(x, x * 2)", json!([2, 4, 6]));
    gives("self.c.map(x, x > 1, x * 2)", json!([4, 6]));
    gives(
        "self.items.filter(i, i.n > 1).map(i, i.name)",
        json!(["two"]),
    );
    gives("self.d.map(k, k)", json!(["x", "y"]));
    gives("self.d.exists(k, v, v == 1)", json!(true));
    gives("self.c.all(i, v, v == i + 1)", json!(true));
    gives("self.c.all(x, self.c.exists(y, x == y))", json!(true));
    gives(
        "self.items.map(x, [x.n].map(y, x.n + y))",
        json!([[2], [4]]),
    );
    gives("cel.bind(v, self.a + 1, v * v)", json!(4));
}

#[test]
fn optionals_are_asked_for_without_error() {
    gives("self.?missing.?deeper.orValue('x')", json!("x"));
    gives("self.?d.x", json!({ "some": 1 }));
    gives("self.?d.?x.hasValue() && !self.?z.hasValue()", json!(true));
    gives("self.c[?7].orValue(9)", json!(9));
    gives("self.d[?'x'].value()", json!(1));
    gives("optional.none().or(optional.of(2))", json!({ "some": 2 }));
    gives("self.?a.optMap(v, v + 1)", json!({ "some": 2 }));
    gives("self.?a.optFlatMap(v, optional.none())", json!("none"));
    gives("[1, ?self.?z, ?self.?a]", json!([1, 1]));
    gives("{?'z': self.?z, ?'a': self.?a}", json!({ "a": 1 }));
    gives("optional.ofNonZeroValue('').hasValue()", json!(false));
    fails("self.?z.value()", "optional.none() dereference");
}

#[test]
fn functions_of_texts_lists_and_times() {
    gives("size(self.b) + self.c.size() + 'é'.size()", json!(8));
    gives("'v1.2.3'.matches('^v[0-9]+(\\\\.[0-9]+)*$')", json!(true));
    gives(
        "self.b.startsWith('te') && self.b.endsWith('xt') && self.b.contains('ex')",
        json!(true),
    );
    gives("'a,b,c'.split(',')", json!(["a", "b", "c"]));
    gives("'a,b,c'.split(',', 2)", json!(["a", "b,c"]));
    gives("['a', 'b'].join('-')", json!("a-b"));
    gives(
        "'abcd'.substring(1, 3) + 'AbC'.lowerAscii() + ' x '.trim()",
        json!("bcabcx"),
    );
    gives("'hello'.replace('l', 'L', 1)", json!("heLlo"));
    gives(
        "'hello'.indexOf('l') * 10 + 'hello'.lastIndexOf('l')",
        json!(23),
    );
    gives(
        "'%s has %d at %.2f%%'.format(['web', 3, 12.345])",
        json!("web has 3 at 12.35%"),
    );
    gives("'x1y22'.findAll('[0-9]+')", json!(["1", "22"]));
    gives(
        "[3, 1, 2].max() + [3, 1, 2].min() + [3, 1, 2].sum()",
        json!(10),
    );
    gives("[1, 2].isSorted() && ![2, 1].isSorted()", json!(true));
    gives(
        "sets.contains([1, 2], [2]) && sets.equivalent([1, 2], [2, 1, 1])",
        json!(true),
    );
    gives("math.greatest(1, 2.5) > 2", json!(true));
    gives("duration('1h30m') > duration('5000s')", json!(true));
    gives("duration('90s').getMinutes()", json!(1));
    gives("string(duration('1.5s'))", json!("1.5s"));
    gives(
        "timestamp('2026-01-02T03:04:05Z') + duration('1h') == timestamp('2026-01-02T04:04:05Z')",
        json!(true),
    );
    gives("timestamp('2026-01-02T03:04:05Z').getMonth()", json!(0));
    gives("int('12') + int(2.9)", json!(14));
    gives("string(3) + string(true)", json!("3true"));
    gives("type(self.a) == int && type('') == string", json!(true));
    fails("duration('soon')", "time: invalid duration \"soon\"");
}

#[test]
fn properties_with_other_names_are_reached_by_their_escapes() {
    gives("self.__namespace__", json!("n"));
    gives("self.namespace", json!("n"));
    gives("self.foo__dash__bar", json!(3));
}

#[test]
fn what_does_not_compile_is_refused_with_its_place() {
    assert!(refusal("self.a ==").contains("<input>:1:10: Syntax error: mismatched input '<EOF>'"));
    assert!(
        refusal("self.a ==\n  nobody")
            .contains("<input>:2:3: undeclared reference to 'nobody' (in container '')")
    );
    assert!(refusal("quantity('1') == 1").contains("undeclared reference to 'quantity'"));
    assert!(refusal("has(self)").contains("invalid argument to has() macro"));
    assert!(refusal("self.c.all(1, true)").contains("argument must be a simple name"));
    assert!(refusal("for == 1").contains("reserved identifier: for"));
    assert!(refusal("'x'.matches('[')").contains("error parsing regexp"));
    assert!(refusal("variables.x == 1").contains("undeclared reference to 'variables'"));
    assert!(refusal("1 1").contains("Syntax error"));
    assert!(refusal(&"(".repeat(200)).contains("recursion limit"));
    assert!(refusal(&"1 + ".repeat(3000)).contains("expression of more than"));
}

#[test]
fn variables_are_evaluated_once_and_only_when_asked_for() {
    let names = ["bad".to_owned(), "good".to_owned()];
    let first = Environment {
        roots: NAMES,
        variables: Some(&names[..0]),
    };
    let second = Environment {
        roots: NAMES,
        variables: Some(&names[..1]),
    };
    let both = Environment {
        roots: NAMES,
        variables: Some(&names),
    };
    let programs = vec![
        (names[0].clone(), Program::compile("1 / 0", first).unwrap()),
        (
            names[1].clone(),
            Program::compile("object.a + 1", second).unwrap(),
        ),
    ];
    let object = json!({ "a": 1 });
    let mut bindings = Bindings::new(vec![(Root::Object, (&object).into())]);
    bindings.variables = Variables::new(&programs);
    let good = Program::compile("variables.good * variables.good", both).unwrap();
    assert_eq!(
        good.evaluate(&bindings).map(|value| shown(&value)),
        Ok(json!(4))
    );
    let bad = Program::compile("variables.bad == 1", both).unwrap();
    assert_eq!(
        bad.evaluate(&bindings).map(|value| shown(&value)),
        Err("composited variable \"bad\" fails to evaluate: division by zero".to_owned())
    );
    assert!(Program::compile("variables.later", second).is_err());
}

#[test]
fn the_gate_of_an_installation_has_its_known_answers() {
    let guarded = compile(
        "object.spec.template != oldObject.spec.template || ((has(oldObject.spec.paused) && oldObject.spec.paused) && !(has(object.spec.paused) && object.spec.paused)) || ((has(oldObject.metadata.annotations) && 'crossfade.dev/strategy' in oldObject.metadata.annotations) && !(has(object.metadata.annotations) && 'crossfade.dev/strategy' in object.metadata.annotations))",
    );
    let deployment = |image: &str, paused: bool, strategy: bool| {
        let mut value = json!({
            "metadata": { "name": "web" },
            "spec": { "template": { "spec": { "containers": [{ "image": image }] } } },
        });
        if paused {
            value["spec"]["paused"] = json!(true);
        }
        if strategy {
            value["metadata"]["annotations"] = json!({ "crossfade.dev/strategy": "canary" });
        }
        value
    };
    let answer = |new: &Json, old: &Json| {
        let bindings = Bindings::new(vec![
            (Root::Object, new.into()),
            (Root::OldObject, old.into()),
        ]);
        guarded.evaluate(&bindings).map(|value| shown(&value))
    };
    let plain = deployment("a:1", false, true);
    assert_eq!(answer(&plain, &plain), Ok(json!(false)));
    assert_eq!(
        answer(&deployment("a:2", false, true), &plain),
        Ok(json!(true))
    );
    assert_eq!(
        answer(&plain, &deployment("a:1", true, true)),
        Ok(json!(true))
    );
    assert_eq!(
        answer(&deployment("a:1", true, true), &plain),
        Ok(json!(false))
    );
    assert_eq!(
        answer(&deployment("a:1", false, false), &plain),
        Ok(json!(true))
    );
    assert_eq!(
        answer(&Json::Null, &plain),
        Err("no such key: spec".to_owned())
    );
}
