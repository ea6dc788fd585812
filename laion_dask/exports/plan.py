"""The plan of an export: what identifies it, so that a killed one is resumed only by the same one.

A plan has a content id, a digest of everything that the bytes of the export depend on: the graph of
the frame, the sizes and footers of its shards, the format, and the versions of this package and of
its engines.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cloudpickle
import dask.tokenize
import pyarrow as pa

from laion_dask.exports.manifest import current_versions, input_entry
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet.shard import ScanPartition, shards_of

#: The ``kind`` of every plan.
KIND = "laion_dask plan, version 1"
#: Packages whose functions do what their versions say.
_PACKAGES = sys.stdlib_module_names - {"__main__"} | {
    *("laion_dask", "dask", "distributed", "pandas", "numpy", "pyarrow", "tlz", "toolz", "fsspec"),
    *("torch", "open_clip", "duckdb", "scipy", "cudf", "s3fs"),
}


@dataclass(frozen=True)
class Plan:
    """What an export will write.

    Attributes
    ----------
    id : str or None
        None if the frame calls the user's functions, whose code could change unnoticed.
    job : str
        A digest that does not depend on the contents of the shards.
    inputs : dict of str to list
        Rows, bytes and footer digest of each shard, by its path.
    partitions : int
        The number of partitions of the frame.
    """

    id: str | None
    job: str
    inputs: dict[str, list[Any]] = field(default_factory=dict)
    partitions: int = 0

    def to_bytes(self) -> bytes:
        """The plan as the content of a file."""
        return json.dumps({"kind": KIND, **self.__dict__}).encode("utf-8", "backslashreplace")

    @staticmethod
    def parse(content: bytes) -> Plan | None:
        """The plan in a file; None if it is damaged or of another kind."""
        try:
            values = json.loads(content)
            if values.pop("kind") != KIND:
                return None
            return Plan(**values)
        except (ValueError, TypeError, LookupError, AttributeError):
            return None

    def changed_input(self, other: Plan) -> str | None:
        """The path of a shard with another content in a plan of the same job; None if no such."""
        if self.job != other.job:
            return None
        changed = (p for p, found in self.inputs.items() if other.inputs.get(p, found) != found)
        return next(changed, None)


#: The plan of an export that nobody can resume.
NO_PLAN = Plan(None, "")


def plan_of(
    provenance: Provenance,
    format: tuple[str, Mapping[str, Any]],
    schema: pa.Schema,
    rows_per_part: int | None,
    seed: int | None,
    identity: str | None = None,
) -> Plan:
    """The plan of an export. Lazy.

    Parameters
    ----------
    provenance : Provenance
        The provenance of the frame.
    format : (str, dict)
        Its name and options.
    schema : pyarrow.Schema
    rows_per_part, seed : int or None
        As for `export`.
    identity : str, optional
        See `export_with_notes`.
    """
    entries = map(input_entry, shards_of(provenance.partitions))
    inputs = {i["path"]: [i["rows"], i["bytes"], i["footer_sha256"]] for i in entries}
    name, options = format
    settings = [name, dask.tokenize.tokenize(dict(options)), str(schema), rows_per_part, seed]
    steps = [provenance.filters, provenance.recipes, current_versions(bool(provenance.recipes))]
    job = _digest([steps, sorted(inputs), settings])
    scan = provenance.optimized_scan
    partitions = provenance.frame.npartitions if scan is None else len(scan[1])
    if identity is None and _calls_unknown_code(provenance.frame.expr):
        return Plan(None, job, inputs, partitions)
    rows = provenance.frame._name if identity is None else identity
    return Plan(_digest([job, inputs, rows]), job, inputs, partitions)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


class _UnknownCode(Exception):
    """An object of a package whose code may change under the same name."""


class _Inspector(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Raises `_UnknownCode` if an object refers to code outside `_PACKAGES`; keeps nothing."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (ScanPartition, pa.Schema)):
            return str, ()  # many, and without code
        named = obj if hasattr(obj, "__qualname__") else type(obj)
        module = getattr(named, "__module__", None) or type(obj).__module__
        if module.partition(".")[0] not in _PACKAGES:
            raise _UnknownCode(module)
        return super().reducer_override(obj)


class _Nowhere(io.RawIOBase):
    """A file that keeps nothing."""

    def write(self, data: Any) -> int:
        return len(data)


def _calls_unknown_code(expr: object) -> bool:
    try:
        _Inspector(_Nowhere(), protocol=5, buffer_callback=lambda _: None).dump(expr)
    except Exception:  # whatever cannot be pickled cannot be compared either
        return True
    return False
