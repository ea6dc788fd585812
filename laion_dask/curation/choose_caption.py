"""Choose one caption of each row that has several, as in LAION-COCO and Recap-DataComp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.backend import Frame, frame_from_arrow, frame_to_arrow, is_cudf
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.errors import OptionError, must_be, no_column
from laion_dask.runtime import graph

#: Ways to choose that need no scores.
_WAYS = ("first", "longest", "shortest")


def choose_caption(
    frame: dd.DataFrame,
    columns: str | Sequence[str],
    by: str | Sequence[str] = "first",
    *,
    to: str = "text",
    number: str | None = None,
) -> dd.DataFrame:
    """The frame with one caption of each row that has several. Lazy.

    All captions stay in their columns. `explode_captions` makes one record of each instead.

    Parameters
    ----------
    frame : dask DataFrame
    columns : str or sequence of str
        The captions: a column of lists of text, as LAION-COCO's ``all_captions``, or several
        columns of text, as Recap-DataComp's ``org_caption`` and ``re_caption``. Captions that are
        null, or white space only, are passed over.
    by : str or sequence of str
        ``"first"``, ``"longest"`` or ``"shortest"`` (in Unicode code points), or the scores: for a
        column of lists, a column of lists of as many numbers, and for several columns, as many
        columns of numbers. The caption of the largest score is chosen, of equal ones the first;
        those whose score is null or NaN are passed over.
    to : str
        The new column: text, null where a row has no such caption.
    number : str, optional
        A second new column: the position of the caption, from 0; nullable int64.

    Raises
    ------
    ColumnError, OptionError
        Immediately, when an argument or a column does not fit.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> chosen = frame.laion.choose_caption(["url", "text"], by="longest", to="caption")
    >>> bool((chosen["caption"].compute().str.len() >= frame["text"].compute().str.len()).all())
    True
    """
    choice = Choice.of(frame, columns, by)
    names = [to] if number is None else [to, number]
    for argument, name in zip(("to", "number"), names, strict=False):
        must_be(argument, name, str, "the name of a new column")
        if name in frame.columns or names.count(name) > 1:
            raise OptionError(
                f"{argument} is {name!r}, which is a column already. Choose another name."
            )
    meta = _frame(frame._meta, pa.array([], pa.large_string()), pa.array([], pa.int64()), names)
    choice = _Chosen(choice.captions, choice.way, choice.scores, choice.is_list, to)
    new = graph.map_columns(frame, _chosen, choice, names, reads=choice.reads, meta=meta)
    return frame.assign(**{name: new[name] for name in names})


def choose_caption_cost(frame: PlannedFrame, columns: str | Sequence[str] = "text") -> Cost:
    """The cost of `choose_caption`, which is that of reading the captions."""
    names = (columns,) if isinstance(columns, str) else tuple(columns)
    note = "choose_caption: the rate is that of a filter"
    return Cost(("where",), columns=names, notes=(note,))


@dataclass(frozen=True)
class Choice:
    """How captions are chosen.

    Attributes
    ----------
    captions : tuple of str
        One column of lists, or columns of text.
    way : str
        One of ``"first"``, ``"longest"`` and ``"shortest"``; empty: by ``scores``.
    scores : tuple of str
    is_list : bool
    """

    captions: tuple[str, ...]
    way: str
    scores: tuple[str, ...]
    is_list: bool

    @classmethod
    def of(
        cls,
        frame: dd.DataFrame,
        columns: str | Sequence[str],
        by: str | Sequence[str],
        argument: str = "by",
    ) -> Choice:
        """The choice of some arguments; ``argument`` is the name of ``by``.

        Raises
        ------
        ColumnError, OptionError
        """
        captions = column_names("columns", columns)
        way = by if isinstance(by, str) and by in _WAYS else ""
        scores = () if way else column_names(argument, by)
        for name in (*captions, *scores):
            if name not in frame.columns:
                can_be_way = name in scores and argument == "by"
                ways = f"by can also be {', '.join(map(repr, _WAYS))}." if can_be_way else ""
                raise no_column(name, frame.columns, ways)
        read = [*dict.fromkeys((*captions, *scores))]
        schema = frame_to_arrow(frame._meta[read].reset_index(drop=True)).schema
        is_list = len(captions) == 1 and _is_list(schema.field(captions[0]).type)
        for name in captions:
            _check(name, schema.field(name).type, is_list, _is_text, "text")
        for name in scores:
            _check(name, schema.field(name).type, is_list, _is_number, "numbers")
        if scores and len(scores) != len(captions):
            raise OptionError(
                f"{argument} is {list(scores)}, and columns {list(captions)}. Expected one column "
                "of scores for each column of captions."
            )
        return cls(captions, way, scores, is_list)

    @property
    def reads(self) -> list[str]:
        return list(dict.fromkeys((*self.captions, *self.scores)))

    def candidates(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray, pa.Array, np.ndarray]:
        """The row and position of each caption, the captions, and their values, NaN for none."""
        if self.is_list:
            rows, positions, texts = _flat(table[self.captions[0]])
        else:
            n, width = len(table), len(self.captions)
            rows = np.tile(np.arange(n), width)
            positions = np.repeat(np.arange(width), n)
            texts = _joined([table[name].cast(pa.large_string()) for name in self.captions])
        texts = texts.cast(pa.large_string())
        if not self.scores:
            lengths = pc.utf8_length(pc.fill_null(texts, "")).to_numpy(zero_copy_only=False)
            sign = {"first": 0.0, "longest": 1.0, "shortest": -1.0}[self.way]
            return rows, positions, texts, lengths * sign
        if not self.is_list:
            scores = _joined([table[name].cast(pa.float64(), safe=False) for name in self.scores])
            return rows, positions, texts, scores.to_numpy(zero_copy_only=False)
        return rows, positions, texts, _list_scores(table[self.scores[0]], rows, len(table))


def _chosen(part: Frame, choice: Choice, names: Sequence[str]) -> Frame:
    table = frame_to_arrow(part.reset_index(drop=True))
    rows, positions, texts, values = choice.candidates(table)
    candidates = np.flatnonzero(has_words(texts) & ~np.isnan(values))
    order = np.lexsort((positions[candidates], -values[candidates], rows[candidates]))
    candidates = candidates[order]
    _, first = np.unique(rows[candidates], return_index=True)
    at = np.full(len(table), -1)
    at[rows[candidates[first]]] = candidates[first]
    missing = at < 0
    text = texts.take(pa.array(at, mask=missing))
    position = np.append(positions, 0)[at]
    return _frame(part, text, pa.array(position, pa.int64(), mask=missing), names)


def has_words(texts: pa.Array) -> np.ndarray:
    """Mask of the texts, large strings, that are neither null nor white space only."""
    lengths = pc.fill_null(pc.utf8_length(pc.utf8_trim_whitespace(texts)), 0)
    words: np.ndarray = lengths.to_numpy(zero_copy_only=False) > 0
    return words


def _frame(part: Frame, text: pa.Array, position: pa.Array, names: Sequence[str]) -> pd.DataFrame:
    table = pa.table(dict(zip(names, (text, position), strict=False)))
    result: pd.DataFrame = frame_from_arrow(table, "cudf" if is_cudf(part) else "pandas")
    result.index = part.index
    return result


def _flat(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray, pa.Array]:
    """The row and position of each item of a column of lists, and the items."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    rows = np.repeat(np.arange(len(column)), lengths)
    starts = np.cumsum(lengths) - lengths
    type_ = column.type.value_type
    type_ = type_.value_type if pa.types.is_dictionary(type_) else type_
    # Each chunk of dictionaries has its own; the items of a null list are no items.
    items = pa.chunked_array([chunk.flatten().cast(type_) for chunk in column.chunks], type_)
    return rows, np.arange(len(rows)) - np.repeat(starts, lengths), _joined([items])


