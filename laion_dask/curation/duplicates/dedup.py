"""Keep one row of each group of duplicates."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import dask.dataframe as dd

from laion_dask.cost import Cost, PlannedFrame
from laion_dask.curation.bucket_pass import bucket_count, decide_in_buckets
from laion_dask.curation.duplicates import exact
from laion_dask.curation.duplicates.exact import Rule
from laion_dask.curation.duplicates.near import (
    check_no_near_options,
    is_components,
    is_near,
    measure_of,
    near_dedup,
)
from laion_dask.curation.duplicates.semantic import semantic_cost, semantic_dedup
from laion_dask.curation.key import Key
from laion_dask.curation.ranking import Ranking
from laion_dask.curation.row_table import shards_per_block
from laion_dask.curation.row_writer import RowWriter
from laion_dask.errors import OptionError, one_of
from laion_dask.frame.exploded import refuse_exploded
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.selection import select_rows
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE
from laion_dask.stats.checks import check_integer

_KEEP = ("first", "last", "random")


def dedup(
    frame: dd.DataFrame,
    by: str | Sequence[str] | Embeddings = "url",
    *,
    keep: str | Mapping[str, str] | None = None,
    missing: str = "unscored",
    seed: int = 0,
    eps: float | None = None,
    n_clusters: int | None = None,
    rule: str | None = None,
    iterations: int | None = None,
    memory_limit: int | None = None,
    folder: str | os.PathLike | None = None,
    similar: float | None = None,
    shingles: str | None = None,
    shingle_size: int | None = None,
    radius: int | None = None,
) -> dd.DataFrame:
    """One row of each group of rows that are equal, or near, by a key or by embeddings. Lazy.

    Rows are compared by the values of the key's columns, byte by byte. Which row of a group is kept
    depends on the frame's rows only, not on its partitions. The keys are read in a pass of their
    own when the result is computed, and again whenever it is computed again; export the result to
    compute it once. Filters before `dedup` apply first: a row that they drop is no duplicate of
    another. Filters after it do not bring back the duplicates of a row that they drop.

    The pass writes 24 to 32 bytes a row to Dask's ``temporary_directory``, which workers on several
    machines need to share. A task holds one partition or one bucket of 0.3 to 2 million rows.
    Values are compared by hashes of 128 bits (MurmurHash3): the probability that any two of 5.85
    billion different keys are taken for equal is 5e-20. Single integers are compared exactly.

    With embeddings, the duplicates are those of SemDeDup. They are found immediately, in passes
    over the embeddings (see `laion_dask.curation.duplicates.semantic`). The frame is lazy.

    With ``similar``, captions are compared by the sets of their shingles, and with ``radius``,
    perceptual hashes by their bits. A row is dropped if it is near some *earlier* row, even one
    that is dropped itself; see ``rule``. Each pair that is dropped is compared exactly. Pairs of
    hashes are all found, those of captions by MinHash: a pair at the threshold shares a band with a
    probability of at least 99 %, a nearer one with a higher one. In each band, a caption is
    compared with the first 8 of the earlier captions that its sketch of 128 bits does not rule out,
    among the first 16,384: so work and disk grow with the captions, not with their pairs, if many
    are made from one template. The passes write some 1.5 KB a distinct caption, and 16 to 40 bytes
    for each pair that is compared.

    Parameters
    ----------
    frame : dask DataFrame
        From `read_shards`, filtered or with columns added; each row at most once.
    by : str, sequence of str, or Embeddings
        The key: a column, such as ``"url"``, ``"uid"``, ``"hash"`` or ``"sha256"``, or several that
        are compared together, such as ``["url", "text"]``. ``"normalized_url"`` compares the column
        ``url`` in its normal form (WHATWG: scheme and host in lower case, without default port,
        dots in paths resolved), without fragment and without a dot at the end of the host.
    keep : str or mapping, optional
        By a key, the row of a group to keep: the ``"first"`` (the default) or ``"last"`` by
        ``shard`` and ``row``; a ``"random"`` one, drawn by a hash of the seed and its ``shard`` and
        ``row``; or the row with the largest or smallest value of a numeric column, as
        ``{"max": "similarity"}`` or ``{"min": "punsafe"}``. Of equal values, the first row is kept;
        null and NaN come last. By embeddings, the row of a cluster that comes first: the farthest
        from the centroid, ``"hard"`` (the default), the nearest, ``"easy"``, or a ``"random"`` one.
    missing : {"unscored", "keep"}
        What becomes of rows without a key, because one of its columns is null or NaN. No two of
        them are duplicates. By default they are unscored: not kept, and counted as such.
    seed : int
        For ``keep="random"``, and for the clusters of embeddings.
    eps : float, optional
        With embeddings: rows are close if their cosine is more than ``1 - eps``. By default 0.05.
    rule : {"semdedup", "components"}, optional
        With embeddings, ``similar`` or ``radius``, which rows go: by default, as in SemDeDup, those
        near some earlier row, even one that goes itself; or all but the first of each connected
        component of near rows. Components of captions and hashes are united in one task, of 24
        bytes for each row that is near another.
    n_clusters, iterations, memory_limit, folder
        With embeddings, as for
        `laion_dask.curation.duplicates.semantic.semantic_duplicates`.
    similar : float, optional
        By a column of text: rows are near if the Jaccard similarity of their shingles is at least
        this, from 0.1 to 1. Texts are compared in lower case, with single spaces.
    shingles : {"characters", "words"}, optional
        What a shingle is made of; by default characters.
    shingle_size : int, optional
        How many of them follow each other in a shingle: by default 5 characters, or 1 word.
    radius : int, optional
        By a column of hashes of 64 bits, integers or text of 16 hexadecimal digits: rows are near
        if at most so many bits differ, from 0 to 16. Text of other kinds counts as missing.

    Returns
    -------
    dask DataFrame
        The kept rows, with the columns of the frame. `rows`, `funnel`, `excluded` and the manifest
        of an export count the others as dropped by ``dedup(...)``.

    Raises
    ------
    OptionError, ColumnError, ProvenanceError
        Immediately, when an argument or a column does not fit.
    ProvenanceError
        During the computation, when the frame contains a row more than once.
    SpillError
        During the computation, when the disk is full.

    See Also
    --------
    duplicates : the groups as a table.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> unique = frame.laion.dedup(by="url", keep={"max": "similarity"})
    >>> bool(unique["url"].compute().is_unique)
    True
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> distinct = frame.laion.dedup(images, eps=0.02)
    >>> distinct.laion.rows().kept < len(frame)
    True
    """
    refuse_exploded(frame, "dedup")
    options = given_options(
        eps=eps,
        n_clusters=n_clusters,
        rule=rule,
        iterations=iterations,
        memory_limit=memory_limit,
        folder=folder,
    )
    if isinstance(by, Embeddings):
        check_no_near_options(similar, radius, shingles, shingle_size)
        if missing != "unscored":
            raise one_of("missing", missing, ["unscored"])
        return semantic_dedup(
            frame, by, keep="hard" if keep is None else keep, seed=seed, **options
        )
    if is_near(similar, radius, shingles, shingle_size):
        check_no_semantic_options(options, but="rule")
        components = is_components(rule)
        measure = measure_of(frame, by, similar, radius, shingles, shingle_size)
        rule_ = rule_of(frame, "first" if keep is None else keep, seed)
        return near_dedup(frame, measure, rule_, _keeps(missing), components)
    check_no_semantic_options(options)
    return _by_key(frame, by, "first" if keep is None else keep, missing, seed)


def _by_key(
    frame: dd.DataFrame,
    by: str | Sequence[str],
    keep: str | Mapping[str, str],
    missing: str,
    seed: int,
) -> dd.DataFrame:
    """One row of each group of rows that are equal by a key. Lazy."""
    provenance = Provenance.of(frame)
    provenance.check_row_identity()
    key, rule = Key.of(frame, by), rule_of(frame, keep, seed)
    keep_missing = _keeps(missing)
    writer = RowWriter.create(exact.SCHEMA, shards_per_block(provenance))
    table = decide_in_buckets(
        frame[needed_columns(frame, key, rule)],
        exact.records_of,
        exact.keep_one,
        writer,
        rule.dtype,
        bucket_count(provenance),
        key,
        rule,
    )
    decided = graph.map_columns(
        frame,
        exact.decisions,
        table,
        key,
        keep_missing,
        reads=[*(key.reads(frame.columns) if keep_missing else []), *PROVENANCE],
        meta=exact.decisions_meta(frame._meta),
    )
    names = key.names[0] if len(key.names) == 1 else list(key.names)
    text = f"dedup(by={names!r}, keep={rule}"
    text += f", seed={seed}" if rule.how == "random" else ""
    text += ", missing='keep')" if keep_missing else ")"
    return select_rows(frame, decided[exact.KEEP], text)


def _keeps(missing: str) -> bool:
    if missing not in ("unscored", "keep"):
        raise one_of("missing", missing, ["unscored", "keep"])
    return missing == "keep"


def given_options(**options: object) -> dict[str, object]:
    """The options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def check_no_semantic_options(options: Mapping[str, object], but: str = "") -> None:
    """Raise if an option for embeddings was given, but one, without embeddings."""
    name = next((name for name in options if name != but), None)
    if name is not None:
        near = ", or by='text' with similar=0.8" if name == "rule" else ""
        raise OptionError(
            f"{name} applies to embeddings, and by is not embeddings. Expected "
            f"frame.laion.dedup(emb, eps=0.05) with what ld.open_embeddings(...) returns{near}, or "
            "a key without it."
        )


