"""``min``, ``max``, ``abs``, ``words``, ``matches``, where engines differ by themselves."""

import itertools
import math
import random
import re

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.property_tests import examples

from laion_dask.backend import frame_from_arrow
from laion_dask.dtypes import column_type
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet.read_shards import read_shards
from laion_dask.predicate import certain_and_possible, parse
from laion_dask.predicate.prune import Range, may_pass
from laion_dask.predicate.white_space import distinct_words, words

EVERY = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def kept(path, expression):
    """The rows kept and the number undecided; a scan, and a mask of the frame, must agree."""
    frame = read_shards(path, max_rows_per_partition=1 << 21)
    scan, [piece] = Provenance.of(frame).as_read
    predicate = parse(expression, scan.column_types)
    scanned = scan.and_where(predicate).read(piece, ["row"])
    result = scanned.table["row"].to_pylist(), scanned.unscored
    frame = scan(piece, list(scan.column_types))
    certain, possible = certain_and_possible(predicate, frame)
    assert (frame["row"][certain].tolist(), int((possible & ~certain).sum())) == result
    return result


def test_words_are_those_of_python_at_every_code_point(write):
    white = [c for c in EVERY if c.isspace()]
    draw = random.Random(0)
    mixed = ["".join(draw.choices([*white, "a", "é", "漢\0"], k=7)) for _ in range(3000)]
    texts = [f"a{c}b" for c in EVERY] + mixed + ["", " ", "a", " a b  c "]
    expected = [len(text.split()) for text in texts]
    frame = pd.DataFrame({"text": pd.Series(texts, dtype="str"), "n": expected})
    assert words(frame["text"]).tolist() == expected
    path = write("a.parquet", {"URL": ["u"] * len(texts), "TEXT": texts, "n": expected})
    assert len(read_shards(path, where="text.words() == n")) == len(texts)
    distinct = [len(set(text.split())) for text in texts]
    assert distinct_words(frame["text"]).tolist() == distinct
    path = write("b.parquet", {"URL": ["u"] * len(texts), "TEXT": texts, "n": distinct})
    assert len(read_shards(path, where="text.distinct_words() == n")) == len(texts)


def test_a_class_of_unicode_means_the_same_in_a_frame_and_in_a_scan(write):
    path = write("a.parquet", {"URL": ["u"] * len(EVERY), "TEXT": EVERY})
    assert kept(path, r"text.matches(r'\p{Han}|\p{So}')")[0]
    digits, undecided = kept(path, r"text.matches(r'^\d$')")
    assert ([EVERY[i] for i in digits], undecided) == (list("0123456789"), 0)
    lines, _ = kept(path, "not text.matches('.')")
    assert [EVERY[i] for i in lines] == ["\n"]


@pytest.mark.parametrize(
    "pattern", ["", "^$", "(?i)BIRD", r"\bbird\b", r"^a\x00b$", "a\x00b", "b.*d"]
)
def test_a_pattern_is_found_anywhere_and_null_is_unknown(write, pattern):
    texts = ["bird", "a Bird!", "birds", "", "a\x00b", "b\nd", None, "dbird"]
    path = write("a.parquet", {"URL": ["u"] * len(texts), "TEXT": texts})
    flags = re.IGNORECASE if pattern.startswith("(?i)") else 0
    found = [
        t is not None and bool(re.search(pattern.removeprefix("(?i)"), t, flags)) for t in texts
    ]
    right = [i for i, one in enumerate(found) if one]
    assert kept(path, f"text.matches({pattern!r})") == (right, 1)
    others = [i for i, one in enumerate(found) if not one and texts[i] is not None]
    assert kept(path, f"not text.matches({pattern!r})") == (others, 1)


