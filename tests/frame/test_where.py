"""``where`` gives the same answer in the scan, on a frame, and row by row in plain Python."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.frames import both, on_host
from support.property_tests import examples
from support.where_language import TYPES, compare_values, expressions, tables

from laion_dask.aggregations.curve import curve
from laion_dask.aggregations.engine.statistics import statistics
from laion_dask.dtypes import column_type
from laion_dask.errors import ColumnError, PredicateError
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.rows import rows
from laion_dask.frame.where import where
from laion_dask.frame.where_kernel import passes, undecided
from laion_dask.io.parquet.read_shards import read_shards
from laion_dask.predicate import parse
from laion_dask.predicate.clauses import clauses, named_columns


def engines(path: str):
    """Functions from an expression to (rows kept, number undecided): both scans and the frame."""
    scan, [piece] = Provenance.of(read_shards(path)).as_read
    frame = scan(piece, list(scan.column_types))

    def scanned(text, scan):
        scan = scan.and_where(parse(text, scan.column_types))
        result = scan.read(piece, ["row"])
        kept = on_host(scan(piece, ["row"]))["row"].tolist()
        assert result.table["row"].to_pylist() == kept
        assert scan.counts(piece) == (result.unscored, 0) and result.rejected == 0
        return kept, result.unscored

    def masked(text):
        column_types = {name: column_type(dtype) for name, dtype in frame.dtypes.items()}
        predicate = parse(text, column_types)
        kept = on_host(frame["row"][passes(frame, predicate)]).tolist()
        return kept, undecided(frame, predicate).sum()

    careful = replace(scan, invalid_text="reject")
    return {
        "scan": lambda text: scanned(text, scan),
        "careful": lambda text: scanned(text, careful),
        "frame": masked,
    }


@both
@examples(30)
@given(table=tables, chosen=st.lists(expressions, min_size=1, max_size=3), size=st.integers(1, 5))
def test_every_engine_gives_the_meaning(table, chosen, size):
    columns = {n: pa.array([row[n] for row in table], t) for n, t in TYPES.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "a.parquet")
        pq.write_table(pa.table(columns), path, row_group_size=size)
        for text, meaning in chosen:
            truth = [meaning(row) for row in table]
            expected = [i for i, value in enumerate(truth) if value is True], truth.count(None)
            for name, engine in engines(path).items():
                assert engine(text) == expected, (name, text)


def kept(path, expression):
    """The rows kept and the four counts; the scan and the frame must agree."""
    result = []
    for way in (read_shards(path), read_shards(path).assign(one=1)):
        filtered = where(way, expression)
        result.append((filtered["row"].compute(scheduler="sync").tolist(), str(rows(filtered))))
    assert result[0] == result[1]
    return result[0]


@both
@pytest.mark.parametrize("values", [[0.5, 0.5, math.nan], [0.6, 0.9, math.nan], [math.nan] * 3])
def test_nan_that_parquet_statistics_hide(write, values):
    for type_ in (pa.float32(), pa.float64()):
        path = write("a.parquet", {"text": ["a", "b", "c"], "similarity": pa.array(values, type_)})
        n = sum(not math.isnan(v) for v in values)
        for expression in ("similarity > 0.25", "not (similarity < 0.25)", "similarity != 7"):
            right = f"3 read = {n} kept + 0 dropped + {3 - n} unscored + 0 rejected"
            assert kept(path, expression) == (list(range(n)), right)
        assert kept(path, "similarity is None")[0] == list(range(n, 3))


KINDS = {"url": "string", "text": "string", "similarity": "float32", "width": "integer"}
KINDS |= {"flag": "boolean", "boxes": "other"}


@pytest.mark.parametrize(
    "text",
    [
        "", "  ", None, 5, b"width > 1", "width", "5", "True", "width >", "width = 5",
        "__import__('os').system('x')", "open('x')", "len(text) > 3", "text.upper() == 'A'",
        "text.__class__ == 'x'", "width.real > 1", "(lambda: 1)() == width", "lambda: width > 1",
        "[x for x in text] == 1", "width in [x for x in (1, 2)]", "(width := 5) > 1",
        "text == f'{url}'", "text.contains(f'{url}')", "width > 1 & width < 5",
        "(width > 1) | (width < 5)", "width > 'a'", "text > 5", "flag > 1", "flag == 'a'",
        "boxes == 1", "boxes in (1,)", "text == None", "width is 5", "width in 5", "width in ()",
        "width in (1, 'a')", "width in (width,)", "5 is None", "5 in (1, 2)", "1 < 2", "1 + 1 == 2",
        "width > 1 / 0", "text + 'a' == 'b'", "-text == 'a'", "width ** 2 > 4", "width // 2 > 4",
        "width % 2 == 0", "~flag", "width if flag else width", "text[0] == 'a'", "*width",
        "width > 1; width", "import os", "text.contains(url)", "text.contains('a', 'b')",
        "text.contains(pat='a')", "width.contains('1')", "'a'.contains('a')", "text == b'a'",
        "width > 1j", "width > ...", "text == 'a\x00b'", "text == '\ud800'", "text == '\\ud800'",
        "text.contains('\\udfff')", "await width", "yield",
        "{'a': 1} == width", "not", "width > " + "9" * 5000, "w" * 2_000_000,
    ],
    ids=lambda text: repr(text)[:40],
)  # fmt: skip
def test_what_where_refuses(text):
    with pytest.raises(PredicateError) as caught:
        parse(text, KINDS)
    str(caught.value).encode()
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("text = 'a == b'", "= is written =="),
        ("width > 3 AND text.contains('OR')", "AND is written and"),
        ("text like 'bird'", "LIKE is written text.contains"),
        ("width <> 3", "<> is written !="),
        ("text IS NULL", "IS is written is"),
        ("width > (3", "was never closed"),
    ],
)
def test_what_is_written_as_in_sql_is_said_otherwise(text, hint):
    with pytest.raises(PredicateError, match=re.escape(hint)):
        parse(text, {"text": "string", "width": "integer"})


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("image url == 'x'", "the column image url is written col('image url')"),
        ("`image url` == 'x'", "`image url` is written col('image url')"),
        ("`width` > 3", "`width` is written width"),
        ("class > 1 and width > 3", "the column class is written col('class')"),
        ("a.b > 1", "Write col('a.b')"),
        ("\"image url\" == 'x'", "written col('image url'), unquoted"),
        ("width between 1 and 2", "BETWEEN is written 1 <= width <= 2"),
        ("width BETWEEN 1 AND 2", "BETWEEN is written 1 <= width <= 2"),
        ("least(width, 7) > 1", "Write min(width, 7)"),
        ("fabs(width) < 1", "Write abs(width)"),
        ("re.search('a', text)", "Write text.matches('…')"),
        ("min(width) > 1", "does not have two or more numbers in its parentheses"),
        ("abs(width, 1) > 1", "does not have one number in its parentheses"),
        ("max(*width) > 1", "Write max(width, height)"),
        ("min(width, text) > 1", "'text' is of kind string, not a number"),
        ("text.matches('a(b')", "missing ): a(b (at character 1)"),
        ("text.matches('b(?=a)')", "invalid perl operator: (?= (at character 2)"),
        (r"text.matches(r'(a)\1')", "RE2 has no look-around and no backreferences"),
        (r"text.matches('(a)\1')", r"'\1' is. Write the pattern as r'…'"),
        (r"text.matches('\bbird')", r"'\b' is. Write the pattern as r'…'"),
        ("words(text) > 1", "Write text.words()"),
        ("text.words > 1", "Write text.words()"),
        ("isnull(text)", "Write text is None"),
        ("width NOT BETWEEN 1 AND 2", "NOT BETWEEN is written not (1 <= width <= 2)"),
        ("text == 'it''s'", "'it' 's' are two adjacent strings"),
        ("text in ['a' # one\n 'b', 'c']", "'a' 'b' are two adjacent strings"),
    ],
)
def test_the_hint_shows_the_form_that_works(text, hint):
    column_types = {"image url": "string", "a.b": "integer", "class": "integer", "": "integer"}
    with pytest.raises(PredicateError, match=re.escape(hint)):
        parse(text, {"text": "string", "width": "integer", **column_types})


def test_a_name_is_the_column_that_is_written_so():
    """Python normalizes some Unicode letters in identifiers."""
    column_types = {
        "\uff83\uff77\uff7d\uff84": "integer",
        "\u30c6\u30ad\u30b9\u30c8": "integer",
        "\xb5": "integer",
    }
    for name in column_types:
        assert parse(f"{name} > 1", column_types).columns == (name,)
    assert parse("\u212a > 1", {"K": "integer"}).columns == ("K",)
    assert parse("text == '' or text in ('', \"'\", 'b')", KINDS)


def test_a_pattern_may_have_backslashes_that_python_would_warn_of():
    tests = (r"text.matches('\d\.')", r"text.matches(r'\d\.')", r"text.matches('\\d\\.')")
    roots = {parse(test, KINDS).root for test in tests}
    assert [root.pattern for root in roots] == [r"\d\."]
    predicate = parse(rf"{tests[0]} and width > 1 and text.matches('\n')", KINDS)
    assert clauses(predicate, KINDS)[0].root == roots.pop()
    assert clauses(predicate, KINDS)[2].root.pattern == "\n"
    assert named_columns(tests[0]) == {"text"}


def test_so_many_tests_and_no_more():
    """The limit exists because DuckDB took 3 GB for a chain of 1,000 computed comparisons."""
    column_types = {"text": "string", "width": "integer"}
    parse(" or ".join(["width == 1"] * 1000), column_types)
    parse(" or ".join(["text.lower().contains('a')"] * 1000), column_types)
    parse(f"width in ({','.join(map(str, range(50_000)))})", column_types)
    for text in (
        " or ".join(["width == 1"] * 1001),
        " < ".join(["width"] * 1002),
        " == ".join(["text.lower()"] * 800),
        " or ".join(["(width + 1) * 2 / 3 > 1"] * 400),
    ):
        with pytest.raises(PredicateError, match="more than 1,000 tests"):
            parse(text, column_types)


def test_a_wrong_column_is_named_with_the_nearest():
    for text in ("similarty > 0.3", "col('similarty') > 0.3", "not (width > 1 and similarty < 1)"):
        with pytest.raises(ColumnError, match="Did you mean 'similarity'"):
            parse(text, KINDS)


NESTED = """
from laion_dask.errors import PredicateError
from laion_dask.io.parquet.read_shards import read_shards
from laion_dask.frame.where import where
import sys
frame = read_shards(sys.argv[1])
for n in (5, 90, 900, 60000):
    few = min(n, 300)
    for text in ("(" * n + "width > 1" + ")" * n, "not " * n + "width > 1",
                 " or ".join(["width > 101"] * n), " and ".join(["width > 101"] * n),
                 "width" + " + 1" * n + " > 1", "-" * n + "width > 1", "width < " * few + "200",
                 "width in (" + "101," * n + ")", "text" + ".lower()" * n + " == 'a'"):
        flat = " or " in text or " and " in text or "<" in text or " in " in text
        if flat and n > 900:
            continue
        ways = (frame,) if flat and n > 300 else (frame, frame.assign(one=1))
        try:
            found = [len(where(f, text)["row"].compute(scheduler="sync")) for f in ways]
            assert len(set(found)) == 1, (n, text[:40], found)
        except PredicateError:
            pass
