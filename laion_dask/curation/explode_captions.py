"""One record for each caption of rows that have several, as in LAION-COCO and Recap-DataComp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np
import pyarrow as pa

from laion_dask.backend import Frame, frame_from_arrow, frame_to_arrow, is_cudf
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.curation.choose_caption import Choice, column_names, has_words
from laion_dask.errors import OptionError, ProvenanceError, must_be
from laion_dask.frame.exploded import Explosion, explosion_in
from laion_dask.frame.provenance import Provenance
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE


def explode_captions(
    frame: dd.DataFrame,
    columns: str | Sequence[str],
    *,
    to: str = "text",
    number: str = "caption_number",
    scores: str | Sequence[str] | None = None,
    score: str = "caption_score",
) -> dd.DataFrame:
    """The frame with one record for each caption of a row that has several. Lazy.

    The captions of a row follow each other, in their order, and all other columns are repeated. The
    index is not: each partition has a new one. Captions that are null, or white space only, are
    skipped; equal captions all stay. A row without any caption has one record, whose text is null.

    A row of the data set still counts once: `rows` and the manifest of an export count a row as
    kept if at least one of its records is, and give the number of records beside it; in `funnel`, a
    row counts where its last record is excluded. `excluded` and statistics, such as `summary` and
    `audit`, count records. `top` ranks records; `sample` draws all records of a row or none. Verbs
    that look a decision up by row, such as `dedup` and `balance`, raise an error: call them before.

    Parameters
    ----------
    frame : dask DataFrame
        From `read_shards`, with ``shard`` and ``row``. Every column is read and repeated, so select
        those that you need first. A partition then has all records of its rows: if rows have many,
        pass a smaller ``max_rows_per_partition`` to `read_shards`.
    columns : str or sequence of str
        The captions: a column of lists of text, as LAION-COCO's ``all_captions``, or several
        columns of text, as Recap-DataComp's ``org_caption`` and ``re_caption``. The result does
        not have these columns.
    to : str
        The new column of text. It may have the name of one of ``columns``.
    number : str
        The new column that tells the records of a row apart: the position of the caption among all
        of the row, from 0; nullable int64, null in rows without a caption.
    scores : str or sequence of str, optional
        For a column of lists, a column of lists of as many numbers, and for several columns, as
        many columns of numbers. The result does not have these columns.
    score : str
        With ``scores``, the new column of the caption's score: nullable float64; null where the
        score is null or NaN, or where a row has another number of scores than of captions.

    Raises
    ------
    ColumnError, OptionError, ProvenanceError
        Immediately, when an argument or a column does not fit.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata", columns=["url", "text"])
    >>> records = frame.laion.explode_captions(["url", "text"])
    >>> rows = records.laion.rows()
    >>> rows.kept == len(frame), rows.records == len(records)
    (True, True)
    >>> len(records) > len(frame)
    True
    """
    provenance = Provenance.of(frame)
    missing = [name for name in PROVENANCE if name not in frame.columns]
    if missing:
        raise ProvenanceError(
            f"The frame has no column {' and '.join(missing)}, which tells the row of each "
            "caption. Keep 'shard' and 'row' when you select columns."
        )
    if explosion_in(provenance.steps) is not None:
        raise ProvenanceError(
            "This frame has one record for each caption already (explode_captions). Call it once, "
            "with all columns of captions."
        )
    listed = None if scores is None else list(column_names("scores", scores))
    choice = Choice.of(frame, columns, "first" if listed is None else listed, "scores")
    used = list(dict.fromkeys((*choice.captions, *choice.scores)))
    new = {"to": to, "number": number, **({} if listed is None else {"score": score})}
    kept = [name for name in frame.columns if name not in used]
    _check_names(new, kept)
    explosion = _Captions(number, choice, tuple(kept), tuple(new.values()))
    meta = explode(frame._meta, explosion)
    frame = frame.clear_divisions() if frame.known_divisions else frame
    exploded: dd.DataFrame = graph.map_columns(
        frame, explode, explosion, reads=list(frame.columns), meta=meta
    )
    return exploded


def explode_captions_cost(frame: PlannedFrame) -> Cost:
    """The cost of `explode_captions`, which reads every column."""
    note = "explode_captions: the rate is that of a filter; later verbs are of rows, not captions"
    return Cost(("where",), columns=frame.columns, notes=(note,))


@dataclass(frozen=True)
class _Captions(Explosion):
    """What becomes of a row: the columns that are repeated, and the new ones."""

    choice: Choice
    kept: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def step_text(self) -> str:
        """The verb, for the manifest of an export."""
        captions, new = ", ".join(self.choice.captions), ", ".join(self.new)
        return f"one record for each caption (explode_captions): {new} from {captions}"


def _check_names(new: dict[str, str], others: Sequence[str]) -> None:
    for argument, name in new.items():
        must_be(argument, name, str, "the name of a new column")
        if name in others:
            raise OptionError(
                f"{argument} is {name!r}, which is a column already. Choose another name, or drop "
                "that column first."
            )
        if list(new.values()).count(name) > 1:
            raise OptionError(
                f"{argument} is {name!r}, which is the name of another new column too. Choose "
                "another name."
            )


def explode(part: Frame, explosion: _Captions) -> Frame:
    """The records of a partition's rows, in the order of the rows, and of their captions."""
    choice = explosion.choice
    table = frame_to_arrow(part[choice.reads].reset_index(drop=True))
    rows, positions, texts, values = choice.candidates(table)
    usable = np.flatnonzero(has_words(texts))
    empty = np.flatnonzero(np.bincount(rows[usable], minlength=len(table)) == 0)
    row = np.append(rows[usable], empty)
    caption = np.append(usable, np.full(len(empty), -1))  # -1: none
    order = np.lexsort((np.append(positions[usable], np.zeros(len(empty), np.int64)), row))
    row, caption = row[order], caption[order]
    none = caption < 0
    columns = [texts.take(pa.array(caption, mask=none))]
    columns.append(pa.array(np.append(positions, 0)[caption], pa.int64(), mask=none))
    if choice.scores:
        found = np.append(values, np.nan)[caption]
        columns.append(pa.array(found, pa.float64(), mask=np.isnan(found)))
    made = pa.table(dict(zip(explosion.new, columns, strict=True)))
    new = frame_from_arrow(made, "cudf" if is_cudf(part) else "pandas")
    repeated = part[list(explosion.kept)].iloc[row]
    repeated = repeated.reset_index(drop=True)  # Dask combines filters by an index without repeats
    return repeated.assign(**{name: new[name] for name in explosion.new})