def _list_scores(column: pa.ChunkedArray, rows: np.ndarray, n: int) -> np.ndarray:
    """The score of each caption, (m,); NaN in rows with another number of scores."""
    own, _, scores = _flat(column)
    numbers = scores.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    lengths, wanted = (np.bincount(one, minlength=n) for one in (own, rows))
    fits = lengths == wanted
    values = np.full(len(rows), np.nan)
    values[fits[rows]] = numbers[fits[own]]
    return values


def _joined(columns: Sequence[pa.ChunkedArray]) -> pa.Array:
    chunks = [chunk for column in columns for chunk in column.chunks]
    return pa.concat_arrays(chunks) if chunks else pa.array([], columns[0].type)


def column_names(argument: str, given: object) -> tuple[str, ...]:
    """The names of some columns, given as one name or as a list.

    Raises
    ------
    OptionError
    """
    names = (given,) if isinstance(given, str) else given
    is_list = isinstance(names, (list, tuple)) and names
    if not is_list or not all(isinstance(name, str) for name in names):  # type: ignore[attr-defined]
        raise OptionError(f"{argument} is {given!r}. Expected a column, or a list of columns.")
    return tuple(names)  # type: ignore[arg-type]


def _check(name: str, type_: pa.DataType, is_list: bool, fits, what: str) -> None:
    item = type_.value_type if is_list and _is_list(type_) else type_
    if (is_list and not _is_list(type_)) or not fits(item):
        expected = f"lists of {what}" if is_list else what
        raise OptionError(f"The column {name!r} holds {type_}. Expected {expected}.")


def _is_list(type_: pa.DataType) -> bool:
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_kind(type_) for is_kind in kinds)


def _is_text(type_: pa.DataType) -> bool:
    type_ = type_.value_type if pa.types.is_dictionary(type_) else type_
    return type_ in (pa.string(), pa.large_string(), pa.string_view(), pa.null())


def _is_number(type_: pa.DataType) -> bool:
    return pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_null(type_)


@dataclass(frozen=True)
class _Chosen(Choice):
    """The choice of one caption, for a column."""

    to: str

    @property
    def step_text(self) -> str:
        """The verb, for the manifest of an export."""
        by = self.way or ", ".join(self.scores)
        return f"one caption (choose_caption): {self.to} from {', '.join(self.captions)}, by {by}"
