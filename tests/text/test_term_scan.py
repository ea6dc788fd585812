"""Scanning captions for terms: any layout, any bytes, character references, many threads."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from support.term_reference import expected

from laion_dask.aggregations.grouping.terms import terms
from laion_dask.errors import OptionError
from laion_dask.text import matcher_compiled, term_lists
from laion_dask.text.matcher import mentions
from laion_dask.text.matcher_tables import _tables as tables


def test_long_captions_however_their_words_lie_in_blocks():
    draw = np.random.default_rng(3)
    listed = ["she", "trans man", "man", "a-b", "\u00e9 e", "x" * 40, "man she man", "old"]
    groups = {term: [term] for term in listed}
    pieces = np.array([*listed, "y" * 61, "\u00e9" * 33, "trans", "b", "-", "\u4e2d", "e", "x", ""])
    joins = np.array([" ", " ", " ", "  ", "-", ", ", "\u00a0"])
    captions = [
        "".join(np.ravel(list(zip(draw.choice(pieces, n), draw.choice(joins, n), strict=True))))
        for n in draw.integers(0, 40, 300)
    ]
    masks = terms(groups).masks(captions)
    np.testing.assert_array_equal(masks, expected(captions, groups))
    assert (masks.mean(axis=0) > 0.02).all()


REFERENCES = {
    "she": (
        "she&nbsp;left",
        "s&zwj;he",
        "&bogus; she",
        "&#1234567890123456789012345678901; she",
        "&#xD800; she",
        "&; &#; &#x; she",
        "&" * 50 + "she&",
        "&notit; she",
        "&copyshe",
        "&#115;he",
    ),
    "caf\u00e9": (
        "caf&eacute;",
        "caf&#233;",
        "CAF&Eacute;",
        "caf&#xE9;",
        "caf&#XE9;",
        "cafe&#x301;",
    ),
    "man's": ("a man&rsquo;s hat", "man&#39;s", "man&apos;s", "man&amp;#39;s", "man&amp;rsquo;s"),
    "r&d": ("R&amp;D", "R&amp;amp;D", "R&D", "r&#38;D"),
    "x < y": ("x &lt; y", "x&nbsp;&lt;&#32;y"),
    "amp": ("R&amp;amp;amp;D",),  # encoded three times
    "woman": ("wo&shyman", "wo&shy;man", "wo&#173man", "wo&#xADman"),
}


def test_character_references_are_decoded_before_words_are_sought():
    which = terms(list(REFERENCES))
    pairs = [(term, caption) for term, captions in REFERENCES.items() for caption in captions]
    masks = which.masks([caption for _, caption in pairs])
    for (term, caption), row in zip(pairs, masks, strict=True):
        assert np.flatnonzero(row).tolist() == [which.labels.index(term)], caption
    assert not which.masks(
        [None, "&shy;", "&", "&;", "sh&copy;e", "sh&copye", "wo&SHY;men", "\u00ad"]
    ).any()


def test_captions_with_and_without_references_side_by_side():
    listed = {"woman": ["she", "woman"], "man": ["he", "man"]}
    plain = ["she", None, "a man", "", "he, a woman", "nobody", None, "man and woman"] * 40
    encoded = [c and c.replace("a", "&#97;") if k % 3 else c for k, c in enumerate(plain)]
    for layout, column in layouts(encoded).items():
        np.testing.assert_array_equal(terms(listed).masks(column), expected(plain, listed), layout)
    hidden = pa.array(["wo&shy;man"] * 3, pa.string())
    hidden = pa.Array.from_buffers(hidden.type, 3, [pa.py_buffer(b"\x05"), *hidden.buffers()[1:]])
    assert terms(["woman"]).masks(hidden)[:, 0].tolist() == [
        True,
        False,
        True,
    ]  # bytes under a null
    broken = pa.array([b"\xff&shy;she", b"s&shy;he\xff", b"\xffs&shy;he \xe9"], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 3, broken.buffers())
    assert terms(["she"]).masks(broken).all()


def layouts(captions: list) -> dict[str, pa.ChunkedArray]:
    plain = pa.array(captions, pa.string())
    return {
        "string": pa.chunked_array([plain]),
        "large_string": pa.chunked_array([plain.cast(pa.large_string())]),
        "string_view": pa.chunked_array([plain.cast(pa.string_view())]),
        "dictionary": pa.chunked_array([plain.dictionary_encode()]),
        "sliced": pa.chunked_array([pa.array(["she", None, *captions, "he"])[2:-1]]),
        "chunked": pa.chunked_array(
            [plain[:3], plain[3:3], plain[3:4], plain[4:].cast(pa.string())], pa.string()
        ),
        "sliced chunks": pa.chunked_array([plain[i : i + 1] for i in range(len(plain))]),
    }


CAPTIONS = ["she", None, "he and her", "", "x", "É she", "long " * 30_000 + "he", None, "her"]


@pytest.mark.parametrize("layout", layouts(CAPTIONS))
def test_any_layout_of_text(layout):
    which = terms({"woman": ["she", "her"], "man": ["he"]})
    rows, groups = mentions(layouts(CAPTIONS)[layout], (which.terms,))
    pairs = [(0, 0), (2, 1), (2, 0), (5, 0), (6, 1), (8, 0)]
    assert list(zip(rows.tolist(), groups.tolist(), strict=True)) == pairs
    assert rows.dtype == np.int64 and groups.dtype == np.int32


def test_nothing_to_look_through():
    which = terms(["she"])
    for empty in (
        pa.chunked_array([], pa.string()),
        pa.chunked_array([pa.array([], pa.large_string())]),
        pa.chunked_array([pa.nulls(5, pa.string())]),
        pa.chunked_array([pa.nulls(5)]),
        pa.chunked_array([pa.array(["", ""])]),
    ):
        rows, groups = mentions(empty, (which.terms,))
        assert len(rows) == len(groups) == 0
    assert which.masks([]).shape == (0, 1)
    with pytest.raises(OptionError, match="int64"):
        mentions(pa.chunked_array([[1, 2]]), (which.terms,))


def test_more_mentions_than_there_was_room_for():
    words = [f"w{i}" for i in range(30)]
    captions = [" ".join(words[: i % 31]) for i in range(5000)]
    masks = terms(words).masks(captions)
    assert masks.sum(axis=1).tolist() == [i % 31 for i in range(5000)]


def test_bytes_that_are_no_text_break_nothing():
    raw = [
        b"she \xff he",
        b"\xc3",
        b"\xe4\xb8 she",
        b"\xf4\x90\x80\x80she",
        b"\xed\xa0\x80 he",
        b"\xc0\xaf",
    ]
    offsets = np.cumsum([0, *map(len, raw)]).astype(np.int32)
    broken = pa.Array.from_buffers(
        pa.string(), len(raw), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(raw))]
    )
    rows, groups = mentions(pa.chunked_array([broken]), (terms({"w": ["she"], "m": ["he"]}).terms,))
    pairs = list(zip(rows.tolist(), groups.tolist(), strict=True))
    assert pairs == [(0, 0), (0, 1), (2, 0), (3, 0), (4, 1)]


def test_words_that_hash_alike_are_told_apart():
    # The hash covers the first and last eight bytes and the length.
    words = [f"abcdefgh{i:04d}stuvwxyz" for i in range(200)]
    which = terms(words[:100])
    masks = which.masks(words)
    assert masks[:100].tolist() == np.eye(100, dtype=bool).tolist()
    assert not masks[100:].any()


def test_many_threads_find_the_same():
    captions = [f"{word} and {other}" for word in ("she", "he", "x") for other in ("men", "y")] * 99
    every = [terms(name) for name in term_lists().name] + [
        terms([f"t{i}", "she"]) for i in range(8)
    ]
    alone = [which.masks(captions) for which in every]
    tables.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        for one, other in zip(
            alone, pool.map(lambda which: which.masks(captions), every), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_without_a_folder_for_what_was_compiled(monkeypatch):
    import numba

    real, kept = numba.njit, dict(matcher_compiled._ready)

    def njit(**options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(numba, "njit", njit)
    monkeypatch.setattr(matcher_compiled, "_ready", {"scan": kept.get("scan")} if kept else {})
    which = terms(["nowhere else in these tests"])
    with pytest.warns(RuntimeWarning, match=r"NUMBA_CACHE_DIR"):
        assert which.masks(["Nowhere else in these tests!"]).all()
    assert "fill" in matcher_compiled._ready


def test_importing_the_package_does_not_import_numba():
    code = "import sys, laion_dask, laion_dask.text; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


RUNS = """
from laion_dask.aggregations.grouping.terms import terms
which = terms(["woman"])
for size in range(60, 70):
    run = "woman\N{EM DASH}".encode() + b"y" * (size - 8)
    captions = [before + run.decode() for before in ("", "x ", "hello there, ", "y" * 63 + " ")]
    assert which.masks(captions).all(), size
"""


@pytest.mark.slow
def test_a_run_of_64_bytes_at_the_end_on_any_processor():
    """A shift by 64 bits is undefined: processors with and without BMI2 give different results."""
    exec(RUNS, {})
    generic = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    subprocess.run([sys.executable, "-c", RUNS], env={**os.environ, **generic}, check=True)
