"""Dialects: each published data set is recognized by its columns and types, and renamed."""

from __future__ import annotations

import math

import pandas as pd
import pyarrow as pa
import pytest
from support.frames import both

from laion_dask.dialects import DIALECTS, recognize
from laion_dask.errors import ColumnError, DiscoveryWarning, OptionError, SchemaError
from laion_dask.io.parquet.read_shards import read_shards
from laion_dask.schema import CANONICAL

pytestmark = both

S, F, D, I, L = pa.string(), pa.float32(), pa.float64(), pa.int32(), pa.int64()  # noqa: E741
TEXTS, BOXES = pa.list_(S), pa.list_(pa.list_(D))

#: Dialect, the columns of a file, and the new names of those that are renamed.
PUBLISHED = {
    "laion-400m": (
        "laion-400m",
        {"SAMPLE_ID": L, "URL": S, "TEXT": S, "HEIGHT": I, "WIDTH": I, "LICENSE": S, "NSFW": S,
         "similarity": D},
        {"URL": "url", "TEXT": "text", "HEIGHT": "height", "WIDTH": "width"},
    ),
    "laion-400m with double ids": (
        "laion-400m",
        {"SAMPLE_ID": D, "URL": S, "TEXT": S, "HEIGHT": D, "WIDTH": D, "LICENSE": S, "NSFW": S,
         "similarity": D},
        {"URL": "url", "TEXT": "text", "HEIGHT": "height", "WIDTH": "width"},
    ),
    "laion-5b": (
        "laion-5b",
        {"URL": S, "TEXT": S, "WIDTH": I, "HEIGHT": I, "similarity": D},
        {"URL": "url", "TEXT": "text", "WIDTH": "width", "HEIGHT": "height"},
    ),
    "laion-5b joined": (
        "laion-5b",
        {"URL": S, "TEXT": S, "WIDTH": D, "HEIGHT": D, "similarity": D, "LANGUAGE": S, "hash": L,
         "punsafe": F, "pwatermark": F},
        {"URL": "url", "TEXT": "text", "WIDTH": "width", "HEIGHT": "height",
         "LANGUAGE": "language"},
    ),
    "re-laion": (
        "re-laion",
        {"url": S, "text": S, "width": I, "height": I, "similarity": D, "hash": L, "punsafe": F,
         "pwatermark": F, "key": S, "status": S},
        {},
    ),
    "laion-art": (
        "laion-aesthetics",
        {"URL": S, "TEXT": S, "WIDTH": I, "HEIGHT": I, "similarity": D, "LANGUAGE": S, "hash": L,
         "pwatermark": F, "punsafe": F, "aesthetic": F},
        {"URL": "url", "TEXT": "text", "WIDTH": "width", "HEIGHT": "height",
         "LANGUAGE": "language"},
    ),
    "laion-aesthetics v2": (
        "laion-aesthetics",
        {"URL": S, "TEXT": S, "WIDTH": D, "HEIGHT": D, "similarity": D, "hash": L, "punsafe": F,
         "pwatermark": F, "AESTHETIC_SCORE": F},
        {"URL": "url", "TEXT": "text", "WIDTH": "width", "HEIGHT": "height",
         "AESTHETIC_SCORE": "aesthetic"},
    ),
    "laion-pop": (
        "laion-pop",
        {"url": S, "alt_txt": S, "cogvlm_caption": S, "llava_caption": S, "hash": L},
        {"alt_txt": "text"},
    ),
    "coyo through img2dataset": (
        "img2dataset",
        {"url": S, "caption": S, "key": S, "status": S, "error_message": S, "image_phash": S,
         "clip_similarity_vitb32": F, "watermark_score": F, "aesthetic_score_laion_v2": F},
        {"caption": "text", "clip_similarity_vitb32": "similarity",
         "watermark_score": "pwatermark", "aesthetic_score_laion_v2": "aesthetic"},
    ),
    "datacomp through img2dataset": (
        "img2dataset",
        {"url": S, "caption": S, "key": S, "status": S, "error_message": S, "uid": S,
         "clip_b32_similarity_score": F, "original_width": I},
        {"caption": "text", "clip_b32_similarity_score": "similarity"},
    ),
    "aesthetics through clip-retrieval": (
        "clip-retrieval",
        {"image_path": S, "caption": S, "LANGUAGE": S, "AESTHETIC_SCORE": F, "alt_txt": S},
        {"caption": "text", "LANGUAGE": "language", "AESTHETIC_SCORE": "aesthetic"},
    ),
    "laion-coco": (
        "laion-coco",
        {"URL": S, "TEXT": S, "top_caption": S, "all_captions": TEXTS,
         "WIDTH": I, "HEIGHT": I, "similarity": D, "hash": L, "pwatermark": F, "punsafe": F,
         "all_similarities": pa.list_(D)},
        {"URL": "url", "TEXT": "text", "WIDTH": "width", "HEIGHT": "height"},
    ),
    "datacomp": (
        "datacomp",
        {"uid": S, "url": S, "text": S, "original_width": L, "original_height": L,
         "clip_b32_similarity_score": F, "clip_l14_similarity_score": F, "face_bboxes": BOXES,
         "sha256": S},
        {"original_width": "width", "original_height": "height",
         "clip_b32_similarity_score": "similarity"},
    ),
    "coyo-700m": (
        "coyo-700m",
        {"id": L, "url": S, "text": S, "width": I, "height": I, "image_phash": S, "text_length": I,
         "word_count": I, "num_tokens_bert": I, "num_tokens_gpt": I, "num_faces": I,
         "clip_similarity_vitb32": F, "clip_similarity_vitl14": F, "nsfw_score_opennsfw2": F,
         "nsfw_score_gantman": F, "watermark_score": F, "aesthetic_score_laion_v2": F},
        {"clip_similarity_vitb32": "similarity", "watermark_score": "pwatermark",
         "aesthetic_score_laion_v2": "aesthetic"},
    ),
    "img2dataset": (
        "img2dataset",
        {"url": S, "caption": S, "key": S, "status": S, "error_message": S, "width": L, "height": L,
         "original_width": L, "original_height": L, "exif": S, "sha256": S},
        {"caption": "text"},
    ),
    "clip-retrieval with addresses": (
        "clip-retrieval",
        {"image_path": S, "caption": S, "url": S},
        {"caption": "text"},
    ),
    "addresses and captions of anyone": (
        "url-caption",
        {"url": S, "caption": S, "similarity": D},
        {"caption": "text"},
    ),
    "clip-retrieval with files": (
        "clip-retrieval",
        {"image_path": S, "caption": S},
        {"caption": "text"},
    ),
    "url-text": (
        "url-text",
        {"URL": S, "TEXT": S, "__index_level_0__": L},
        {"URL": "url", "TEXT": "text"},
    ),
    "none": ("plain", {"text": S, "likes": L, "score": D}, {}),
}  # fmt: skip