def test_integers_are_exact_whatever_their_widths(write):
    low, high = -(2**63), 2**64 - 1
    signed = [low, low, -1, 2**63 - 1, 5, None, 0]
    unsigned = [high, 0, 2**63, 2**63 + 1, None, 7, 3]
    narrow = [-(2**31), 0, 1, 2**31 - 1, 1, 2, -(2**31)]
    columns = {"a": pa.array(signed), "b": pa.array(unsigned, pa.uint64())}
    columns |= {"c": pa.array(narrow, pa.int32()), "URL": ["u"] * 7}
    path = write("a.parquet", columns)
    for text in (
        *("min(a, b)", "max(a, b)", "min(max(a, b), max(b, c))"),
        *("abs(a)", "abs(c)", "max(abs(a), b)"),
    ):
        values = []
        for a, b, c in zip(signed, unsigned, narrow, strict=True):
            used = [v for v, n in ((a, "a"), (b, "b"), (c, "c")) if re.search(rf"\b{n}\b", text)]
            if None in used:
                values.append(None)
            else:
                values.append(eval(text, {"a": a, "b": b, "c": c}))
        for value in {v for v in values if v is not None}:
            right = [i for i, one in enumerate(values) if one == value]
            assert kept(path, f"{text} == {value}") == (right, values.count(None)), text


def test_a_selected_float_compares_like_its_column(write):
    """0.26 rounds down to float32, so in float64 the stored value would be below it."""
    values = pa.array([0.26, 0.3, -0.26, None, math.nan], pa.float32())
    path = write("a.parquet", {"URL": ["u"] * 5, "x": values, "y": values})
    for op, bound in itertools.product(("<", "<=", "==", "!=", ">=", ">"), (0.26, 0.3, -0.26)):
        plain = kept(path, f"x {op} {bound}")
        for same in ("max(x, y)", "min(x, y, 2)", "max(x, -1)"):
            assert kept(path, f"{same} {op} {bound}") == plain
    assert kept(path, "abs(x) <= 0.26") == ([0, 2], 2)
    assert kept(path, "abs(x) in (0.26,)") == ([0, 2], 2)
    wide = write("b.parquet", {"URL": ["u"] * 5, "x": values.cast(pa.float64()), "y": values})
    assert kept(wide, "max(x, y) <= 0.26")[0] == kept(path, "x <= 0.26")[0]


@examples(60)
@given(
    values=st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=4),
    operand=st.sampled_from(["min(a, b)", "max(a, b)", "abs(a)", "max(abs(a), min(b, 1))"]),
    op=st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    bound=st.integers(-4, 4),
    negated=st.booleans(),
)
def test_no_row_group_with_a_passing_row_is_skipped(values, operand, op, bound, negated):
    table = pa.table({"a": [a for a, _ in values], "b": [b for _, b in values]})
    frame = frame_from_arrow(table, "pandas")
    kinds = {name: column_type(dtype) for name, dtype in frame.dtypes.items()}
    text = f"not ({operand} {op} {bound})" if negated else f"{operand} {op} {bound}"
    predicate = parse(text, kinds)
    ranges = {name: Range(min(c), max(c)) for name, c in table.to_pydict().items()}
    if certain_and_possible(predicate, frame)[0].any():
        assert may_pass(predicate, ranges)
    assert not may_pass(parse(f"{operand} > 99", kinds), ranges)


def test_the_cost_counts_what_reads_whole_texts():
    kinds = {"text": "string", "width": "integer"}
    cheap = parse("min(width, text.len()) > 1 or text.contains('a') and width in (1, 2)", kinds)
    dear = parse("not (max(width, text.words()) > 1 or text.lower().matches('a'))", kinds)
    assert (len(cheap.cost.rates), len(dear.cost.rates)) == (1, 3)
    assert dear.lists == ()


def test_nested_functions_do_not_grow(write):
    """Each part is written once in SQL; twice at each level would be 2**40 parts."""
    text = "a"
    for i in range(40):
        text = f"{'min' if i % 2 else 'max'}({text}, b)"
    path = write("a.parquet", {"URL": ["u"] * 3, "a": [1, 2, None], "b": [2, 2, 2]})
    assert kept(path, f"{text} == 2") == ([0, 1], 1)
    assert kept(path, f"{text.replace('a,', 'a / 2,')} >= 1.5") == ([0, 1], 1)
