"""Balance a data set by the concepts that its captions mention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.backend import Frame, frame_from_arrow, is_cudf
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.curation.balancing.concept_counts import Misses, counted, languages_of, misses_of
from laion_dask.curation.balancing.concept_lists import ConceptLists
from laion_dask.curation.draws import BALANCE
from laion_dask.curation.row_hash import row_hash
from laion_dask.curation.row_table import row_keys, shard_and_row
from laion_dask.errors import OptionError, ProvenanceError
from laion_dask.frame.exploded import refuse_exploded
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.selection import select_rows
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE
from laion_dask.stats.checks import check_integer

_KEEP, _PROBABILITY = "keep", "probability"
_SCHEMA = pa.schema({_KEEP: pa.bool_(), _PROBABILITY: pa.float64()})


def balance(
    frame: dd.DataFrame,
    entries: object,
    t: int = 20_000,
    seed: int = 0,
    *,
    column: str = "text",
    language: str | None = None,
    version: int | None = None,
    to: str | None = None,
) -> dd.DataFrame:
    """The rows drawn so that no concept dominates, by MetaCLIP's rule. Lazy.

    An entry with more than ``t`` captions is a head concept: each of its captions has the
    probability ``t / count`` through it; one of a rarer entry is kept. A row is kept with the
    probability 1 - Π (1 - t / max(count, t)) over the entries that its caption mentions. Rows that
    mention none are dropped; rows with a null caption are unscored.

    Captions are counted in a pass of their own over the frame as it stands, when the result is
    computed, and again whenever it is computed again; export the result to compute it once. Filters
    before `balance` apply first. A row is drawn by a hash of the seed, its ``row``, and the footer
    of its shard, so draws depend neither on partitions nor on where shards are or in which order
    they are read. A second `balance` of the same rows needs another seed, or its draws are those of
    the first.

    Parameters
    ----------
    frame : dask DataFrame
        From `read_shards`, filtered or with columns added.
    entries : list of str, path or mapping
        The concepts, such as MetaCLIP's 500,000: texts, or a file of them: ``.json``, ``.parquet``
        or ``.csv`` (one column, or the column ``entry``), else one a line. With ``language``, also
        a mapping, or ``.json`` of a mapping, of languages to lists; the list of ``"other"`` is for
        languages without one. Repeated entries count once. See `laion_dask.text.entries` for where
        an entry stands in a caption.
    t : int
        The number of captions up to which an entry is in the tail; of English, with ``language``.
        OpenAI's CLIP and MetaCLIP-400M: 20,000; MetaCLIP-2.5B: 170,000.
    seed : int
        At least 0.
    column : str
        The captions.
    language : str, optional
        The column of languages, such as ``"language"``, for MetaCLIP 2: entries are counted by
        language. The share of matches of English that is of entries with fewer than ``t`` is its
        tail share; ``t`` of every other language is the count at which the cumulative share of
        entries, from the rarest, is nearest to it. English is ``"en"``. Rows with a null language
        are unscored; languages without a list are dropped.
    version : {1, 2}, optional
        Of the matching rule: version 2 demands no space beside Chinese characters, Thai, Lao,
        Burmese, Khmer and Tibetan at the ends of an entry. By default 2 with ``language``, else 1.
    to : str, optional
        A new column for the probability that the row was kept with, float64 in (0, 1].

    Returns
    -------
    dask DataFrame
        The kept rows, with the columns of the frame. `rows`, `funnel`, `excluded` and the manifest
        of an export count the others as dropped by ``balance(...)``.

    Raises
    ------
    OptionError, ColumnError, ProvenanceError
        Immediately, when an argument or a column does not fit.
    OptionError
        During the computation, when there are other languages but no English caption has an entry.

    References
    ----------
    Xu, H. et al. (2024). Demystifying CLIP Data. ICLR.
    Chuang, Y.-S. et al. (2025). MetaCLIP 2: A Worldwide Scaling Recipe. arXiv:2507.22062.

    See Also
    --------
    concepts : the counts.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> balanced = frame.laion.balance(["red", "blue", "square", "circle"], t=100)
    >>> balanced.laion.rows().kept < len(frame)
    True
    """
    refuse_exploded(frame, "balance")
    provenance = Provenance.of(frame)
    provenance.check_row_identity()
    lists = ConceptLists.of(frame, entries, column, language, version)
    check_integer("t", t, 1)
    check_integer("seed", seed, 0)
    if to is not None and (not isinstance(to, str) or to in frame.columns):
        raise OptionError(f"to is {to!r}. Expected the name of a new column.")
    shared = graph.share(lists)
    misses = graph.gathered([counted(frame, lists, shared)], misses_of, t)
    reads = list(dict.fromkeys([*lists.reads, *PROVENANCE]))
    draw = Draw(seed, _shard_keys(provenance))
    decided = graph.map_columns(
        frame, _decisions, shared, misses, draw, reads=reads, meta=_meta(frame._meta)
    )
    if to is not None:
        frame = frame.assign(**{to: decided[_PROBABILITY]})
    return select_rows(frame, decided[_KEEP], _rule_text(entries, lists, t, seed, language))


@dataclass(frozen=True, eq=False)
class Draw:
    """Draws of rows.

    Attributes
    ----------
    seed : int
    shard_keys : (shards,) uint64 array or None
        By shard, the first eight bytes of the sha256 of its footer; None if unknown.
    """

    seed: int
    shard_keys: np.ndarray | None

    def uniform(self, keys: np.ndarray) -> np.ndarray:
        """A number in [0, 1) of each row, by its key."""
        shard, row = shard_and_row(keys)
        known = self.shard_keys is not None and (shard < len(self.shard_keys)).all()
        of_shard = self.shard_keys[shard] if known else shard.astype(np.uint64)  # type: ignore[index]
        hashes = row_hash(of_shard, row, self.seed, BALANCE)
        uniform: np.ndarray = (hashes >> np.uint64(11)) * 2.0**-53
        return uniform

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        keys = None if self.shard_keys is None else self.shard_keys.tobytes()
        return ("laion_dask.Draw", self.seed, keys)


def _shard_keys(provenance: Provenance) -> np.ndarray | None:
    try:
        shards = provenance.shards
    except ProvenanceError:
        return None
    keys = np.zeros(max((shard.index for shard in shards), default=0) + 1, np.uint64)
    for shard in shards:
        keys[shard.index] = int(shard.footer_sha256[:16], 16)
    return keys


def _decisions(part: Frame, lists: ConceptLists, misses: Misses, draw: Draw) -> Frame:
    keys, identified = row_keys(part)
    keep, probability = np.zeros(len(part), bool), np.full(len(part), np.nan)
    unknown = np.ones(len(part), bool)
    for language, rows, captions in languages_of(part, lists):
        unknown[rows] = captions.is_null().to_numpy(zero_copy_only=False)
        probability[rows] = 0.0
        entries, factors = lists.entries_of(language), misses.by_language.get(language)
        if entries is not None and factors is not None:
            n_found, missed = entries.find(captions, np.zeros(len(entries), np.int64), factors)
            probability[rows] = np.where(n_found > 0, 1 - missed, 0.0)
    keep = draw.uniform(np.where(identified, keys, 0)) < probability
    unknown |= ~identified
    probability[unknown] = np.nan
    table = pa.table(
        {_KEEP: pa.array(keep, mask=unknown), _PROBABILITY: pa.array(probability)}, schema=_SCHEMA
    )
    return _with_index(table, part)


def _with_index(table: pa.Table, part: Frame) -> Frame:
    result = frame_from_arrow(table, "cudf" if is_cudf(part) else "pandas")
    result.index = part.index
    return result


def _meta(meta: Frame) -> pd.DataFrame:
    return _with_index(_SCHEMA.empty_table(), meta)


def _rule_text(
    entries: object, lists: ConceptLists, t: int, seed: int, language: str | None
) -> str:
    n = sum(len(each) for each in lists.by_language.values())
    counted = "1 entry" if n == 1 else f"{n:,} entries"
    shown = repr(entries) if isinstance(entries, str) else counted
    by = f", language={language!r}" if language else ""
    return f"balance({shown}, t={t}, seed={seed}{by})"


def balance_cost(
    frame: PlannedFrame,
    entries: object = ("",),
    *args: object,
    column: str = "text",
    language: str | None = None,
    **options: Mapping[str, object],
) -> Cost:
    """The cost of `balance`, which reads the captions twice: the counts, and then the rows."""
    columns = (column, *([language] if language else []))
    note = (
        "balance: the rate is that of a summary, which takes as long a caption as 500,000 entries"
    )
    return Cost(("summary", "summary"), columns=columns, notes=(note,))