def value(type_: pa.DataType, row: int):
    if type_ == S:
        return f"value {row}"
    if type_ == TEXTS:
        return ["a", None, f"b{row}"]
    if type_ == BOXES:
        return [[0.25, 0.5], []]
    if pa.types.is_list(type_):
        return [0.5, row + 0.25]
    return row + 2 if pa.types.is_integer(type_) or type_ == D else row + 0.5


def filled(columns: dict) -> pa.Table:
    return pa.table(
        {name: pa.array([value(t, i) for i in range(3)] + [None], t) for name, t in columns.items()}
    )


def plain(cell):
    """A cell as a Python value; every null as None."""
    cell = cell.tolist() if hasattr(cell, "tolist") else cell
    if isinstance(cell, list):
        return [plain(c) for c in cell]
    return None if cell is None or cell is pd.NA or cell != cell else cell


@pytest.mark.parametrize("published", PUBLISHED)
@pytest.mark.parametrize("by_name", [False, True], ids=["auto", "by name"])
def test_published_columns(write, published, by_name):
    dialect, columns, renamed = PUBLISHED[published]
    assert recognize(columns).name == dialect
    table = filled(columns)
    path = write("a.parquet", table)
    frame = read_shards(path, dialect=dialect if by_name else "auto").compute(scheduler="sync")
    for name in columns:
        actual = [plain(cell) for cell in frame[renamed.get(name, name)]]
        assert actual == table[name].to_pylist(), name
    expected = {renamed.get(n, n) for n in columns} | {"shard", "row"}
    assert set(frame.columns) == expected
    canonical = [n for n in CANONICAL if n in expected]
    assert frame.columns[: len(canonical)].tolist() == canonical
    assert frame.columns[-2:].tolist() == ["shard", "row"]


@pytest.mark.only_pandas
@pytest.mark.parametrize("published", PUBLISHED)
def test_dtypes_are_the_canonical_ones(write, published):
    _, columns, renamed = PUBLISHED[published]
    frame = read_shards(write("a.parquet", filled(columns)))
    dtypes = {name: str(dtype) for name, dtype in frame.dtypes.items()}
    computed = frame.compute(scheduler="sync")
    assert {n: str(d) for n, d in computed.dtypes.items()} == dtypes
    stored = {renamed.get(name, name): type_ for name, type_ in columns.items()}
    for name, type_ in stored.items():
        kind = CANONICAL[name].kind if name in CANONICAL else None
        if kind == "int32":
            assert dtypes[name] == "Int32"
        if kind == "int64" or (kind is None and type_ == L):
            assert dtypes[name] == "Int64"
        if type_ == S:
            assert dtypes[name] == "str"
        if type_ in (F, D) and kind != "int32":
            assert dtypes[name] == ("float32" if type_ == F else "float64")
    assert dtypes["shard"] == "int32" and dtypes["row"] == "int64"


