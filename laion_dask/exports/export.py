"""Write a frame as a committed subset with a manifest that records where every row came from."""

from __future__ import annotations

import os
from collections.abc import Sequence

import dask.dataframe as dd
import pandas as pd

from laion_dask.backend import frame_to_arrow
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.errors import SchemaError, must_be, one_of
from laion_dask.exports import formats
from laion_dask.exports.formats.base import PartWriter, WrittenPart
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
    path: str | os.PathLike[str],
    format: str = "parquet",
    *,
    seed: int | None = None,
) -> Export:
    """Write the frame's rows and a manifest; the folder changes atomically. Eager.

    Rows are written in order of shard and row, however the tasks are scheduled; if the frame was
    shuffled or sorted by another column, this order holds within each part. Each nonempty partition
    becomes one part. The manifest ``_recipe.json`` is written last. It lists the inputs with size
    and digest; the filters, models and weights; versions and schema; the number of rows read, kept,
    dropped, unscored and rejected; and the sha256 of each part. The result's ``audit()`` shows
    which groups the filters excluded; ``ld.write_report(exported, "report.html")`` writes it as a
    page. The folder can be opened by name with pandas, pyarrow and DuckDB's ``**/*.parquet``, and
    with polars as ``scan_parquet(path, hidden_file_prefix="_")``.

    Parameters
    ----------
    frame : dask DataFrame
        A frame from `read_shards`.
    path : str or path
        A folder or an fsspec address: new, empty, or an earlier export, which is replaced. On a
        local file system the replacement is atomic. In an object store, or if an earlier release
        left its parts beside the manifest, a pattern such as ``**/*.parquet`` briefly matches the
        parts of both exports; `read_shards` uses the manifest, which lists the parts of one.
    format : {"parquet"}
        The name of an export format, a module in ``laion_dask.exports.formats``.
    seed : int, optional
        The seed that the frame was sampled with; recorded in the manifest.

    Raises
    ------
    OptionError
        When the format does not exist.
    SchemaError
        When the names of two columns differ only in case.
    ExportError
        When the folder contains other files, or the frame's own shards.
    ProvenanceError
        When the frame does not come from `read_shards`. All of the above are raised immediately.
    ShardError, SchemaError
        When a shard is found to be damaged while it is read; no part of the export is visible then.

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
        writer: PartWriter = formats.load(format).open(transaction.staging_folder, schema)
        written, rows = map_with_accounting(
            provenance,
            write_partition,
            writer,
            schema,
            meta=META,
            label="export",
            must_account=True,
        )
        assert rows is not None  # must_account
        parts, types = _in_order(written)
        manifest = build_manifest(provenance, schema_entries(schema, types), rows, seed)
        committed = transaction.commit(parts, writer.finish(parts), manifest)
        return Export(transaction.path, rows, committed, frame)


def export_cost(frame: PlannedFrame) -> Cost:
    """The cost of `export`, which reads and writes every column."""
    note = "export: assumes that every row is kept; the bytes read do not include those written"
    return Cost(("export",), columns=frame.columns, notes=(note,))


def _in_order(written: pd.DataFrame) -> tuple[list[WrittenPart], list[list[str]]]:
    """The parts in order, numbered, and the column types of each.

    Parts without rows are omitted; an export without any rows has one empty part.
    """
    records = written.sort_values("number").to_dict("records")
    records = [record for record in records if record["rows"]] or records[:1]
    parts = [WrittenPart(i, int(r["rows"]), tuple(r["files"])) for i, r in enumerate(records)]
    return parts, [record["types"] for record in records]


def _check_names(names: Sequence[str]) -> None:
    """Raise if column names differ only in case, which Parquet readers may ignore."""
    known: dict[str, str] = {}
    for name in names:
        if name.lower() in known:
            raise SchemaError(
                f"The columns {known[name.lower()]!r} and {name!r} differ only in case, which some "
                "readers of Parquet ignore. Rename or drop one of them."
            )
        known[name.lower()] = name
