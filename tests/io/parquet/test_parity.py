"""The same shards give the same rows and results with pandas and with cuDF.

Skipped, with the reason, where cuDF is not usable.
"""

# ruff: noqa: RUF001
import math
import unicodedata

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.frames import why_no_cudf
from support.heads import FILES, linear_head
from support.hostile import ODD
from support.shards import collection, laion_table, vectors, write_shard

import laion_dask as ld
from laion_dask.backend import frame_to_arrow
from laion_dask.dtypes import column_type
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.where_kernel import passes, undecided
from laion_dask.models import heads
from laion_dask.predicate import parse

pytestmark = pytest.mark.gpu

LETTERS = [chr(i) for i in range(1, 0x1F000) if unicodedata.category(chr(i)) in ("Lu", "Ll", "Lt")]
TEXTS = [*ODD, None, *"AbÉßİı", "ΟΔΟΣ", "ΣΑΣ σας", "ςΣ\0Σ", "\U00010400\U0001e921", *LETTERS]
TEXT_TESTS = [
    *(f"text.lower() == {text.lower()!r}" for text in ("É", "İ", "ß", "\U00010400", "a")),
    *(f"text.lower().contains({text!r})" for text in ("σ", "ς", "i", "\0", "ο", "")),
    *(f"text.{op}({text!r})" for op in ("startswith", "endswith", "contains") for text in ODD),
    *(f"text.len() {op}" for op in ("== 1", "> 3", "in (0, 2, 9)", "< 2.5")),
    *(f"text {op} {text!r}" for op in ("==", "!=", "<", ">=") for text in ("a", "", "\uffff", "𐐀")),
    "text in ('', 'É', '%_\\\\')",
    "text is None or not text.contains('σ')",
]
NUMBERS = {
    "i32": pa.array([-1, 16777217, None, 5, 2**31 - 1, 0], pa.int32()),
    "i64": pa.array([-1, 2**53 + 1, 2**63 - 1, -(2**63), None, 0], pa.int64()),
    "u64": pa.array([2**64 - 1, 2**53, 2**63 - 1, 2**63, 1, None], pa.uint64()),
    "f32": pa.array([0.3, 16777216.0, math.inf, math.nan, None, -0.0], pa.float32()),
    "f64": pa.array([0.3, 2.0**53, -math.inf, 1e308, 1e-308, None], pa.float64()),
    "flag": pa.array([True, False, None, True, False, None]),
}
NUMBER_TESTS = [
    *(f"{a} {op} {b}" for a in NUMBERS for b in NUMBERS for op in ("<", "==", "!=", ">=")
      if a != b and "flag" not in (a, b)),
    *(f"{name} {op}" for name in NUMBERS if name != "flag" for op in (
        "> 0.3", "== 0.3", "<= -1", f"!= {2**53 + 1}", f"< {2**63}", f"> {10**30}", "is None",
        f"in (0.3, 5, {2**63 - 1})", "in (0, -1.5)", f"in ({2**64 - 1}, {2**70})",
    )),
    *(f"{a} {op} {b} {than}" for a in ("i32", "f64", "u64") for b in ("f32", "i64", "-2")
      for op in "+-*/" for than in ("> 0", "<= 1e308", "is None", "in (0.5, -2.0)")),
    "flag", "not flag", "flag == False", "flag != True", "flag in (True,)", "flag is None",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _require_cudf():
    if why_no_cudf():
        pytest.skip(why_no_cudf())


def two(path, **options):
    return [ld.read_shards(path, backend=name, **options) for name in ("pandas", "cudf")]


def lines(frame) -> list[dict]:
    """The rows of a computed frame as dicts, with every kind of null as None."""
    table = frame_to_arrow(frame.reset_index(drop=True))
    return [
        {name: None if value != value else value for name, value in row.items()}
        for row in table.to_pylist()
    ]


def decided(frame, expression: str):
    """The rows that an expression keeps in a computed frame, and the number of undecided rows."""
    column_types = {name: column_type(dtype) for name, dtype in frame.dtypes.items()}
    predicate = parse(expression, column_types)
    kept = frame["row"][passes(frame, predicate)].to_numpy().tolist()
    return kept, int(undecided(frame, predicate).sum())


def same_rows(path, expressions) -> None:
    """Check that expressions keep the same rows with both backends; some also in the scan."""
    scans = [Provenance.of(frame).as_read for frame in two(path)]
    parts = [scan(piece, list(scan.column_types)) for scan, [piece] in scans]
    for expression in expressions:
        one, other = (decided(part, expression) for part in parts)
        assert one == other, expression
    for expression in expressions[::9]:
        kept = [frame.laion.where(expression) for frame in two(path)]
        one, other = ((lines(f[["row"]].compute()), f.laion.rows()) for f in kept)
        assert one == other, expression


def test_text_row_by_row(write):
    same_rows(write("a.parquet", {"text": pa.array(TEXTS)}, row_group_size=50), TEXT_TESTS)


def test_numbers_row_by_row(write):
    same_rows(write("a.parquet", NUMBERS), NUMBER_TESTS)


def test_an_infinity_turns_no_sign(write):
    path = write("a.parquet", {"x": [math.inf, 4.0], "y": [-2.0, -2.0]})
    for frame in two(path):
        kept = frame.assign(one=1).laion.where("x / y < 0").compute()
        assert kept["row"].to_numpy().tolist() == [0, 1]


@pytest.fixture
def folder(tmp_path):
    for i, n in enumerate((40, 0, 333)):
        write_shard(tmp_path / "in" / f"{i}.parquet", laion_table(n, i))
    return str(tmp_path / "in")


@pytest.mark.parametrize("where", [None, "similarity > 0.2 and text.lower().contains('a')"])
def test_rows_summary_distributions_and_export(folder, tmp_path, where):
    frames = two(folder, where=where)
    one, other = (lines(frame.compute()) for frame in frames)
    assert one == other and len(one) > 50
    for frame in [*frames, *(frame[frame["height"] > 500] for frame in frames)]:
        assert frame.laion.rows().read == 373
    one, other = (frame.laion.summary() for frame in frames)
    assert str(one) == str(other) and one.rows == other.rows
    names = ("punsafe", "width", "similarity")
    one, other = (frame.laion.distributions(*names, edges=[0, 0.3, 0.5, 900]) for frame in frames)
    for name in names:
        np.testing.assert_array_equal(one[name].counts, other[name].counts)
        assert one[name].n_unscored == other[name].n_unscored
    outs = [tmp_path / "pandas", tmp_path / "cudf"]
    one, other = (f.laion.export(out) for f, out in zip(frames, outs, strict=True))
    assert one.rows == other.rows
    for key in ("schema", "counts", "renamed", "where"):
        assert one.manifest[key] == other.manifest[key]
    one, other = (lines(ld.read_shards(out, backend="pandas").compute()) for out in outs)
    assert one == other


def near(frames, name: str, atol: float) -> None:
    """Check that a score column agrees within `atol`, in nulls, and in rows kept by a filter."""
    one, other = (frame[["shard", "row", name]].compute() for frame in frames)
    one, other = (frame.set_index(["shard", "row"])[name].to_numpy() for frame in (one, other))
    np.testing.assert_allclose(other, one, atol=atol)
    middle = float(np.nanmedian(one.astype(np.float64))) + 10 * atol
    kept = [frame.laion.where(f"{name} > {middle}").laion.rows() for frame in frames]
    clear = np.nanmin(np.abs(one - middle)) > atol
    assert not clear or kept[0] == kept[1]
    assert kept[0].unscored == kept[1].unscored


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_scores(tmp_path, dtype):
    c = collection(tmp_path, (400, 0, 250), dim=768, dtype=dtype)
    emb = ld.open_embeddings(c.img_emb, model=c.model)
    texts = ld.open_embeddings(c.text_emb, model=c.model)
    query, head = vectors(1, 768, seed=9)[0], linear_head(tmp_path, c.model)
    frames = [
        f.laion.similarity(emb, query, to="q").laion.similarity(emb, texts, to="clip")
        for f in two(c.metadata)
    ]
    frames = [f.laion.score(emb, head) for f in frames]
    for name in ("q", "clip", "plain"):
        near(frames, name, 1e-5)
    one, other = (f.laion.search(emb, vectors(20, 768, seed=8), 30) for f in frames)
    for name in ("query", "rank", "shard", "row", "hash"):
        assert one[name].to_numpy().tolist() == other[name].to_numpy().tolist()
    assert one.attrs == other.attrs


@pytest.mark.parametrize(("precision", "atol"), [("float32", 1e-5), ("bfloat16", 2e-3)])
def test_safety_scores(shared, tmp_path, precision, atol):
    file, answers = FILES["ViT-L-14"]
    head = heads.nsfw("ViT-L-14", weights=shared / "weights" / file, precision=precision)
    with np.load(shared / "reference" / answers, allow_pickle=False) as known:
        x = known["embedding_f32"]
    write_shard(tmp_path / "in" / "0.parquet", laion_table(len(x)))
    (tmp_path / "emb").mkdir()
    np.save(tmp_path / "emb" / "0.npy", x)
    frames = two(tmp_path / "in")
    emb = ld.open_embeddings(tmp_path / "emb" / "0.npy", model="ViT-L-14")
    near([frame.laion.score(emb, head) for frame in frames], head.name, atol)


def test_captions_have_the_same_probabilities(write):
    path = write("a.parquet", {"text": pa.array(TEXTS), "url": ["u"] * len(TEXTS)})
    near([frame.laion.score_captions(ld.heads.toxicity()) for frame in two(path)], "profanity", 0)


def test_shards_that_pandas_wrote_and_text_that_is_not_there(tmp_path):
    n = 9
    table = pd.DataFrame({"url": [f"u{i}" for i in range(n)], "width": range(n)})
    for i, frame in enumerate((table, table.iloc[::2], table.set_index("url"))):
        frame = frame.assign(text=[None, "", "a"][i], note="")
        frame.to_parquet(tmp_path / f"{i}.parquet", row_group_size=2)
    for options in ({}, {"where": "width > 3"}, {"columns": ["text", "note"]}):
        one, other = (lines(f.compute()) for f in two(tmp_path, **options))
        assert one == other and len(one) > 5