def test_width_int32_in_some_shards_and_double_in_others(write):
    base = {"URL": ["u", "v"], "TEXT": ["a", "b"], "similarity": [0.1, 0.2]}
    write("d/1.parquet", {**base, "WIDTH": pa.array([640, None], I), "HEIGHT": pa.array([1, 2], I)})
    write(
        "d/2.parquet",
        {**base, "WIDTH": pa.array([800.0, math.nan], D), "HEIGHT": pa.array([None, 4.0], D)},
    )
    path = str(write("d/3.parquet", {**base, "WIDTH": [7, 8], "HEIGHT": [9, 10]}))
    frame = read_shards(path.rsplit("/", 1)[0])
    assert str(frame.dtypes["width"]) == "Int32"
    read = frame.compute(scheduler="sync")
    assert [plain(c) for c in read["width"]] == [640, None, 800, None, 7, 8]
    assert [plain(c) for c in read["height"]] == [1, 2, None, 4, 9, 10]
    for expression, right in {
        "width >= 640": [(0, 0), (1, 0)],
        "width is None": [(0, 1), (1, 1)],
        "not (width < 9)": [(0, 0), (1, 0)],
        "width in (800, 7)": [(1, 0), (2, 0)],
        "height != 4": [(0, 0), (0, 1), (2, 0), (2, 1)],
    }.items():
        actual = frame.laion.where(expression).compute(scheduler="sync")
        assert list(zip(actual["shard"], actual["row"], strict=True)) == right, expression


def test_swap_width_and_height(write):
    path = write(
        "a.parquet",
        {"URL": ["u"], "TEXT": ["t"], "WIDTH": [1], "HEIGHT": [2], "similarity": [0.5]},
    )
    read = read_shards(path).compute(scheduler="sync")
    assert read.loc[0, ["width", "height"]].tolist() == [1, 2]
    for where in (None, "width == 2 and height == 1"):
        swapped = read_shards(path, swap_width_height=True, where=where).compute(scheduler="sync")
        assert swapped.loc[0, ["width", "height"]].tolist() == [2, 1]
    assert len(read_shards(path, swap_width_height=True, where="width == 1")) == 0
    lower = write("b.parquet", {"url": ["u"], "text": ["t"], "width": [1], "height": [2]})
    swapped = read_shards(lower, swap_width_height=True, where="width == 2")
    assert swapped.compute(scheduler="sync").loc[0, ["width", "height"]].tolist() == [2, 1]


@pytest.mark.only_pandas
def test_a_wrong_dialect(write):
    path = write("a.parquet", {"URL": ["u"], "TEXT": ["t"]})
    with pytest.raises(OptionError, match="Did you mean 'laion-5b'"):
        read_shards(path, dialect="laion5b")
    with pytest.raises(SchemaError, match=r"no column similarity.*here: 'url-text'"):
        read_shards(path, dialect="laion-5b")
    with pytest.raises(SchemaError, match="no column clip_b32_similarity_score, text, uid, url"):
        read_shards(path, dialect="datacomp")


