"""Ways to find terms in captions; each runs in a process of its own on exactly one core.

``python terms_ways.py WAY DATA N_TERMS ROWS OUT`` prints one line of JSON: what it took, imports
apart, and leaves what it found in OUT. ``python terms_ways.py prepare DATA ROWS`` makes the data.
"""

from __future__ import annotations

import json
import os
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

P_PLANTED = 0.3
"""Share of the generated captions that a term of the packaged lists is put into."""

SEED = 0
MOST_RUNS, ENOUGH_S = 7, 1.0
"""A way looks through the captions this often, or until so many seconds are over."""


def prepare(data: str, rows: int) -> dict:
    """Generated captions with terms planted, and two sets of terms; made once, kept in a folder."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from laion_dask.demo.synthetic_rows import BLOCK, draw_block
    from laion_dask.demo.zipf_text import vocabulary

    folder = Path(data)
    path = folder / f"terms-{rows}.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    known = plain_terms()
    few = sorted(rng.choice(known, 60, replace=False).tolist())
    made = [word for word in vocabulary()[1000:] if word not in known]
    many = sorted({*known, *made[: 5000 - len(known)]})
    (folder / "terms-60.json").write_text(json.dumps(few))
    (folder / "terms-5000.json").write_text(json.dumps(many))
    if not path.exists():
        blocks = [
            draw_block(SEED, "laion2B-en", b)["TEXT"].to_pylist() for b in range(-(-rows // BLOCK))
        ]
        captions = [c for block in blocks for c in block][:rows]
        draws = rng.random((rows, 5))
        captions = [planted(c, known, few, d) for c, d in zip(captions, draws, strict=True)]
        pq.write_table(pa.table({"text": pa.array(captions, pa.string())}), path)
    return {"path": str(path), "terms": {"60": len(few), "5000": len(many)}}


def plain_terms() -> list[str]:
    """The terms of the packaged lists that count wherever they stand; ASCII, spaces alone.

    pandas hands patterns to RE2, whose word boundaries know no letters beyond ASCII.
    """
    from laion_dask.aggregations.grouping.terms import terms
    from laion_dask.text import term_lists

    groups = [group for name in term_lists().name for group in terms(name).terms.groups]
    found = {term for _, some in groups for term in some}
    return sorted(t for t in found if re.fullmatch(r"[a-z]+( [a-z]+)*", t))


def planted(caption: str, known: list[str], few: list[str], draw: np.ndarray) -> str:
    """A caption with, now and then, a term in it: in some case, with some sign after it.

    ``draw`` is five numbers in [0, 1).
    """
    if draw[0] >= P_PLANTED:
        return caption
    among = few if draw[0] < P_PLANTED / 2 else known
    term = among[int(draw[1] * len(among))]
    term = (term, term.title(), term.upper())[int(draw[2] * 3)]
    term += ("", "", "", "'s", ",", ".", "s")[int(draw[3] * 7)]
    words = caption.split(" ")
    at = int(draw[4] * (len(words) + 1))
    return " ".join([*words[:at], term, *words[at:]])


def pattern(term: str) -> str:
    """A term at word boundaries; white space between its words is any."""
    return r"\b(?:" + r"\s+".join(map(re.escape, term.split(" "))) + r")\b"


def any_of(terms: list[str]) -> str:
    """All terms as one pattern."""
    return r"\b(?:" + "|".join(r"\s+".join(map(re.escape, t.split(" "))) for t in terms) + r")\b"


def laion_dask_way() -> Callable:
    """``ld.terms(list)``: every term a group of its own; the scan over Arrow's buffers."""
    import pyarrow as pa

    from laion_dask.aggregations import Partition
    from laion_dask.aggregations.grouping.terms import terms

    terms(["warm"]).masks(["warm"])  # numba compiles, or reads what it compiled before

    def prepared(words, table: pa.Table):
        by_word = terms(words)
        by_word.masks(["warm"])

        def run():
            found = by_word.assign(Partition(table))
            return found.rows, found.codes

        return run

    return prepared


