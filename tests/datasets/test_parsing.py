"""Items from CSV and JSON Lines: what is read, and what is said of every line that cannot be."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.datasets.columns import ColumnMapping
from tiebreak.datasets.model import Item
from tiebreak.datasets.parsing import MAX_LINE, place, read_csv, read_jsonl
from tiebreak.errors import Fault, InvalidInput, PayloadTooLarge

NONE = ColumnMapping()


def csv_items(text, mapping=NONE):
    data = text if isinstance(text, bytes) else text.encode()
    return list(read_csv(io.BytesIO(data), mapping))


def jsonl_items(text, mapping=NONE):
    data = text if isinstance(text, bytes) else text.encode()
    return list(read_jsonl(io.BytesIO(data), mapping))


def said(records):
    return [place(record) for record in records if isinstance(record, Fault)]


def test_csv_columns_have_the_roles_of_their_names():
    text = "id,question,expected,category,difficulty\nq1,1 + 1?,2,add,easy\n"
    assert csv_items(text) == [Item(2, "q1", {"question": "1 + 1?"}, "2", "add", "easy")]


def test_csv_without_ids_numbers_its_items_and_takes_answer_as_expected():
    assert csv_items("question,answer\na,1\n\nb,\n") == [
        Item(2, "item-000001", {"question": "a"}, "1", None, None),
        Item(4, "item-000002", {"question": "b"}, None, None, None),
    ]


def test_csv_has_quotes_line_ends_of_both_kinds_a_byte_order_mark_and_spaces_in_its_header():
    text = '\ufeffid, question \r\nq1,"two\nlines, ""quoted"""\r\nq2,\r\n'
    assert csv_items(text) == [
        Item(2, "q1", {"question": 'two\nlines, "quoted"'}, None, None, None),
        Item(4, "q2", {"question": ""}, None, None, None),
    ]


def test_csv_cells_that_look_like_formulas_or_numbers_stay_as_they_are():
    (item,) = csv_items("question,answer\n=1+1,007\n")
    assert (item.inputs, item.expected) == ({"question": "=1+1"}, "007")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the file is empty; its first line has to name the columns"),
        ("id,,x\n", "line 1, column 2: column 2 has no name"),
        ("id,x,x\n", "line 1, column 3: two columns are called 'x'"),
        (
            "id,x\x00\n",
            "line 1, column 2: the name of column 2 holds a NUL character at character 2; remove it",
        ),
        ("id;question\nq1;a\n", "line 1: one column called 'id;question'; separate columns with commas"),
        (
            "id,answer\nq1,a\n",
            "no column is left as an input: the file has id, answer, all of them with another role",
        ),
        (b"id,q\n1,a\n2,ab\xff\n", "line 3, column 5: the byte 0xff is not UTF-8; save the file as UTF-8"),
        (b"\xff\xfei\x00d", "line 1, column 1: the byte 0xff is not UTF-8; save the file as UTF-8"),
        ('id,q\n1,"a"b\n', "line 2: not CSV (',' expected after '\"'); is a quote missing, or not doubled?"),
        (
            'id,q\n1,ok\n2,"open\n',
            "line 3: not CSV (unexpected end of data); is a quote missing, or not doubled?",
        ),
    ],
)
def test_a_csv_file_that_cannot_be_read_on_is_refused(text, reason):
    with pytest.raises(InvalidInput) as caught:
        csv_items(text)
    assert caught.value.detail == reason


def test_a_missing_column_is_named_with_those_there_are():
    with pytest.raises(InvalidInput) as caught:
        csv_items("id,question\nq1,a\n", ColumnMapping(expected="solution"))
    assert caught.value.detail == (
        "no column 'solution', which `expected` is mapped to; the file has: id, question"
    )


def test_faults_of_csv_records_name_line_and_column_and_the_rest_is_read():
    text = "id,question,category\nq1,a,x\nq2,b\n,c,x\nq4,d,x,y\nq5,e\x00,x\n" + f"{'i' * 201},f,x\nq7,g,x\n"
    records = csv_items(text)
    assert said(records) == [
        "line 3: 2 columns where the header has 3; 'category' missing",
        "line 4, column 'id': every item needs an id here: a text or a whole number",
        "line 5: 4 columns where the header has 3; is a text with a comma not in quotes?",
        "line 6, column 'question': holds a NUL character at character 2; remove it".replace(
            "holds", "the value holds"
        ),
        "line 7, column 'id': an id has at most 200 characters; this one has 201",
    ]
    assert [record.item_id for record in records if isinstance(record, Item)] == ["q1", "q7"]
    assert [record.column for record in records if isinstance(record, Fault)] == [None, 1, None, 2, 1]


@pytest.mark.parametrize(
    ("read", "text", "line"),
    [
        (csv_items, b"id,q\n1," + b"x" * MAX_LINE, 2),
        (csv_items, b'id,q\n1,"' + (b"x" * 65535 + b"\n") * 160, 161),
        (jsonl_items, b'{"q":"' + b"x" * MAX_LINE, 1),
    ],
)
def test_an_endless_line_or_quote_ends_at_ten_megabytes(read, text, line):
    with pytest.raises(PayloadTooLarge) as caught:
        read(text)
    assert caught.value.detail == (
        f"line {line}: longer than 10 MB, which is the limit; is a line end or a quote missing?"
    )