print("done")
"""


def test_deep_and_long_expressions_never_crash(laion_shards):
    run = subprocess.run(
        [sys.executable, "-c", NESTED, *laion_shards(5)],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert (run.returncode, run.stdout) == (0, "done\n"), run.stderr[-2000:]


def test_lines_may_be_broken_anywhere():
    broken = parse("\n  width > 1\n  or width < 0  # never\n", {"width": "integer"})
    assert broken.root == parse("width > 1 or width < 0", {"width": "integer"}).root


@both
def test_hashes_in_a_list_never_pass_through_a_float(write):
    path = write("h.parquet", {"hash": pa.array([2**63 - 1, 2**63 - 2, -5])})
    frame = read_shards(path)
    for df in (frame, frame.assign(z=1)):
        for text, kept in (
            (f"hash in ({2**63}, -5)", [2]),
            (f"hash not in ({2**63}, -5)", [0, 1]),
            (f"hash in ({2**63 - 2}, {-(2**63) - 1})", [1]),
            (f"hash in ({2**64},)", []),
        ):
            assert where(df, text).compute()["row"].tolist() == kept


@both
def test_a_choice_of_columns_keeps_its_order(write):
    frame = read_shards(write("a.parquet", {"URL": ["u"], "TEXT": ["t"], "WIDTH": [3]}))
    names = list(frame.columns)[::-1]
    assert list(where(frame[names], "width > 0").compute().columns) == names


@both
@pytest.mark.parametrize("bound", [3.5e38, -3.5e38, 1e300, 1e-50])
def test_a_constant_beyond_float32_equals_no_float32(write, bound):
    values = [math.inf, -math.inf, 3.4e38, -3.4e38, 0.0, 1e-45, None]
    path = write("a.parquet", {"URL": ["u"] * 7, "x": pa.array(values, pa.float32())})
    for op in ("<", "<=", ">", ">=", "==", "!="):
        is_true = [compare_values(op, value, bound, ("float64", "float64")) for value in values]
        for text, wanted in ((f"x {op} {bound!r}", True), (f"not (x {op} {bound!r})", False)):
            expected = [i for i, value in enumerate(is_true) if value is wanted], 1
            for name, engine in engines(path).items():
                assert engine(text) == expected, (name, text)


@pytest.mark.only_pandas
@pytest.mark.parametrize("threshold", [0.3, -0.7, 2049])
def test_a_float16_means_the_same_as_wider_floats(write, tmp_path, threshold):
    middle = min(threshold, 2e4)
    values = [threshold, 0.0, 1.0, middle * 0.99, middle * 1.01, -middle, math.nan]
    half, wide = np.array(values).astype(np.float16), np.array(values)
    base = {"URL": ["u"] * len(values)}
    paths = [
        write("d/0.parquet", {**base, "x": pa.array(half)}),
        write("d/1.parquet", {**base, "x": pa.array(wide.astype(np.float32))}),
        write("d/2.parquet", {**base, "x": pa.array(wide)}),
    ]
    sets = {1: read_shards(paths[0]), 3: read_shards(tmp_path / "d")}
    for op in ("<", "<=", ">", "==", "in"):
        bound = f"({threshold!r}, 7)" if op == "in" else repr(threshold)
        for test in (f"x {op} {bound}", f"not x {op} {bound}"):
            expected = read_shards(paths[2], where=test).compute(scheduler="sync")["row"].tolist()
            for n, frame in sets.items():
                for made in (frame, frame.map_partitions(lambda part: part)):
                    result = made.laion.where(test).compute(scheduler="sync")
                    kept = [result[result["shard"] == i]["row"].tolist() for i in range(n)]
                    assert kept == [expected] * n, test
    narrow = read_shards(paths[1], where="x == 0.300048828125")
    assert not narrow.laion.rows().kept  # a column stored as float32 keeps its values


@pytest.mark.only_pandas
@pytest.mark.parametrize("threshold", [0.3, 0.28, 0.1, 0.7, 1e-50, 1e300])
def test_a_float32_means_the_same_beside_a_float64(write, tmp_path, threshold):
    near = float(np.float32(threshold)) if 1e-40 < threshold < 1e38 else 0.5
    values = [near, min(threshold, 1e30), 0.0, 1.0, np.nextafter(near, 1), np.nextafter(near, -1)]
    base = {"URL": ["u"] * len(values), "TEXT": ["t"] * len(values)}
    narrow = write("d/0.parquet", {**base, "similarity": pa.array(values, pa.float32())})
    wide = write("d/1.parquet", {**base, "similarity": pa.array(values)})
    frame = read_shards(tmp_path / "d")
    for op in ("<", "<=", ">", ">=", "==", "!=", "in"):
        bound = f"({threshold!r}, 2)" if op == "in" else repr(threshold)
        for test in (f"similarity {op} {bound}", f"not similarity {op} {bound}"):
            alone = [
                read_shards(path, where=test).compute(scheduler="sync")["row"].tolist()
                for path in (narrow, wide)
            ]
            filtered = frame.laion.where(test).compute(scheduler="sync")
            masked = frame.map_partitions(lambda part: part).laion.where(test)
            masked = masked.compute(scheduler="sync")
            for result in (filtered, masked):
                assert [result[result["shard"] == i]["row"].tolist() for i in (0, 1)] == alone, test
    cuts = curve("similarity", thresholds=[threshold])
    paths = (narrow, wide, tmp_path / "d")
    one, other, both_of = (statistics(read_shards(p), cuts, min_n=0)["k"].iloc[0] for p in paths)
    assert both_of == one + other


@pytest.mark.only_pandas
@pytest.mark.parametrize("kind", ["repartitioned", "sorted", "sampled", "reset", "as read"])
def test_filters_in_a_chain_are_counted_where_labels_of_the_index_repeat(write, kind):
    """Dask combines the masks of two filters by label, for ``len`` alone: an error, or too few."""
    n = 40
    paths = [
        write(f"{i}.parquet", {"url": ["u"] * n, "width": list(range(n)), "height": [9, i] * 20})
        for i in range(3)
    ]
    frame = {
        "repartitioned": lambda frame: frame.repartition(npartitions=1),
        "sorted": lambda frame: frame.sort_values("height"),
        "sampled": lambda frame: frame.repartition(npartitions=1).laion.sample(n=90),
        "reset": lambda frame: frame.laion.sample(n=90).reset_index(drop=True),
        "as read": lambda frame: frame,
    }[kind](read_shards(paths))
    once = frame.laion.where("width >= 7")
    data = once.compute(scheduler="sync")
    expected = int((data["height"] < 9).sum())
    for chained in (once.laion.where("height < 9"), once[once["height"] < 9]):
        assert len(chained) == len(chained.compute(scheduler="sync")) == expected > 0
        assert len(chained.index) == expected