def lists_way() -> Callable:
    """All packaged lists together, groups and homographs, whatever the terms that were asked."""
    from laion_dask.aggregations.grouping.terms import terms
    from laion_dask.text import term_lists
    from laion_dask.text.matcher import found

    every = tuple(terms(name).terms for name in term_lists().name)
    terms(["warm"]).masks(["warm"])

    def prepared(words, table):
        found(table["text"][:1], every)
        return lambda: found(table["text"], every)

    return prepared


def polars_loop_way() -> Callable:
    """``str.contains`` term by term."""
    import polars as pl

    def prepared(words, table):
        captions = pl.from_arrow(table)["text"]
        patterns = ["(?i)" + pattern(word) for word in words]

        def run():
            masks = [captions.str.contains(one) for one in patterns]
            return sparse(mask.to_numpy() for mask in masks)

        return run

    return prepared


def polars_alternation_way() -> Callable:
    """``str.contains`` of all terms at once: whether there is any, not which."""
    import polars as pl

    def prepared(words, table):
        captions, one = pl.from_arrow(table)["text"], "(?i)" + any_of(words)
        return lambda: sparse([captions.str.contains(one).to_numpy()])

    return prepared


def re_alternation_way() -> Callable:
    """Python's ``re`` over Python strings, all terms at once: whether there is any, not which."""

    def prepared(words, table):
        captions, search = table["text"].to_pylist(), re.compile(any_of(words), re.I).search
        return lambda: sparse([np.array([search(c) is not None for c in captions])])

    return prepared


def pandas_loop_way() -> Callable:
    """``Series.str.contains(case=False)`` term by term; pandas' default dtype of text."""

    def prepared(words, table):
        captions = table["text"].to_pandas()
        patterns = [pattern(word) for word in words]

        def run():
            masks = [captions.str.contains(one, case=False) for one in patterns]
            return sparse(mask.to_numpy(dtype=bool) for mask in masks)

        return run

    return prepared


def pandas_objects_way() -> Callable:
    """The same over a series of Python strings (``dtype=object``), as before pandas 3."""

    def prepared(words, table):
        captions = table["text"].to_pandas().astype(object)
        patterns = [pattern(word) for word in words]

        def run():
            masks = [captions.str.contains(one, case=False) for one in patterns]
            return sparse(mask.to_numpy(dtype=bool) for mask in masks)

        return run

    return prepared


def sparse(masks) -> tuple[np.ndarray, np.ndarray]:
    """The rows of each mask, and which mask."""
    found = [np.flatnonzero(mask) for mask in masks]
    which = [np.full(len(rows), i, np.int32) for i, rows in enumerate(found)]
    return np.concatenate(found), np.concatenate(which)


WAYS = {
    "laion_dask": laion_dask_way,
    "laion_dask, all lists": lists_way,
    "polars alternation": polars_alternation_way,
    "re alternation": re_alternation_way,
    "polars loop": polars_loop_way,
    "pandas loop": pandas_loop_way,
    "pandas loop, objects": pandas_objects_way,
}


def run(way: str, data: str, words: str, rows: int, out: str) -> dict:
    """CPU seconds of one way, wall seconds until it was ready, its peak memory in bytes."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    start = time.perf_counter()
    prepared = WAYS[way]()
    import pyarrow.parquet as pq

    imported = time.perf_counter()
    table = pq.read_table(data, use_threads=False).slice(0, rows).combine_chunks()
    look = prepared(json.loads(Path(words).read_text()), table)
    took, since = [], time.perf_counter()
    while not took or (len(took) < MOST_RUNS and time.perf_counter() - since < ENOUGH_S):
        begun = time.process_time()
        found, which = look()
        took.append(time.process_time() - begun)
    order = np.lexsort((which, found))
    np.savez(out, rows=found[order], which=which[order])
    return {
        "cpu_s": statistics.median(took),
        "rows": len(table),
        "rate": len(table) / statistics.median(took),
        "import_s": imported - start,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        print(json.dumps(prepare(sys.argv[2], int(sys.argv[3]))))
    else:
        way, data, words, rows, out = sys.argv[1:]
        print(json.dumps(run(way, data, words, int(rows), out)))
