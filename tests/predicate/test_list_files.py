"""``in file('…')``: the same rows as an inline list, and lists that are wrong in every way."""

import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.frames import both
from support.property_tests import examples

import laion_dask as ld
from laion_dask.errors import PredicateError
from laion_dask.frame.provenance import Provenance
from laion_dask.predicate import certain_and_possible, parse
from laion_dask.predicate.clauses import clauses
from laion_dask.predicate.value_sets import IntegerSet, TextSet

KINDS = {"url": "string", "width": "integer", "similarity": "float32", "flag": "boolean"}


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def kept(path, expression):
    """The rows kept and the number undecided; a scan, and a mask of the frame, must agree."""
    scan, [piece] = Provenance.of(ld.read_shards(path)).as_read
    predicate = parse(expression, scan.column_types)
    scanned = scan.and_where(predicate).read(piece, ["row"])
    result = scanned.table["row"].to_pylist(), scanned.unscored
    frame = scan(piece, list(scan.column_types))
    certain, possible = certain_and_possible(predicate, frame)
    assert (frame["row"][certain].tolist(), int((possible & ~certain).sum())) == result
    return result


texts = st.text("aé漢 b", max_size=12)
integers = st.one_of(st.integers(-3, 3), st.sampled_from([2**63 - 1, -(2**63)]))


@examples(40)
@given(values=st.lists(st.one_of(st.none(), texts), max_size=8), listed=st.lists(texts, min_size=1))
def test_texts_are_found_exactly(values, listed):
    table, column = TextSet(pa.array(listed, pa.large_string())), pa.array(values, pa.string())
    found = table.contains(column[1:]).tolist()
    right = [value in listed for value in values[1:]]
    assert [f and v is not None for f, v in zip(found, values[1:], strict=True)] == right
    assert table.n == len(set(listed))


def test_many_texts_are_found_exactly():
    listed = [f"https://example.org/{i}" for i in range(0, 60_000, 3)]
    table = TextSet(pa.array(listed, pa.large_string()))
    asked = pa.chunked_array([[f"https://example.org/{i}" for i in range(60_000)]])
    assert table.contains(asked).nonzero()[0].tolist() == list(range(0, 60_000, 3))
    assert IntegerSet(*[pa.array([], t).to_numpy() for t in (pa.int64(), pa.uint64())]).n == 0


@both
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_rows_are_those_of_an_inline_list(write, in_folder, ends, mark):
    urls = ["a", "é b", "", None, "a", "c,d", "x\u2028x"]
    hashes = [2**63, 5, None, 2**64 - 1, 0, 1, 2**63 - 1]
    widths = [1, -5, None, 2**31 - 1, 0, 7, 7]
    columns = {"URL": urls, "hash": pa.array(hashes, pa.uint64())}
    path = write("a.parquet", {**columns, "WIDTH": pa.array(widths, pa.int32())})
    text = mark + ends.join(["a", "c,d", "", "é b", "a", "   ", "x\u2028x", "zz"])
    (in_folder / "t.txt").write_bytes(text.encode())
    numbers = ends.join([" 7", "+5", "-5", f"{2**63}", f"{2**64}", "007", "99999999999999999999"])
    (in_folder / "n.txt").write_bytes((mark + numbers + ends).encode())
    inline = {"t.txt": ["a", "c,d", "é b", "x\u2028x", "zz"], "n.txt": [7, 5, -5, 2**63, 2**64]}
    for left, name in (
        ("url", "t.txt"), ("url.lower()", "t.txt"), ("width", "n.txt"), ("hash", "n.txt"),
        ("url.len()", "n.txt"), ("max(width, hash)", "n.txt"), ("abs(width)", "n.txt"),
    ):  # fmt: skip
        for word in ("in", "not in"):
            expected = kept(path, f"{left} {word} {inline[name]!r}")
            assert kept(path, f"{left} {word} file('{name}')") == expected, left
    either = "url in file('t.txt') or width not in file('n.txt')"
    written = either.replace("file('t.txt')", repr(inline["t.txt"]))
    assert kept(path, either) == kept(path, written.replace("file('n.txt')", repr(inline["n.txt"])))


