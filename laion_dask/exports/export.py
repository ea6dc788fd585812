"""Write a frame as a committed subset with a manifest that records where every row came from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import dask.dataframe as dd
import numpy as np
import pyarrow as pa

from laion_dask.backend import check_names, frame_to_arrow
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.errors import OptionError, SchemaError, must_be, one_of, parameter
from laion_dask.exports import formats
from laion_dask.exports.card import Card
from laion_dask.exports.documents import audit_table, checksums, documents_of
from laion_dask.exports.formats.base import PartWriter, WrittenPart
from laion_dask.exports.formats.repeats import REPEATS
from laion_dask.exports.formats.staged_files import StagedFile, StagingFolder
from laion_dask.exports.manifest import build_manifest, funnel_if_empty
from laion_dask.exports.part_schema import part_schema
from laion_dask.exports.parts import write_parts
from laion_dask.exports.plan import plan_of
from laion_dask.exports.quarantine import PartitionReader
from laion_dask.exports.records import Records
from laion_dask.exports.result import Export
from laion_dask.exports.resume import Layout, done_before
from laion_dask.exports.rights import tells_rights, total_rights
from laion_dask.exports.transaction import ExportTransaction
from laion_dask.frame.accounting import Rows
from laion_dask.frame.own_inputs import refuse_folder_of_inputs
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.scans import check_shard_numbers
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.parquet import duckdb_connection
from laion_dask.schema import PROVENANCE
from laion_dask.validation import whole_number


def export(
    frame: dd.DataFrame,
    path: str | os.PathLike[str],
    format: str = "parquet",
    *,
    rows_per_part: int | None = None,
    seed: int | None = None,
    card: Mapping[str, Any] | None = None,
    audit: bool | str | Sequence[str] = False,
    strict: bool = True,
    **options: Any,
) -> Export:
    """Write the frame's rows and a manifest; the folder changes atomically. Eager.

    Rows are written in order of shard and row, however the tasks are scheduled; if the frame was
    shuffled or sorted by another column, it is cut into parts in the order of its partitions, and
    this order holds within each part. The parts and their bytes depend on the rows alone, not on
    partitions or workers. Until its part is written, a row is also in a hidden file of the folder,
    uncompressed unless in an object store: there must be room for about four times the parts.

    The manifest ``_recipe.json`` is written last. It lists the inputs with size and digest; the
    filters, models and weights; versions and schema; the number of rows read, kept, dropped,
    unscored and rejected; and the sha256 of each part. The result's ``audit()`` shows which groups
    the filters excluded; ``ld.write_report(exported, "report.html")`` writes it as a page. The
    folder can be opened by name with pandas, pyarrow and DuckDB's ``**/*.parquet``, and
    with polars as ``scan_parquet(path, hidden_file_prefix="_")``.

    Parameters
    ----------
    frame : dask DataFrame
        A frame from `read_shards`.
    path : str or path
        A folder or an fsspec address: new, empty, or an earlier export, which is replaced. On a
        local file system the replacement is atomic. In an object store, parts are written once, in
        their place, and one conditional request replaces the manifest: while an export runs, a
        pattern such as ``**/*.parquet`` also matches the parts written so far; `read_shards` uses
        the manifest, which lists the parts of one. The same holds briefly if an earlier release
        left its parts beside the manifest.
    format : str
        ``"parquet"``, ``"csv"``, ``"urls"``, ``"img2dataset"``, ``"datacomp"``, ``"webdataset"``,
        ``"huggingface"``, ``"embeddings"`` or ``"lance"``: each is a module in
        ``laion_dask.exports.formats``, and described in ``docs/how-to/export.md``.
    rows_per_part : int, optional
        Rows of each part but the last. By default parts are equal and as few as possible, with at
        most a million rows, and at most 256 MB in memory on average. Recorded in the manifest. A
        part is in memory while it is written, one per thread.
    seed : int, optional
        The seed that the frame was sampled with; recorded in the manifest.
    card : mapping of str to str, optional
        What only you can say about the subset: ``name``, ``description``, ``creator``,
        ``license``, ``url``, ``version``, ``date_published``, ``cite_as``, ``language``. Written
        to ``_croissant.json`` (Croissant 1.1) and ``_datasheet.md``, which are beside the manifest
        and "unknown" where you say nothing.
    audit : bool, str or list of str
        Whether to write `Export.audit` as ``_audit.csv``, which reads some columns again; or the
        groups to audit, as its ``by``.
    strict : bool
        What happens if some rows end every worker process that reads them, such as a shard that
        crashes a decoder. By default, the export stops with an error that names them. If False,
        they are set aside: the manifest lists them under ``quarantined``, they count as rejected,
        and a warning names them. Only with a distributed client, and if no step mixes partitions.
    **options
        Options of the format: ``names="laion"`` (parquet), ``images=``, ``caption=``, ``decode=``
        (webdataset), ``embeddings=`` (embeddings).

    Raises
    ------
    OptionError
        When the format does not exist or does not have an option, or a value is not valid.
    SchemaError
        When the names of two columns differ only in case.
    ExportError
        When the folder contains other files, or the frame's own shards.
    ProvenanceError
        When the frame does not come from `read_shards`. All of the above are raised immediately.
    ExportConflictError
        When another export has changed the folder since this one began; nothing is visible then.
    ShardError, SchemaError
        When a shard is found to be damaged while it is read, or a column has values of several
        types; no part of the export is visible then.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> done = frame.laion.where("width >= 256").laion.export("wide")
    >>> done.rows.kept == len(ld.read_shards("wide"))
    True
    """
    return export_with_notes(
        frame,
        path,
        None,
        format=format,
        rows_per_part=rows_per_part,
        seed=seed,
        card=card,
        audit=audit,
        strict=strict,
        **options,
    )


def export_with_notes(
    frame: dd.DataFrame,
    path: str | os.PathLike[str],
    notes: Callable[
        [Rows, Sequence[WrittenPart], Provenance], tuple[Mapping[str, Any], Mapping[str, bytes]]
    ]
    | None,
    computed: Callable[[], dd.DataFrame] | None = None,
    identity: str | None = None,
    format: str = "parquet",
    *,
    rows_per_part: int | None = None,
    seed: int | None = None,
    card: Mapping[str, Any] | None = None,
    audit: bool | str | Sequence[str] = False,
    strict: bool = True,
    **options: Any,
) -> Export:
    """Export as `export` does, with more entries in the manifest. Eager.

    Parameters
    ----------
    notes : callable, optional
        ``notes(rows, parts, read)`` returns the entries, and documents by name; ``read`` is the
        frame that was computed, without what was set aside. It is called once the parts are
        written, before they are visible; if it raises, they never are.
    computed : callable, optional
        Returns the rows and partitions of the frame in another frame, which is computed instead. It
        may take passes: it is called when the folder is known to be free.
    identity : str, optional
        What the rows and partitions follow from, besides the shards; by default the frame's graph.
        A pass has another name in each process, so its export could not be resumed.
    """
    if format not in formats.names():
        raise one_of("format", format, formats.names())
    must_be("path", path, (str, os.PathLike), "a folder or an address")
    formats.check_options(format, options)
    described = Card.of(card)
    if rows_per_part is not None:
        name = parameter("rows_per_part")
        rows_per_part = whole_number(name, rows_per_part, "the rows of each part")
    transaction = ExportTransaction(os.fspath(path))
    provenance = Provenance.of(frame)
    check_shard_numbers(provenance.sources)
    refuse_folder_of_inputs(transaction.path, transaction.address, provenance)
    options = {name: _paired(value, provenance) for name, value in options.items()}
    check_names(frame._meta)
    schema = part_schema(frame_to_arrow(frame._meta).schema)
    _check_names(schema.names)
    transaction.plan = plan_of(provenance, (format, options), schema, rows_per_part, seed, identity)
    with transaction:
        staging = transaction.staging_folder
        writer: PartWriter = formats.load(format).open(staging, schema, **options)
        _check_target(writer, transaction, format)
        rows_of_part = rows_per_part or writer.rows_per_part
        needed = _needed_columns(format, schema.names, provenance.number_column)
        schema = pa.schema([field for field in schema if field.name in needed])
        layout = partial(Layout.of, schema=schema, rows_per_part=rows_of_part)
        records = Records(staging)
        before = done_before(records, transaction.plan.partitions, layout)
        source = provenance if computed is None else Provenance.of(computed())
        reader = PartitionReader(_selection(source, needed), records, schema, strict)
        fragments, rows = reader.read(before.partitions)
        cut = layout(fragments)
        schema, n = cut.schema, cut.rows_per_part
        duckdb_connection.free_memory()  # the parts need as much
        parts = write_parts(cut.slices, writer, records, schema, before.parts, reader.order_by)
        rights = total_rights([part.rights for part in parts], rows.written)
        draws = [part.draws for part in parts if part.draws is not None]
        parts, index = _finished(writer, parts, staging)
        read = reader.remaining(source)
        manifest = build_manifest(provenance, schema, rows, n, seed)
        if reader.quarantined:
            manifest["quarantined"] = reader.entries()
        manifest |= {
            "format": format,
            "format_options": _recorded(options),
            "card": dict(card or {}),
        }
        manifest["rights"] = rights
        manifest |= {"draws": sum(draws)} if len(draws) == len(parts) else {}
        noted = (funnel_if_empty(read, rows), {}) if notes is None else notes(rows, parts, read)
        manifest |= noted[0]
        documents = documents_of(writer, parts, index, manifest, schema, described, format)
        documents |= noted[1]
        done = Export(transaction.path, rows, {}, reader.remaining(provenance).frame)
        if audit is not False:
            documents["_audit.csv"] = audit_table(done, audit)
        committed = transaction.commit(parts, index, manifest, documents)
        return replace(done, manifest=committed)


def _needed_columns(format: str, columns: Sequence[str], number: str | None = None) -> list[str]:
    """The columns that an export reads: of its format, identity, draws, licenses and consent."""
    needed = {*formats.columns_read(format, columns), *PROVENANCE, number, REPEATS}
    return [name for name in columns if name in needed or tells_rights(name)]


def _selection(provenance: Provenance, columns: Sequence[str]) -> Provenance:
    """Some columns of a frame; a named index, which is exported as a column too, stays."""
    known = list(provenance.frame.columns)
    selected = [name for name in known if name in columns]
    return provenance if selected == known else provenance.select(selected)


def _finished(
    writer: PartWriter, parts: Sequence[WrittenPart], staging: StagingFolder
) -> tuple[list[WrittenPart], list[StagedFile]]:
    """The parts with the names that the format gives, and the files that it adds."""
    parts = writer.merge(parts)
    parts = [part.named(writer.final_names(part, len(parts))) for part in parts]
    index = list(writer.finish(parts))
    digests = checksums(parts)
    if digests:
        index.append(staging.write("index.sha256", digests.encode()))
    return parts, index


def _paired(value: Any, provenance: Provenance) -> Any:
    """An option of a format; embeddings are paired with the shards of the frame."""
    if isinstance(value, Embeddings):
        return value.paired_with(provenance.shards)
    if isinstance(value, Mapping):
        return {name: _paired(one, provenance) for name, one in value.items()}
    return value


def _recorded(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a format as the manifest has them: plain values, or what an object says."""
    plain = (str, bool, int, float, type(None))
    return {n: v if isinstance(v, plain) else repr(v) for n, v in sorted(options.items())}


def _check_target(writer: PartWriter, transaction: ExportTransaction, format: str) -> None:
    if writer.is_local and not transaction.is_local:
        raise OptionError(
            f"The format {format!r} cannot be written to {transaction.path}. Name a local folder, "
            "and copy it there."
        )


def export_cost(frame: PlannedFrame, format: str = "parquet") -> Cost:
    """The cost of `export` in a format, which reads and writes every column that the format has.

    Raises
    ------
    OptionError
        When the format does not exist, or needs embeddings and the plan has none.
    """
    if format not in formats.names():
        raise one_of("format", format, formats.names())
    notes = ["export: assumes that every row is kept; the bytes read do not include those written"]
    vectors = 0
    if format == "embeddings":
        embeddings = frame.embeddings_for("export")
        vectors = len(embeddings) * embeddings.dim * np.dtype(embeddings.dtype).itemsize
    if format == "webdataset":
        notes.append("export: without the bytes of the images, and the time to decode them")
    columns = tuple(_needed_columns(format, frame.columns))
    return Cost(("export",), columns=columns, other_bytes=vectors, notes=tuple(notes))


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
