"""Ways to find terms in captions; each runs in its own process on exactly one core.

``python terms_ways.py WAY DATA TERMS ROWS OUT`` writes the matches to OUT and prints one line of
JSON: time and memory, with imports timed separately.
"""

from __future__ import annotations

import json
import os
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

MOST_RUNS, ENOUGH_S = 7, 1.0
"""A contender scans the captions this often, or until this many seconds have passed."""


def pattern(term: str) -> str:
    """A pattern for a term at word boundaries, with any white space between its words."""
    return r"\b(?:" + r"\s+".join(map(re.escape, term.split(" "))) + r")\b"


def any_of(terms: list[str]) -> str:
    """One pattern for all terms."""
    return r"\b(?:" + "|".join(r"\s+".join(map(re.escape, t.split(" "))) for t in terms) + r")\b"


def laion_dask_way() -> Callable:
    """``ld.terms(list)``: a scan over Arrow buffers, with each term as its own group."""
    import pyarrow as pa

    from laion_dask.aggregations import Partition
    from laion_dask.aggregations.grouping.terms import terms

    terms(["warm"]).masks(["warm"])  # numba compiles, or loads its cache

    def prepared(words, table: pa.Table):
        by_word = terms(words)
        by_word.masks(["warm"])

        def run():
            matches = by_word.assign(Partition(table))
            return matches.rows, matches.codes

        return run

    return prepared