@both
def test_tables_hold_values_exactly(write, in_folder):
    path = write("d/a.parquet", {"URL": [" a", "b", None, ""], "WIDTH": [1, 2, 3, None]})
    one = pa.table({"any": pa.array([" a", None, "", " a"]).dictionary_encode()})
    pq.write_table(one, "one.parquet")
    two = pa.table({"width": pa.array([3, None, 2**63], pa.uint64()), "url": ["b", "x", "y"]})
    pq.write_table(two, "two.parquet")
    (in_folder / "c.csv").write_text('id,url,width\n1,"b",2\n2,,3\n3,"c, d",\n')
    assert kept(path, "url in file('one.parquet')") == ([0, 3], 1)
    assert kept(path, "url in file('two.parquet')") == ([1], 1)
    assert kept(path, "width in file('two.parquet')") == ([2], 1)
    assert kept(path, "url in file('c.csv')") == ([1], 1)
    assert kept(path, "width not in file('c.csv')") == ([0], 1)
    (in_folder / "j.json").write_text('[" a", "", "zz"]')
    (in_folder / "n.json").write_text(f"[3, {2**63}, {2**64}, -1]")
    assert kept(path, "url in file('j.json')") == ([0, 3], 1)
    assert kept(path, "width in file('n.json')") == ([2], 1)


@pytest.mark.parametrize(
    ("name", "content", "expression", "why"),
    [
        ("l.txt", None, "url in file('l.txt')", "cannot be read: No such file or directory"),
        ("l.txt", b"", "url in file('l.txt')", "has no values"),
        ("l.txt", b"\n \n", "url in file('l.txt')", "has no values"),
        ("l.txt", b"a\nb \n", "url in file('l.txt')", "white space at an end of line 2: 'b '"),
        ("l.txt", b"a\nb\rc\n", "url in file('l.txt')", "carriage return within line 2"),
        ("l.txt", b"a\n\0b\n", "url in file('l.txt')", "line 2 has a NUL byte"),
        ("l.txt", b"a\n\xff\n", "url in file('l.txt')", "bytes in line 2 that are not UTF-8"),
        ("l.txt", "a".encode("utf-16"), "url in file('l.txt')", "UTF-16. Save it in UTF-8"),
        ("l.txt", b"\x1f\x8b\x08\0", "url in file('l.txt')", "compressed"),
        ("l.txt", b"1\n2.0\n", "width in file('l.txt')", "'2.0', which is not an integer"),
        ("l.txt", b"0x10\n", "width in file('l.txt')", "'0x10', which is not an integer"),
        ("l.txt", b"1\n", "similarity in file('l.txt')", "is of kind float32"),
        ("l.txt", b"1\n", "flag in file('l.txt')", "is of kind boolean"),
        ("l.txt", b"a\n", "url == file('l.txt')", "Write: url in file('list.txt')"),
        ("l.txt", b"a\n", "url in file(l.txt)", "does not name a file"),
        ("l.txt", b"a\n", "url in file('l.txt', 'm.txt')", "does not name a file"),
        ("l.txt", b"a\n", "'a' in file('l.txt')", "Name a column instead"),
        ("l.csv", b"a\nb\n", "url in file('l.csv')", "does not name the column 'url'"),
        ("l.json", b'{"a": 1}', "url in file('l.json')", "is JSON, but not a list of values"),
        ("l.json", b'["a", 1]', "url in file('l.json')", "not a list of values of kind string"),
        ("l.json", b"[true]", "width in file('l.json')", "not a list of values of kind integer"),
        ("l.json", b"a\nb\n", "url in file('l.json')", "is not JSON"),
        ("l.json", rb'["\ud800"]', "url in file('l.json')", "a value that is not text"),
        ("l.json", b"[]", "url in file('l.json')", "has no values"),
        ("l.jsonl", b'"a"\n', "url in file('l.jsonl')", "Write one value a line, as .txt"),
        ("l.parquet", b"PAR1", "url in file('l.parquet')", "is not Parquet"),
    ],
)
def test_what_is_wrong_with_a_list_is_said(in_folder, name, content, expression, why):
    if content is not None:
        (in_folder / name).write_bytes(content)
    with pytest.raises(PredicateError) as caught:
        parse(expression, KINDS)
    assert why in str(caught.value)