@pytest.mark.only_pandas
def test_two_columns_that_would_be_one(write):
    path = write("a.parquet", {"url": ["u"], "caption": ["c"], "text": ["t"]})
    with pytest.raises(SchemaError, match="Columns 'caption' and 'text' would both be read as"):
        read_shards(path)
    same = write("b.parquet", {"url": ["u"], "URL": ["v"], "TEXT": ["t"]})
    with pytest.raises(SchemaError, match="'url' and 'URL' differ only in case"):
        read_shards(same)
    assert read_shards(same, columns=["text"]).compute()["text"].tolist() == ["t"]
    read = read_shards(same, rename={"URL": "address"}).compute()
    assert read[["url", "address"]].to_numpy().tolist() == [["u", "v"]]
    read = read_shards(same, rename={"url": "address"}).compute()
    assert read[["url", "address"]].to_numpy().tolist() == [["v", "u"]]
    mixed = write("e.parquet", {"url": ["u"], "LANGUAGE": ["en"], "language": ["de"]})
    for file, name, value in (
        (same, "url", "u"),
        (same, "URL", "v"),
        (mixed, "language", "de"),
        (mixed, "LANGUAGE", "en"),
    ):
        said = rf"columns=\['{name}'\] reads '{name}'"
        with pytest.raises(SchemaError, match=said):
            read_shards(file)
        read = read_shards(file, columns=[name], where=f"{name} == '{value}'").compute()
        assert read[name].tolist() == [value]
    capitals = write("f.parquet", {"URL": ["w"], "TEXT": ["t"]})
    assert read_shards([same, capitals], columns=["url"]).compute()["url"].tolist() == ["u", "w"]
    with pytest.raises(
        ColumnError, match=r"'URL', which is read under another name in .*f\.parquet"
    ):
        read_shards([same, capitals], columns=["URL"])
    read = read_shards([same, capitals], columns=["other"], rename={"URL": "other"}).compute()
    assert read["other"].tolist() == ["v", "w"]
    own = write("c.parquet", {"url": ["u"], "Score": [1.0], "score": [2.0]})
    with pytest.raises(SchemaError, match=r"'Score' and 'score' differ only in case.*columns="):
        read_shards(own)
    two = write("d.parquet", {"URL": ["u"], "Url": ["v"], "TEXT": ["t"]})
    said = r"columns=\['url'\] reads 'URL', columns=\['Url'\] reads 'Url'"
    with pytest.raises(SchemaError, match=said):
        read_shards(two)
    with pytest.raises(ColumnError, match=r"'URL', which is read as 'url'.*columns=\['url'\]"):
        read_shards(two, columns=["URL"])
    with pytest.raises(ColumnError, match=r"columns has 'uRl'\. Did you mean 'url'"):
        read_shards(two, columns=["uRl"])
    for name, value in (("url", "u"), ("Url", "v")):
        assert read_shards(two, columns=[name]).compute()[name].tolist() == [value]
    for name, value in (("Score", 1.0), ("score", 2.0)):
        read = read_shards(own, columns=["url", name], where=f"{name} > 0").compute()
        assert read[name].tolist() == [value]


@pytest.mark.only_pandas
def test_columns_renamed(write, tmp_path):
    path = write("d/a.parquet", {"link": ["u"], "alt": ["t"], "nsfw_score": [0.5]})
    names = {"link": "url", "alt": "text", "nsfw_score": "punsafe"}
    frame = read_shards(path, rename=names, where="punsafe == 0.5")
    assert frame.columns.tolist() == ["url", "text", "punsafe", "shard", "row"]
    assert frame.laion.export(tmp_path / "out").manifest["renamed"] == names
    for wrong, error, match in (
        ({"lnk": "url"}, ColumnError, "Did you mean 'link'"),
        ({"link": "row"}, OptionError, "other than shard and row"),
        ({"link": ""}, OptionError, "Expected a name"),
        ({"link": 5}, OptionError, "new name"),
        (["link"], OptionError, "a mapping"),
        ({"link": "alt"}, SchemaError, "'link' and 'alt' would both be read as 'alt'"),
    ):
        with pytest.raises(error, match=match):
            read_shards(path, rename=wrong)


@pytest.mark.only_pandas
def test_a_tools_output_beside_its_input_is_warned_of(write, tmp_path):
    write("d/0.parquet", {"URL": ["u", "v"], "TEXT": ["t", "t"], "similarity": [0.5, 0.5]})
    status = {"key": ["0"], "status": ["success"], "error_message": pa.nulls(1, pa.string())}
    write("d/1.parquet", {"url": ["u"], "caption": ["t"], **status})
    with pytest.warns(DiscoveryWarning, match="Rows may count twice: img2dataset") as caught:
        assert len(read_shards(tmp_path / "d")) == 3
    assert len(caught) == 1 and caught[0].filename == __file__
    write("d/2.parquet", {"url": ["w"], "text": ["t"], "similarity": [0.1], "hash": [1]})
    assert len(read_shards([tmp_path / "d/0.parquet", tmp_path / "d/2.parquet"])) == 3


def test_provenance_of_an_earlier_export_is_kept_under_another_name(write):
    path = write("a.parquet", {"text": ["t", "u"], "shard": [7, 7], "row": [5, 9]})
    read = read_shards(path).compute(scheduler="sync")
    assert read["source_shard"].tolist() == [7, 7] and read["source_row"].tolist() == [5, 9]
    assert read["shard"].tolist() == [0, 0] and read["row"].tolist() == [0, 1]


@pytest.mark.only_pandas
def test_every_dialect_is_tested():
    assert {d.name for d in DIALECTS} == {dialect for dialect, _, _ in PUBLISHED.values()}