def test_a_field_of_nearly_ten_megabytes_is_read():
    (item,) = csv_items("question\n" + "x" * (MAX_LINE - 10) + "\n")
    assert len(item.inputs["question"]) == MAX_LINE - 10


def test_json_lines_have_the_roles_of_their_keys_in_any_order():
    text = '{"id": 7, "question": "a", "answer": 18.0, "category": null}\n\n{"answer": [1, "é"], "question": {"x": 1}, "id": "b"}'
    assert jsonl_items(text) == [
        Item(1, "7", {"question": "a"}, "18", None, None),
        Item(3, "b", {"question": {"x": 1}}, '[1, "é"]', None, None),
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [("18", "18"), (18, "18"), (18.0, "18"), (-0.5, "-0.5"), (1e30, "1e+30"), (True, "true"), (None, None)],
)
def test_an_expected_value_is_kept_as_text_with_numbers_in_one_way_of_writing(value, text):
    (item,) = jsonl_items(json.dumps({"q": "a", "expected": value}))
    assert item.expected == text


def test_json_lines_may_have_labels_and_expected_values_on_some_lines_only():
    text = '{"q": "a"}\n{"q": "b", "expected": 2, "category": "c", "difficulty": 3}\n{"q": "c"}'
    assert jsonl_items(text)[1:] == [
        Item(2, "item-000002", {"q": "b"}, "2", "c", "3"),
        Item(3, "item-000003", {"q": "c"}, None, None, None),
    ]


def test_answer_is_an_input_where_another_column_is_expected():
    (item,) = jsonl_items('{"answer": "a", "gold": "b"}', ColumnMapping(expected="gold"))
    assert (item.inputs, item.expected) == ({"answer": "a"}, "b")


def test_faults_of_json_lines_name_line_and_column_and_the_rest_is_read():
    lines = [
        '{"id": "a", "q": 1}',
        '{"id": "b", "q": }',
        "[1]",
        "{}",
        '{"id": "c"}',
        '{"id": "d", "q": 1, "extra": 2}',
        '{"id": "e", "q": "\\u0000"}',
        '{"id": "f", "q": "\\ud800"}',
        '{"id": "g", "q": NaN}',
        '{"id": "h", "q": 1, "q": 2}',
        '{"id": true, "q": 1}',
        '{"q": 1}',
        '{"id": "i", "q": 1, "category": ["x"]}',
        '{"id": "j", "q": ' + "[" * 60 + "]" * 60 + "}",
        '{"id": "k", "q": ' + "[" * 100_000 + "}",
        '{"id": "l", "q": ' + "9" * 5000 + "}",
        '{"id": "m", "q": 1e999}',
        '{"id": "n", "q": 2}',
    ]
    records = jsonl_items("\n".join(lines))
    assert said(records) == [
        "line 2, column 18: not JSON: Expecting value",
        'line 3, column 1: not a JSON object, like {"question": "…", "answer": "…"}',
        "line 4, column 1: an object without keys",
        "line 5, column 'q': missing; line 1 has it, and all items need the same inputs",
        "line 6, column 'extra': line 1 has no such key, and all items need the same inputs",
        "line 7, column 'q': the value holds a NUL character at character 1; remove it",
        "line 8, column 'q': the value holds half a surrogate pair (U+D800) at character 1; remove it",
        "line 9: NaN is not JSON; leave the value out, or write it as text",
        "line 10: the key 'q' is there twice",
        "line 11, column 'id': every item needs an id here: a text or a whole number",
        "line 12, column 'id': every item needs an id here: a text or a whole number",
        "line 13, column 'category': a list or an object; it has to be text or a number",
        "line 14, column 'q': nested deeper than 50 levels",
        "line 15: nested too deeply",
        "line 16: a whole number beyond 64 bits; write it as text",
        "line 17, column 'q': the value is inf, which JSON does not have",
    ]
    assert [record.item_id for record in records if isinstance(record, Item)] == ["a", "n"]


def test_json_lines_of_nothing_are_no_items():
    assert jsonl_items("\n \n") == []


def test_json_that_is_not_utf_8_is_refused_with_its_place():
    with pytest.raises(InvalidInput) as caught:
        jsonl_items(b'{"q": "a"}\n{"q": "\xe9"}\n')
    assert caught.value.detail == "line 2, column 8: the byte 0xe9 is not UTF-8; save the file as UTF-8"


CELL = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r"), max_size=20)


@given(st.lists(st.tuples(CELL, CELL), max_size=8))
def test_whatever_csv_can_hold_comes_back_unchanged(rows):
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([("q", "r"), *rows])
    items = csv_items(buffer.getvalue())
    assert [(item.inputs["q"], item.inputs["r"]) for item in items] == rows


VALUE = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | CELL
)


@given(st.lists(st.tuples(VALUE, st.lists(VALUE, max_size=3)), max_size=8))
def test_whatever_json_can_hold_comes_back_unchanged(rows):
    text = "\n".join(json.dumps({"q": q, "r": r}) for q, r in rows)
    assert [(item.inputs["q"], item.inputs["r"]) for item in jsonl_items(text)] == rows


@given(st.binary(max_size=80))
def test_any_bytes_are_items_faults_or_a_named_error(data):
    for read in (read_csv, read_jsonl):
        try:
            records = list(read(io.BytesIO(data), NONE))
        except InvalidInput:
            continue
        assert all(isinstance(record, Item | Fault) for record in records)