def test_tables_of_other_types_or_names_are_refused(in_folder):
    pq.write_table(pa.table({"a": [1.5], "b": [1]}), "f.parquet")
    with pytest.raises(PredicateError, match="none named 'width'"):
        parse("width in file('f.parquet')", KINDS)
    pq.write_table(pa.table({"a": [1.5]}), "f.parquet")
    with pytest.raises(PredicateError, match="holds double in its column 'a'"):
        parse("width in file('f.parquet')", KINDS)


@both
def test_a_list_that_changed_is_an_error_and_is_never_copied(write, in_folder, monkeypatch):
    path = write("d/a.parquet", {"URL": ["a", "b", None], "WIDTH": [1, 2, 3]})
    (in_folder / "l.txt").write_text("a\n")
    way = {"scan": ld.read_shards(path), "mask": ld.read_shards(path).assign(one=1)}
    filtered = {k: f.laion.where("width > 0 and url in file('l.txt')") for k, f in way.items()}
    (in_folder / "elsewhere").mkdir()
    monkeypatch.chdir(in_folder / "elsewhere")  # where the list is not
    for frame in filtered.values():
        assert frame["row"].compute(scheduler="sync").tolist() == [0]
        funnel = frame.laion.funnel()
        assert funnel["dropped"].tolist() == [0, 1] and funnel["unscored"].tolist() == [0, 1]
        assert frame.laion.excluded().compute(scheduler="sync")["row"].tolist() == [1, 2]
        [entry] = Provenance.of(frame).lists
        assert entry["list"] == str(in_folder / "l.txt") and entry["values"] == 1
    predicate = Provenance.of(filtered["scan"]).as_read[0].where
    assert clauses(predicate, KINDS)[1].lists == predicate.lists
    (in_folder / "l.txt").write_text("b\n")
    for frame in filtered.values():
        with pytest.raises(PredicateError, match="has changed since the filter was created"):
            frame.compute(scheduler="sync")
    (in_folder / "l.txt").unlink()
    for frame in filtered.values():
        with pytest.raises(PredicateError, match="cannot be read"):
            frame.compute(scheduler="sync")


def test_an_export_records_the_list(write, in_folder):
    path = write("d/a.parquet", {"URL": ["a", "b"], "TEXT": ["x", "y"]})
    (in_folder / "l.txt").write_text("a\nsecret\n")
    ld.read_shards(path).laion.where("url in file('l.txt')").laion.export("out")
    recipe = (in_folder / "out/_recipe.json").read_text()
    assert "l.txt" in recipe and '"sha256"' in recipe and "secret" not in recipe


PROCESS = """
import laion_dask as ld
if __name__ == "__main__":
    frame = ld.read_shards("d", where="url in file('l.txt')")
    for scheduler in ("processes", "threads"):
        print(frame["row"].compute(scheduler=scheduler, num_workers=2).tolist())
    import fsspec
    store = fsspec.filesystem("memory")
    store.put("d/a.parquet", "/m/a.parquet")
    stored = ld.read_shards("memory://m/a.parquet", where="url in file('l.txt')")
    print(stored["row"].compute(scheduler="threads").tolist())
"""


def test_other_processes_read_the_list_and_nothing_is_reported_at_exit(write, in_folder):
    write("d/a.parquet", {"URL": ["a", "b"]})
    write("d/b.parquet", {"URL": ["b", "bb", "a"]})
    (in_folder / "l.txt").write_text("a\n")
    (in_folder / "run.py").write_text(PROCESS)
    run = subprocess.run([sys.executable, "run.py"], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("[0, 2]\n" * 2 + "[0]\n", "")
