"""Graphs of plain tasks, which Dask's threads can run without Dask optimizing them first.

For ten tasks that take a few milliseconds each, it costs more to build, merge and cull layers, and
to turn them into an expression, than to schedule the tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dask.delayed import Delayed
from dask.typing import Key


class PlainGraph(dict):
    """Tasks, and the values that they share, by key."""


def joined(layer: dict[Key, Any], dependencies: Iterable) -> PlainGraph | None:
    """A layer with the plain graphs that it depends on; None if one of them is not plain."""
    graphs = {id(each.dask): each.dask for each in dependencies if is_plain(each)}
    if not all(map(is_plain, dependencies)):
        return None
    graph = PlainGraph()
    for each in graphs.values():
        graph.update(each)
    graph.update(layer)
    return graph


def is_plain(collection: object) -> bool:
    """Whether a collection is a delayed value of a plain graph."""
    return isinstance(collection, Delayed) and isinstance(collection.dask, PlainGraph)


def run(collections: Sequence[Delayed], scheduler: Callable) -> tuple:
    """The values of plain collections, as ``dask.compute`` returns them."""
    graph, wanted = PlainGraph(), [each.key for each in collections]
    known = {id(each.dask): each.dask for each in collections}
    following = list(wanted)
    while following:
        key = following.pop()
        if key not in graph:
            graph[key] = next(each[key] for each in known.values() if key in each)
            following += graph[key].dependencies
    return tuple(scheduler(graph, wanted))
