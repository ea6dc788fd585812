"""A selection as calls of verbs, to be applied to a frame or written as code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import dask.dataframe as dd

from laion_dask.errors import OptionError
from laion_dask.explorer.embedding_filters import Region, Score
from laion_dask.explorer.filters import Filter
from laion_dask.explorer.tag_filter import TaggedRows
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.projections.projection import Projection
from laion_dask.verbs import VERBS

#: Placeholder for the embeddings of the exploration.
EMBEDDINGS = object()


@dataclass(frozen=True)
class Call:
    """A call of a verb.

    Attributes
    ----------
    verb : str
    arguments : dict of str to object
        In the order of the verb's parameters; `EMBEDDINGS` stands for the embeddings. Vectors are
        tuples of floats, and a `Projection` is itself.
    positional : int
        How many of the arguments are written without their names.
    filter : Filter
        Where the call comes from.
    """

    verb: str
    arguments: dict[str, Any]
    positional: int
    filter: Filter = field(compare=False)


def calls_of(filters: Sequence[Filter], columns: Sequence[str]) -> list[Call]:
    """The calls that select the rows that pass every filter, those without embeddings first.

    Parameters
    ----------
    filters : sequence of Filter
    columns : sequence of str
        Those of the frame; new columns get other names.
    """
    plain = [one for one in filters if one.where is not None]
    others = [one for one in filters if one.where is None]
    calls = [Call("where", {"expression": one.where}, 1, one) for one in plain]
    taken = set(columns)
    for one in others:
        calls += _calls_of(one, taken)
    return calls


def _calls_of(one: Filter, taken: set[str]) -> list[Call]:
    if isinstance(one, TaggedRows):
        return [Call("tagged", {"rows": one.tags}, 1, one)]
    if isinstance(one, Region):
        arguments = {
            "embeddings": EMBEDDINGS,
            "polygon": one.corners,
            "projection": one.projection,
            "digest": one.projection.digest,
        }
        return [Call("in_region", arguments, 3, one)]
    if isinstance(one, Score):
        column = unused("query_similarity", taken)
        taken.add(column)
        scored = {"embeddings": EMBEDDINGS, "query": one.vector, "to": column}
        return [
            Call("similarity", scored, 2, one),
            Call("where", {"expression": one.where_of(column)}, 1, one),
        ]
    raise AssertionError(f"{type(one).__name__} has no calls")


def unused(name: str, taken: set[str]) -> str:
    """The name itself or, if it is taken, the name with a number appended."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    return found


def applied(
    frame: dd.DataFrame, calls: Sequence[Call], embeddings: Embeddings | None
) -> dd.DataFrame:
    """The rows of a frame that the calls select. Lazy.

    Raises
    ------
    OptionError
        When a call needs embeddings and the explorer was opened without them.
    """
    for call in calls:
        arguments = dict(call.arguments)
        if arguments.get("embeddings") is EMBEDDINGS:
            arguments["embeddings"] = required(embeddings)
        if isinstance(arguments.get("query"), tuple):
            arguments["query"] = list(arguments["query"])
        frame = VERBS[call.verb].load()(frame, **arguments)
    return frame


def required(embeddings: Embeddings | None) -> Embeddings:
    """Embeddings, which a filter needs.

    Raises
    ------
    OptionError
    """
    if embeddings is None:
        raise OptionError(
            "The selection has a region or a query, and the explorer was opened without "
            "embeddings. Pass them: frame.laion.explore(ld.open_embeddings(...))."
        )
    return embeddings


def projections_of(calls: Sequence[Call]) -> list[Projection]:
    """The projections of calls, each once."""
    found = (call.arguments.get("projection") for call in calls)
    return list(dict.fromkeys(one for one in found if isinstance(one, Projection)))
