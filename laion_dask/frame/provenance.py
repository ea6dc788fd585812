"""The provenance of a frame: the scans that its rows come from, and the steps since.

A verb calls ``Provenance.of(frame)`` once and passes the result on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import dask.dataframe as dd
from dask.delayed import Delayed, DelayedLeaf

from laion_dask.dtypes import ColumnTypes
from laion_dask.errors import ProvenanceError, must_be
from laion_dask.frame import exploded, filters, row_identity, row_path, scans
from laion_dask.frame.row_path import Steps
from laion_dask.frame.scans import Sources
from laion_dask.io.parquet.scan import Scan
from laion_dask.io.parquet.shard import ScanPartition, Shard
from laion_dask.runtime.dask_expressions import (
    BaseExpr,
    Concat,
    DropnaFrame,
    Expr,
    Filter,
    FromMap,
    MapPartitions,
    Merge,
    Projection,
    Query,
    Sample,
    new_collection,
)

#: Steps that no optimization removes: a frame that contains one is more than a scan.
_NOT_REMOVABLE = (Filter, Query, DropnaFrame, Sample, MapPartitions, Merge, Concat)

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Provenance:
    """The origin of a frame's rows, and the steps that they went through. Lazy; create with `of`.

    The graph is walked once, at the first access. A property that cannot be determined raises a
    `ProvenanceError` when it is accessed.

    Attributes
    ----------
    frame : dask DataFrame
    """

    frame: dd.DataFrame

    @classmethod
    def of(cls, frame: dd.DataFrame) -> Provenance:
        """The provenance of a frame. Lazy.

        Raises
        ------
        OptionError
            When ``frame`` is not a Dask DataFrame.
        """
        must_be("The frame", frame, dd.DataFrame, "a Dask DataFrame, as read_shards returns")
        return cls(frame)

    def select(self, columns: Sequence[str]) -> Provenance:
        """The provenance of a selection of columns, without walking the steps again. Lazy."""
        selected = Provenance(self.frame[list(columns)])
        selected.__dict__["steps"] = self.steps
        return selected

    @cached_property
    def steps(self) -> Steps:
        """The steps that the rows went through, last first; see `laion_dask.frame.row_path`."""
        return tuple(row_path.walk(self.frame.expr))

    @cached_property
    def _nodes(self) -> tuple[BaseExpr, ...]:
        """Every expression in the graph, each once, including those that contribute no rows.

        This is the graph as the user built it; Dask's optimizer may merge two filters.
        """
        return tuple({node._name: node for node in self.frame.expr.walk()}.values())

    @property
    def scan_steps(self) -> list[FromMap]:
        """Every scan in the graph, including those that contribute columns but no rows."""
        return [node for node in self._nodes if scans.is_scan(node)]

    # Scans and shards.

    @cached_property
    def as_read(self) -> tuple[Scan, list[ScanPartition]] | None:
        """The scan and partitions of an unmodified frame; None for any other frame.

        Selecting columns does not count as a modification. Selecting partitions does, because the
        remaining partitions do not determine the shard numbers.
        """
        expr = self.frame.expr
        if isinstance(expr, Projection) and expr.ndim == 2:
            expr = expr.frame
        if not scans.is_scan(expr) or any(
            expr.operand(name) is not None for name in ("columns", "_partitions")
        ):
            return None
        return expr.func, scans.partitions_of(expr)

    @cached_property
    def optimized_scan(self) -> tuple[Scan, list[ScanPartition], list[str]] | None:
        """The scan, partitions and columns if the frame optimizes to a single scan, else None.

        Also None if a partition is selected twice.
        """
        if self.as_read is not None:
            return *self.as_read, list(self.frame.columns)
        if any(isinstance(step, _NOT_REMOVABLE) for step, _ in self.steps):
            return None  # optimizing a large graph is slow
        expr = self.frame.optimize(fuse=False).expr
        if scans.is_scan(expr) and expr.ndim == 2:
            partitions = scans.partitions_of(expr)
            if len(set(partitions)) == len(partitions):
                return expr.func, partitions, list(expr.columns)
        return None

    @cached_property
    def sources(self) -> Sources:
        """Every scan that rows come from, with the partitions that are read.

        Excludes tables that contribute columns but no rows, such as the right side of a left merge.

        Raises
        ------
        ProvenanceError
            When the frame has no scan, because it was not created by ``read_shards`` or was
            persisted; when a step overwrites ``shard`` or ``row``; when branches of the same rows
            are concatenated.
        """
        row_identity.check_identity(self.steps)
        scans.check_branches(self.steps)
        sources = scans.sources_of(self.steps)
        if not sources:
            raise ProvenanceError(
                "This frame does not lead back to read_shards (it was created in another way, or "
                "persisted), so its inputs are unknown. Start from ld.read_shards(...) and keep "
                "the lazy frame: export that one, and use the result of persist() only to look at "
                "rows."
            )
        return sources

    @property
    def partitions(self) -> list[ScanPartition]:
        """All partitions of the `sources`. Raises the same errors."""
        return [partition for _, partitions in self.sources for partition in partitions]

    @cached_property
    def shards(self) -> list[Shard]:
        """All shards of the frame's only scan, in order, including those that are not read.

        Raises
        ------
        ProvenanceError
            When the frame comes from no scan, or from several, whose shard numbers would collide;
            or when a step overwrites ``shard`` or ``row``.
        """
        row_identity.check_identity(self.steps)
        return scans.all_shards(self.steps)

    def column_types(self, type_of: Callable[[Any], str]) -> ColumnTypes:
        """The type of each column, derived from its dtype, and the columns stored as float16.

        Parameters
        ----------
        type_of : callable
            Maps a dtype to a column type; see `laion_dask.dtypes`.
        """
        by_name = {name: type_of(dtype) for name, dtype in self.frame.dtypes.items()}
        return ColumnTypes.of(by_name, self.half)

    @cached_property
    def half(self) -> set[str]:
        """The columns that are stored as float16."""
        return {n for step, _ in self.steps if scans.is_scan(step) for n in step.func.half}

    # Row identity.

    def check_identity_columns(self) -> None:
        """Raise a `ProvenanceError` when the frame lacks ``shard`` or ``row``."""
        row_identity.check_identity_columns(self.frame.columns)

    def check_row_identity(self) -> None:
        """Raise unless ``shard`` and ``row`` identify rows, for verbs that decide by other rows.

        Raises
        ------
        ProvenanceError
            When a column is missing or overwritten, or rows come from several scans that use the
            same shard numbers.
        """
        self.check_identity_columns()
        row_identity.check_identity(self.steps)
        scans.check_shard_numbers(scans.sources_of(self.steps))

    def check_branches(self) -> None:
        """Raise a `ProvenanceError` when branches of the same rows are concatenated."""
        scans.check_branches(self.steps)

    @cached_property
    def with_identity(self) -> dd.DataFrame | None:
        """The frame with ``shard`` and ``row``, restored if necessary; None if lost. Lazy."""
        return with_identity(self.frame)

    @cached_property
    def repeating_step(self) -> str | None:
        """The name of a step that may duplicate rows, or None."""
        return row_path.repeating_step(self.steps)

    @cached_property
    def number_column(self) -> str | None:
        """The column that tells the records of one row apart; None if each row has one record."""
        explosion = exploded.explosion_in(self.steps)
        return None if explosion is None else explosion.number

    # Selecting columns.

    @cached_property
    def can_drop_columns(self) -> bool:
        """Whether selecting columns leaves the rows unchanged."""
        return row_path.can_drop_columns(self.steps)

    @cached_property
    def is_cut_by_size(self) -> bool:
        """Whether selecting columns would change the partitions."""
        return row_path.is_cut_by_size(self.steps)

    # Filters, kernels and inputs.

    @cached_property
    def filters(self) -> list[str]:
        """The filters as text, in order; see `filters.filter_texts`."""
        return filters.filter_texts(self.steps)

    @cached_property
    def unfiltered(self) -> dd.DataFrame:
        """The frame with filters, samples and removals of nulls or duplicates undone. Lazy."""
        unfiltered: dd.DataFrame = new_collection(
            filters.without_filters(self.frame.expr, self.steps)
        )
        return unfiltered

    def uses_of(self, kernel: Callable[..., Any]) -> list[tuple[dd.DataFrame, tuple[Any, ...]]]:
        """Every use of a kernel: the frame that it is applied to, and its other arguments."""
        return [(new_collection(node.frame), args) for node, args in self._uses(kernel)]

    def arguments_of(self, kernel: Callable[..., Any]) -> list[tuple[Any, ...]]:
        """The arguments other than the frame, for every use of a kernel."""
        return [args for _, args in self._uses(kernel)]

    def _uses(self, kernel: Callable[..., Any]) -> Iterator[tuple[MapPartitions, tuple[Any, ...]]]:
        for node in self._nodes:
            if isinstance(node, MapPartitions) and node.func is kernel:
                yield node, tuple(node.args[1:])

    def objects_of_type(self, type_: type[_T]) -> list[_T]:
        """Distinct objects of a type, such as embeddings, that the frame is computed with."""
        return list(dict.fromkeys(leaf for leaf in self._leaves if isinstance(leaf, type_)))

    @cached_property
    def recipes(self) -> list[dict[str, Any]]:
        """The recipes of the models, heads and embeddings that the frame is computed with."""
        by_repr = {}
        for leaf in self._leaves:
            if hasattr(leaf, "recipe") and callable(leaf.recipe):
                recipe = leaf.recipe()
                by_repr[repr(recipe)] = recipe
        return [by_repr[key] for key in sorted(by_repr)]

    @cached_property
    def lists(self) -> list[dict[str, Any]]:
        """The lists that filters and verbs use: path or origin, sha256 and number of values.

        They are those in the attribute ``lists`` of a filter, or of an argument of a verb.
        """
        users = (leaf.where if isinstance(leaf, Scan) else leaf for leaf in self._leaves)
        lists = [one for user in users for one in getattr(user, "lists", ())]
        by_repr = {repr(one): one.recipe() for one in lists}
        return [by_repr[key] for key in sorted(by_repr)]

    @property
    def joined_files(self) -> list[str]:
        """The shards of the joined tables."""
        return [file["path"] for one in self.recipes if "join" in one for file in one["inputs"]]

    @cached_property
    def _leaves(self) -> list[object]:
        return [leaf for node in self._nodes for leaf in _leaves(node.operands)]


def with_identity(frame: dd.DataFrame) -> dd.DataFrame | None:
    """The frame with ``shard`` and ``row``, restored if necessary; None if lost. Lazy."""
    expr = row_identity.with_identity(frame.expr)
    return None if expr is None else new_collection(expr)


def arguments_of_type(args: Iterable[object], type_: type[_T]) -> list[_T]:
    """The arguments of a kernel that have a type, including shared ones."""
    operands = (arg.operands if isinstance(arg, Expr) else [arg] for arg in args)
    return [leaf for each in operands for leaf in _leaves(each) if isinstance(leaf, type_)]


def _leaves(operands: Iterable[object]) -> Iterator[object]:
    for operand in operands:
        if isinstance(operand, (list, tuple)):
            yield from _leaves(operand)
        elif isinstance(operand, dict):
            yield from _leaves(operand.values())
        elif isinstance(operand, Delayed):
            yield from _leaves([operand._obj] if isinstance(operand, DelayedLeaf) else [])
        elif not isinstance(operand, Expr):
            yield operand