def needed_columns(frame: dd.DataFrame, key: Key, rule: Rule) -> list[str]:
    """The columns that decide which row of a group is kept."""
    ranked = [rule.ranking.column] if rule.ranking else []
    return list(dict.fromkeys([*key.reads(frame.columns), *ranked, *PROVENANCE]))


def rule_of(frame: dd.DataFrame, keep: str | Mapping[str, str], seed: int) -> Rule:
    """The rule of an argument ``keep``.

    Raises
    ------
    OptionError, ColumnError
    """
    check_integer("seed", seed, 0)
    if not isinstance(keep, Mapping):
        if keep not in _KEEP:
            raise one_of("keep", keep, [*_KEEP, "{'max': column}", "{'min': column}"])
        return Rule(keep, seed=seed if keep == "random" else 0)
    if len(keep) != 1 or next(iter(keep)) not in ("max", "min"):
        raise OptionError(
            f"keep is {dict(keep)!r}. Expected one column, such as "
            "{'max': 'similarity'} or {'min': 'punsafe'}."
        )
    ((how, column),) = keep.items()
    return Rule(how, Ranking.of(frame, column))


def dedup_cost(
    frame: PlannedFrame,
    by: str | Sequence[str] | Embeddings = "url",
    similar: float | None = None,
    radius: int | None = None,
    n_clusters: int | None = None,
    iterations: int | None = None,
) -> Cost:
    """The cost of `dedup`, which computes the frame twice: the key, and then the rows.

    Raises
    ------
    OptionError, ColumnError
        As for `dedup`.
    """
    if isinstance(by, Embeddings):
        return semantic_cost(frame, by, n_clusters, 10 if iterations is None else iterations)
    columns = tuple(Key.of(frame.frame, by).reads(frame.columns))
    if similar is not None:
        note = "dedup: near captions take about as long as detecting their languages four times"
        return Cost(("join on disk", *["language"] * 4), columns=columns, notes=(note,))
    if radius is not None:
        note = "dedup: near hashes take about as long as three joins on disk"
        return Cost(("join on disk",) * 3, columns=columns, notes=(note,))
    note = "dedup: the rate is that of a join on disk, which moves more bytes a row"
    return Cost(("join on disk",), columns=columns, notes=(note,))
