"""Write a frame as a committed subset with a manifest that says where every row came from."""

from __future__ import annotations

import os
from collections.abc import Sequence

import dask.dataframe as dd
import pandas as pd

from laion_dask.backend import frame_to_arrow
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.errors import SchemaError, must_be, one_of
from laion_dask.exports import formats
from laion_dask.exports.formats.base import WrittenPart
from laion_dask.exports.manifest import build_manifest, schema_entries
from laion_dask.exports.partition import META, part_schema, write_partition
from laion_dask.exports.result import Export
from laion_dask.exports.transaction import ExportTransaction
from laion_dask.frame.map_with_accounting import map_with_accounting
from laion_dask.frame.own_inputs import refuse_folder_of_inputs
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.scans import check_shard_numbers


def export(
    frame: dd.DataFrame,
    path: str | os.PathLike,
    format: str = "parquet",
    *,
    seed: int | None = None,
) -> Export:
    """Write the frame's rows and a manifest; the folder changes in one step. Eager.

    Rows are in order of shard and of row, whatever the workers did; if the frame was shuffled or
    sorted by another column, they are so within each part. Each partition that has rows becomes
    one part. The manifest ``_recipe.json`` is written last. It lists the inputs with size and
    digest, the filters, models and weights, versions, schema, the counts of rows read, kept,
    dropped, unscored and rejected, and the sha256 of each part. The result's ``audit()`` says whom
    the filters left out; ``ld.write_report(exported, "report.html")`` writes the same as a page.
    The folder opens by its name in pandas, pyarrow and DuckDB's ``**/*.parquet``, and in polars
    with ``scan_parquet(path, hidden_file_prefix="_")``.

    Parameters
    ----------
    frame : dask DataFrame
        A frame that comes from `read_shards`.
    path : str or path
        A folder or an address that fsspec knows: new, empty, or an earlier export, which is
        replaced. On a local file system that is one step. In an object store, or if an earlier
        release left its parts beside the manifest, a pattern such as ``**/*.parquet`` briefly
        matches the parts of both; `read_shards` uses the manifest, which lists those of one.
    format : {"parquet"}
        The name of a module in ``laion_dask.exports.formats``.
    seed : int, optional
        Recorded in the manifest, for a frame that was sampled with it.

    Raises
    ------
    OptionError
        When there is no such format.
    SchemaError
        When the names of two columns differ only in case.
    ExportError
        When the folder holds something else, or the shards that are read.
    ProvenanceError
        When the frame does not come from `read_shards`. Like all of the above, raised immediately.
    ShardError, SchemaError
        When a shard proves damaged while it is read; nothing is visible then.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> done = frame.laion.where("width >= 256").laion.export("wide")
    >>> done.rows.kept == len(ld.read_shards("wide"))
    True
    """
    if format not in formats.names():
        raise one_of("format", format, formats.names())
    must_be("path", path, (str, os.PathLike), "a folder or an address")
    transaction = ExportTransaction(os.fspath(path))
    provenance = Provenance.of(frame)
    check_shard_numbers(provenance.sources)
    refuse_folder_of_inputs(transaction.path, transaction.address, provenance)
    schema = part_schema(frame_to_arrow(frame._meta).schema)
    _check_names(schema.names)
    with transaction:
        writer = formats.load(format).open(transaction.staging_folder, schema)
        written, rows = map_with_accounting(
            provenance,
            write_partition,
            writer,
            schema,
            meta=META,
            label="export",
            must_account=True,
        )
        parts, types = _in_order(written)
        manifest = build_manifest(provenance, schema_entries(schema, types), rows, seed)
        committed = transaction.commit(parts, writer.finish(parts), manifest)
        return Export(transaction.path, rows, committed, frame)


def export_cost(frame: PlannedFrame) -> Cost:
    """The cost of `export`, which reads and writes every column."""
    note = "export: as if every row were kept and written; what is written is not in the bytes read"
    return Cost(("export",), columns=frame.columns, notes=(note,))


def _in_order(written: pd.DataFrame) -> tuple[list[WrittenPart], list[list[str]]]:
    """The parts in order, numbered, and the types of their columns.

    Parts without rows are left out, except that an export without any rows has one.
    """
    records = written.sort_values("number").to_dict("records")
    records = [record for record in records if record["rows"]] or records[:1]
    parts = [WrittenPart(i, int(r["rows"]), tuple(r["files"])) for i, r in enumerate(records)]
    return parts, [record["types"] for record in records]


def _check_names(names: Sequence[str]) -> None:
    """Raise when a reader of the parts could mistake two columns for one."""
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            raise SchemaError(
                f"The columns {seen[name.lower()]!r} and {name!r} differ only in case, which some "
                "readers of Parquet ignore. Rename or drop one of them."
            )
        seen[name.lower()] = name