def without_ir_way() -> Callable:
    """The same, with 64-byte masks in plain numba, eight bytes at a time, instead of LLVM IR."""
    os.environ["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / "terms-without-ir")
    from numba import njit

    from laion_dask.text import byte_masks

    tops, lows = np.uint64(0x8080808080808080), np.uint64(0x7F7F7F7F7F7F7F7F)
    ones, seven, eight = np.uint64(0x0101010101010101), np.uint64(7), np.uint64(8)
    gather, last = np.uint64(0x0102040810204080), np.uint64(56)
    load = byte_masks.load_eight

    @njit(nogil=True)
    def non_ascii_mask(data, at):
        mask = np.uint64(0)
        for i in range(8):
            v = load(data, at + 8 * i) & tops
            mask |= ((v >> seven) * gather >> last) << (eight * np.uint64(i))
        return mask

    @njit(nogil=True)
    def word_byte_mask(data, at):
        mask = np.uint64(0)
        for i in range(8):
            v = load(data, at + 8 * i)
            low = v & lows
            lower = low | ones * np.uint64(0x20)
            is_word = (lower + ones * np.uint64(31)) & ~(lower + ones * np.uint64(5))
            is_word |= (low + ones * np.uint64(80)) & ~(low + ones * np.uint64(70))
            is_word |= ~((low ^ ones * np.uint64(0x5F)) + lows) | v
            mask |= (((is_word & tops) >> seven) * gather >> last) << (eight * np.uint64(i))
        return mask

    byte_masks.non_ascii_mask, byte_masks.word_byte_mask = non_ascii_mask, word_byte_mask
    return laion_dask_way()


def lists_way() -> Callable:
    """All packaged lists in one scan, with groups and homographs; ignores the given terms."""
    from laion_dask.aggregations.grouping.terms import terms
    from laion_dask.text import term_lists
    from laion_dask.text.matcher import mentions

    every = tuple(terms(name).terms for name in term_lists().name)
    terms(["warm"]).masks(["warm"])

    def prepared(words, table):
        mentions(table["text"][:1], every)
        return lambda: mentions(table["text"], every)

    return prepared


def joined(table) -> tuple[memoryview, np.ndarray]:
    """All captions in one buffer, each followed by a NUL, and the position of each end."""
    import pyarrow as pa
    import pyarrow.compute as pc

    captions = table["text"].combine_chunks().cast(pa.binary())
    ends = np.cumsum(pc.binary_length(captions).to_numpy() + 1) - 1
    whole = pa.ListArray.from_arrays(pa.array([0, len(captions)], pa.int32()), captions)
    return memoryview(pc.binary_join(whole, b"\0")[0].as_buffer()), ends


def hyperscan_way() -> Callable:
    """One scan of all captions, joined; calls a Python function for each match.

    ASCII only: Hyperscan does not support ``\\b`` beyond ASCII, and rejects invalid UTF-8.
    """
    import hyperscan

    def prepared(words, table):
        patterns = [pattern(word).encode() for word in words]
        database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        database.compile(
            expressions=patterns, ids=list(range(len(words))), elements=len(words),
            flags=hyperscan.HS_FLAG_CASELESS,
        )  # fmt: skip

        def run():
            buffer, ends = joined(table)
            matches: list[tuple[int, int]] = []
            add = matches.append

            def on_match(which, start, end, flags, context):
                add((which, end))

            database.scan(buffer, match_event_handler=on_match)
            which, end = np.array(matches, np.int64).reshape(-1, 2).T
            return unique_pairs(np.searchsorted(ends, end), which, len(words))

        return run

    return prepared


def ahocorasick_way() -> Callable:
    """One scan of all captions, joined and lowercased; word boundaries are checked afterwards.

    ASCII only, with exactly one space between the words of a term.
    """
    import ahocorasick_rs

    lower = bytes(range(256)).lower()
    in_word = np.array([b < 128 and (chr(b).isalnum() or b == 95) for b in range(256)])

    def prepared(words, table):
        automaton = ahocorasick_rs.BytesAhoCorasick([word.encode() for word in words])

        def run():
            buffer, ends = joined(table)
            text = b"\0" + bytes(buffer).translate(lower) + b"\0"
            matches = automaton.find_matches_as_indexes(text, overlapping=True)
            which, start, end = np.array(matches, np.int64).reshape(-1, 3).T
            raw = np.frombuffer(text, np.uint8)
            whole = ~(in_word[raw[start - 1]] | in_word[raw[end]])
            return unique_pairs(np.searchsorted(ends, end[whole] - 1), which[whole], len(words))

        return run

    return prepared


def unique_pairs(rows: np.ndarray, which: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct (row, term) pairs, sorted."""
    keys = np.unique(rows * n + which)
    return keys // n, (keys % n).astype(np.int32)


def polars_loop_way() -> Callable:
    """``str.contains``, term by term."""
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
    """One ``str.contains`` for all terms: reports whether a caption mentions any, not which."""
    import polars as pl

    def prepared(words, table):
        captions, one = pl.from_arrow(table)["text"], "(?i)" + any_of(words)
        return lambda: sparse([captions.str.contains(one).to_numpy()])

    return prepared


def re_alternation_way() -> Callable:
    """One ``re`` pattern for all terms, over Python strings: reports whether any, not which."""

    def prepared(words, table):
        captions, search = table["text"].to_pylist(), re.compile(any_of(words), re.I).search
        return lambda: sparse([np.array([search(c) is not None for c in captions])])

    return prepared


def pandas_loop_way() -> Callable:
    """``Series.str.contains(case=False)``, term by term, with pandas' default string dtype."""

    def prepared(words, table):
        captions = table["text"].to_pandas()
        patterns = [pattern(word) for word in words]

        def run():
            masks = [captions.str.contains(one, case=False) for one in patterns]
            return sparse(mask.to_numpy(dtype=bool) for mask in masks)

        return run

    return prepared


def pandas_objects_way() -> Callable:
    """The same over Python strings (``dtype=object``), the default before pandas 3."""

    def prepared(words, table):
        captions = table["text"].to_pandas().astype(object)
        patterns = [pattern(word) for word in words]

        def run():
            masks = [captions.str.contains(one, case=False) for one in patterns]
            return sparse(mask.to_numpy(dtype=bool) for mask in masks)

        return run

    return prepared


def sparse(masks) -> tuple[np.ndarray, np.ndarray]:
    """The indices of the rows that each mask selects, and of the masks."""
    selected = [np.flatnonzero(mask) for mask in masks]
    which = [np.full(len(rows), i, np.int32) for i, rows in enumerate(selected)]
    return np.concatenate(selected), np.concatenate(which)


WAYS = {
    "laion_dask": laion_dask_way,
    "laion_dask without LLVM IR": without_ir_way,
    "laion_dask, all lists": lists_way,
    "hyperscan": hyperscan_way,
    "ahocorasick-rs": ahocorasick_way,
    "polars alternation": polars_alternation_way,
    "re alternation": re_alternation_way,
    "polars loop": polars_loop_way,
    "pandas loop": pandas_loop_way,
    "pandas loop, objects": pandas_objects_way,
}


def run(way: str, data: str, words: str, rows: int, out: str) -> dict:
    """Run one contender: CPU seconds, set-up and import seconds, and peak memory in bytes."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    start = time.perf_counter()
    prepared = WAYS[way]()
    import pyarrow.parquet as pq

    imported = time.perf_counter()
    table = pq.read_table(data, use_threads=False).slice(0, rows).combine_chunks()
    terms, begun = json.loads(Path(words).read_text()), time.process_time()
    find = prepared(terms, table)
    prepare_s = time.process_time() - begun
    durations, since = [], time.perf_counter()
    while not durations or (len(durations) < MOST_RUNS and time.perf_counter() - since < ENOUGH_S):
        begun = time.process_time()
        rows_, which = find()
        durations.append(time.process_time() - begun)
    order = np.lexsort((which, rows_))
    np.savez(out, rows=rows_[order], which=which[order])
    return {
        "cpu_s": statistics.median(durations),
        "rows": len(table),
        "rate": len(table) / statistics.median(durations),
        "import_s": imported - start,
        "prepare_s": prepare_s,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


if __name__ == "__main__":
    way, data, words, rows, out = sys.argv[1:]
    limit = int(os.environ.get("TERMS_CPU_LIMIT_S", "0"))
    if limit:  # the kernel stops the process after this much CPU time
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    print(json.dumps(run(way, data, words, int(rows), out)))
