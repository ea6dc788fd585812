"""What a notebook shows of a frame that comes from shards: its origin and its columns.

Nothing is read or computed: shards and rows are those of the footers that `read_shards` has read.
"""

from __future__ import annotations

import dask.dataframe as dd

from laion_dask.dialects import recognize
from laion_dask.display.grid import Grid
from laion_dask.display.overview import Overview
from laion_dask.errors import ProvenanceError
from laion_dask.formatting import counted, in_bytes
from laion_dask.frame.computed_columns import computed_texts
from laion_dask.frame.filter_text import STEP
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet.shard import shards_of
from laion_dask.runtime.dask_expressions import Assign

#: Columns and filters that are shown.
_MAX_COLUMNS, _MAX_FILTERS = 40, 6
_ADVICE = "Lazy: .head() reads some rows, .laion lists the verbs."


def frame_overview(frame: dd.DataFrame) -> Overview | None:
    """The overview of a frame from shards; None for any other frame. Lazy: nothing is read."""
    facts = origin(frame)
    if facts is None:
        return None
    stored = _stored_names(Provenance.of(frame))
    columns = [(str(name), str(dtype)) for name, dtype in frame.dtypes.items()]
    rows = [(name, dtype, (stored or {}).get(name, "computed")) for name, dtype in columns]
    width = 2 if stored is None else 3
    shown = tuple(row[:width] for row in rows[:_MAX_COLUMNS])
    grid = Grid(("column", "dtype", "stored as")[:width], shown, len(shown))
    left_out = len(columns) - len(shown)
    notes = [f"{counted(left_out, 'more column')}."] if left_out else []
    return Overview("Dask DataFrame from shards", facts, grids=[grid], notes=[*notes, _ADVICE])


def origin(frame: dd.DataFrame) -> dict[str, object] | None:
    """Shards, rows, filters and partitions of a frame; None if it does not come from shards."""
    provenance = Provenance.of(frame)
    try:
        partitions = provenance.partitions
        filters = provenance.filters
    except ProvenanceError:
        return None
    shards = list(shards_of(partitions))
    first, others = shards[:1], len(shards) - 1
    dialect = recognize(old for shard in first for old, _, _ in shard.columns)
    n_rows = sum(partition.n_rows for partition in partitions)
    shown = filters[:_MAX_FILTERS]
    left_out = len(filters) - len(shown)
    return {
        "shards": f"{len(shards):,}, {in_bytes(sum(shard.size for shard in shards))}",
        "first": first[0].path if first else None,
        "others": f"{others:,} more" if others > 0 else None,
        "dialect": dialect.name,
        "rows read": f"{n_rows:,}, by the footers",
        "filters": " and ".join(shown) + (f" and {left_out:,} more" if left_out else "") or None,
        "partitions": f"{frame.npartitions:,}",
    }


def _stored_names(provenance: Provenance) -> dict[str, str] | None:
    """The names of columns in the first shard; None if a step may have renamed or changed them."""
    texts = computed_texts(provenance)
    if any(text.startswith(STEP) and not text.startswith(f"{STEP} assign ") for text in texts):
        return None
    assigned = {
        str(name) for step, _ in provenance.steps if isinstance(step, Assign) for name in step.keys
    }
    names = {"shard": "number of the file", "row": "position in the file"}
    for shard in list(shards_of(provenance.partitions))[:1]:
        names |= {new: old for old, new, _ in shard.columns}
        names |= {new: f"folder {key}=…" for key, new, _ in shard.partition}
    return {name: old for name, old in names.items() if name not in assigned}
