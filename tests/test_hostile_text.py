"""Captions as found on the web: NUL, bidi overrides, ten megabytes, and invalid UTF-8."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from support.frames import both
from support.hostile import ODD

from laion_dask.errors import ShardError
from laion_dask.frame.rows import rows
from laion_dask.frame.where import where
from laion_dask.io.parquet.read_shards import read_shards
from laion_dask.options import set_options

pytestmark = both

HERE = {"scheduler": "sync"}


def invalid(values: list[bytes | None], type_=None) -> pa.Array:
    """Bytes as a string array, unchecked."""
    array = pa.array(values, pa.binary())
    return pa.Array.from_buffers(type_ or pa.string(), len(array), array.buffers())


@pytest.fixture
def broken(write):
    """Two shards; rows 1 and 4 of the second have captions that are not valid UTF-8."""
    texts = [b"fine", b"\xff\xfe bird", None, b"bird", b"caf\xe9", "größe".encode()]
    similarity = pa.array([0.1, 0.2, 0.3, None, 0.5, 0.6], pa.float32())
    urls = [f"u{i}" for i in range(6)]
    write("d/1.parquet", {"URL": ["v"], "TEXT": ["bird"], "similarity": similarity[:1]})
    path = write(
        "d/2.parquet",
        {"URL": urls, "TEXT": invalid(texts), "similarity": similarity},
        row_group_size=2,
    )
    return path.rsplit("/", 1)[0]


def test_odd_captions_come_back_as_they_are(write):
    path = write("a.parquet", {"URL": ODD, "TEXT": ODD}, row_group_size=3)
    frame = read_shards(path)
    assert frame.compute(**HERE)["text"].tolist() == ODD
    for i, text in enumerate(ODD):
        for variant in (frame, frame.assign(one=1)):
            matching = where(variant, f"text == {text!r}").compute(**HERE)
            assert matching["row"].tolist() == [i], text
            matching = where(variant, f"text.contains({text!r})").compute(**HERE)
            assert matching["row"].tolist() == [j for j, other in enumerate(ODD) if text in other]


def test_ten_megabytes_of_text(write):
    long = "bird " * 2_000_000 + "end\x00"
    path = write("a.parquet", {"URL": ["u", "v"], "TEXT": [long, "short"]})
    frame = read_shards(path)
    assert frame.compute(**HERE)["text"].tolist() == [long, "short"]
    for variant in (frame, frame.assign(one=1)):
        for expression in ("text.endswith('end\\x00')", "text.len() > 5000", "text > 'big'"):
            matching = where(variant, expression).compute(**HERE)["row"].tolist()
            assert matching == ([0, 1] if "big" in expression else [0]), expression


def test_bytes_that_are_no_text_are_an_error_that_names_the_row(broken):
    frame = read_shards(broken, max_rows_per_partition=4)
    for variant in (
        frame,
        where(frame, "text.contains('x')"),
        where(frame.assign(n=1), "text == 'x'"),
    ):
        with pytest.raises(ShardError) as caught:
            variant.compute(**HERE)
        for part in ("Row ", " of shard", "2.parquet", "a text that", "invalid_text='reject'"):
            assert part in str(caught.value)
    assert len(frame[["url"]].compute(**HERE)) == 7


def test_bytes_that_are_no_text_can_be_rejected(broken):
    with set_options(invalid_text="reject"):
        frame = read_shards(broken, max_rows_per_partition=4)
    read = frame.compute(**HERE)
    row_ids = list(zip(read["shard"].tolist(), read["row"].tolist(), strict=True))
    assert row_ids == [(0, 0), (1, 0), (1, 2), (1, 3), (1, 5)]
    assert read["text"].astype(object).where(read["text"].notna(), None).tolist() == [
        "bird", "fine", None, "bird", "größe"
    ]  # fmt: skip
    assert read["url"].tolist() == ["v", "u0", "u2", "u3", "u5"]
    assert np.allclose(read["similarity"].fillna(-1), [0.1, 0.1, 0.3, -1, 0.6])
    assert str(rows(frame)) == "7 read = 5 kept + 0 dropped + 0 unscored + 2 rejected"


@pytest.mark.parametrize("columns", [["url"], ["similarity"], ["row"], ["text"], []])
def test_which_rows_are_rejected_does_not_depend_on_the_columns(broken, columns):
    with set_options(invalid_text="reject"):
        frame = read_shards(broken)
    assert len(frame[columns].compute(**HERE)) == len(frame) == 5


@pytest.mark.parametrize(
    ("expression", "kept", "unscored"),
    [
        ("similarity > 0.25", [(1, 2), (1, 5)], 1),
        ("text.contains('bird')", [(0, 0), (1, 3)], 1),
        ("text is None", [(1, 2)], 0),
        ("not (text == 'fine') and similarity > 0", [(0, 0), (1, 5)], 2),
        ("row >= 3", [(1, 3), (1, 5)], 0),
    ],
)
def test_rejected_rows_are_counted_beside_a_filter(broken, expression, kept, unscored):
    with set_options(invalid_text="reject"):
        frame = read_shards(broken, max_rows_per_partition=2)
    for variant in (where(frame, expression), where(frame.assign(n=1), expression)):
        read = variant.compute(**HERE)
        assert list(zip(read["shard"].tolist(), read["row"].tolist(), strict=True)) == kept
        counts = rows(variant)
        assert (counts.read, counts.kept, counts.unscored, counts.rejected) == (
            7, len(kept), unscored, 2
        )  # fmt: skip
        assert counts.dropped == 7 - len(kept) - unscored - 2


@pytest.mark.parametrize("form", ["list", "struct", "dictionary", "large"])
def test_text_inside_other_types(write, form):
    bad = invalid([b"ok", b"\xc3(", b"fine"])
    column = {
        "list": lambda: pa.ListArray.from_arrays([0, 1, 2, 3], bad),
        "struct": lambda: pa.StructArray.from_arrays([bad], ["caption"]),
        "dictionary": bad.dictionary_encode,
        "large": lambda: pa.LargeStringArray.from_buffers(
            3, pa.array([0, 2, 4, 8], pa.int64()).buffers()[1], bad.buffers()[2]
        ),
    }[form]()
    path = write("a.parquet", {"captions": column, "n": [1, 2, 3]})
    with pytest.raises(ShardError, match=r"Row 1 of shard .*a\.parquet has a captions that"):
        read_shards(path).compute(**HERE)
    with set_options(invalid_text="reject"):
        frame = read_shards(path, where="n < 3")
    assert frame.compute(**HERE)["row"].tolist() == [0]
    assert str(rows(frame)) == "3 read = 1 kept + 1 dropped + 0 unscored + 1 rejected"
