"""Near duplicates: captions that share most of their shingles, and images of near hashes."""

from __future__ import annotations

from collections.abc import Sequence

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.backend import Frame, frame_from_arrow, frame_to_arrow, is_cudf
from laion_dask.curation.bucket_pass import bucket_count
from laion_dask.curation.duplicates.exact import KEEP, Rule
from laion_dask.curation.duplicates.near_captions import SIZES, Captions
from laion_dask.curation.duplicates.near_hashes import Hashes, part_count
from laion_dask.curation.duplicates.near_pass import REPRESENTATIVE, SCHEMA, SIMILARITY, near_table
from laion_dask.curation.duplicates.semantic_groups import MAX_TABLE_ROWS, table_of_groups
from laion_dask.curation.row_table import KEY, RowTable, look_up, look_up_meta, read_block
from laion_dask.errors import OptionError, no_column, one_of
from laion_dask.extras import require_extra
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.selection import select_rows
from laion_dask.runtime import cancellation, graph
from laion_dask.schema import PROVENANCE
from laion_dask.stats.checks import check_integer

#: Buckets of hashes hold this many rows on average, see `bucket_count`.
_BUCKET = 1 << 18
_MAX_RADIUS = 16


def is_near(*options: object) -> bool:
    """Whether an option for near duplicates was given: similar, radius, or one of shingles."""
    return any(one is not None for one in options)


def is_components(rule: str | None) -> bool:
    """Whether an argument ``rule`` asks for connected components.

    Raises
    ------
    OptionError
    """
    if rule not in (None, "semdedup", "components"):
        raise one_of("rule", rule, ["semdedup", "components"])
    return rule == "components"


def check_no_near_options(*options: object) -> None:
    """Raise if an option for near duplicates was given, with embeddings."""
    if is_near(*options):
        raise OptionError(
            "similar, shingles and radius apply to a column, and by is embeddings. Expected eps, "
            "or frame.laion.dedup(by='text', similar=0.8)."
        )


def measure_of(
    frame: dd.DataFrame,
    by: str | Sequence[str],
    similar: float | None,
    radius: int | None,
    shingles: str | None,
    shingle_size: int | None,
) -> Captions | Hashes:
    """How rows are compared.

    Raises
    ------
    OptionError, ColumnError, MissingExtraError
        Immediately, when an argument or the column does not fit.
    """
    if radius is not None and similar is not None:
        raise OptionError("similar and radius were given: one compares captions, the other hashes.")
    if not isinstance(by, str):
        raise OptionError(
            f"by is {by!r}. Expected one column: near duplicates are compared by one."
        )
    if by not in frame.columns:
        raise no_column(by, frame.columns)
    type_ = frame_to_arrow(frame._meta[[by]].reset_index(drop=True)).schema.field(0).type
    type_ = type_.value_type if pa.types.is_dictionary(type_) else type_
    is_text = pa.types.is_string(type_) or pa.types.is_large_string(type_)
    is_text |= pa.types.is_null(type_) or pa.types.is_string_view(type_)
    if radius is not None:
        if shingles is not None or shingle_size is not None:
            raise OptionError("shingles apply to captions: give similar, and not radius.")
        check_integer("radius", radius, 0)
        if radius > _MAX_RADIUS:
            raise OptionError(f"radius is {radius}. Expected at most {_MAX_RADIUS} of 64 bits.")
        if not is_text and not pa.types.is_integer(type_):
            raise OptionError(
                f"by is {by!r}, a column of {type_}. Expected hashes of 64 bits: integers, or text "
                "of 16 hexadecimal digits, as frame.laion.phash(images) writes."
            )
        n_rows = (bucket_count(Provenance.of(frame)) - 1) * _BUCKET
        return Hashes(by, radius, part_count(radius, n_rows))
    if not is_text:
        raise OptionError(f"by is {by!r}, a column of {type_}. Expected text, such as 'text'.")
    if similar is None:
        raise OptionError("shingles was given without similar. Expected similar=0.8, for example.")
    if (
        isinstance(similar, bool)
        or not isinstance(similar, (int, float))
        or not 0.1 <= similar <= 1
    ):
        raise OptionError(f"similar is {similar!r}. Expected a similarity from 0.1 to 1.")
    unit = "characters" if shingles is None else shingles
    if unit not in SIZES:
        raise one_of("shingles", unit, list(SIZES))
    size = SIZES[unit] if shingle_size is None else shingle_size
    check_integer("shingle_size", size, 1)
    require_extra("dedup", "The comparison of captions")
    return Captions(by, float(similar), unit, size)


def near_dedup(
    frame: dd.DataFrame,
    measure: Captions | Hashes,
    rule: Rule,
    keep_missing: bool,
    components: bool,
) -> dd.DataFrame:
    """The rows that are near no earlier row, or the first of each component. Lazy."""
    Provenance.of(frame).check_row_identity()
    table = near_table(frame, measure, rule, components)
    decided = graph.map_columns(
        frame,
        _decisions,
        table,
        measure,
        keep_missing,
        reads=list(dict.fromkeys([*(measure.reads if keep_missing else []), *PROVENANCE])),
        meta=look_up_meta(frame._meta, SCHEMA, [KEEP]),
    )
    return select_rows(frame, decided[KEEP], _text(measure, rule, keep_missing, components))


def _text(measure: Captions | Hashes, rule: Rule, keep_missing: bool, components: bool) -> str:
    text = f"dedup(by={measure.column!r}"
    if isinstance(measure, Hashes):
        text += f", radius={measure.radius}"
    else:
        text += f", similar={measure.similar}, shingles={measure.shingles!r}"
        text += f", shingle_size={measure.size}"
    text += ", rule='components'" if components else ""
    text += f", keep={rule}" + (f", seed={rule.seed}" if rule.how == "random" else "")
    return text + (", missing='keep')" if keep_missing else ")")


def _decisions(
    part: Frame, table: RowTable, measure: Captions | Hashes, keep_missing: bool
) -> Frame:
    found = look_up(part, table, [KEEP])
    if not keep_missing:
        return found
    _, valid = measure.compared(part)
    keep = frame_to_arrow(found.reset_index(drop=True))[KEEP].combine_chunks()
    filled = pc.if_else(pa.array(valid), keep, pa.scalar(True))
    result = frame_from_arrow(pa.table({KEEP: filled}), "cudf" if is_cudf(part) else "pandas")
    result.index = part.index
    return result


def near_groups(
    frame: dd.DataFrame, measure: Captions | Hashes, rule: Rule, most: int, components: bool
) -> pd.DataFrame:
    """The largest groups of near duplicates, as a table like that of semantic ones. Eager.

    A dropped row is in the group of the row to which its representatives lead.
    """
    Provenance.of(frame).check_row_identity()
    (table,) = graph.compute(near_table(frame, measure, rule, components), label="duplicates")
    n_rows = len(frame)
    key, representative, similarity = _dropped(table)
    root = _roots(key, representative)
    if components:  # a row equal to another one that is dropped is as near to the first as that one
        indirect = np.flatnonzero(representative != root)
        similarity[indirect] = similarity[np.searchsorted(key, representative[indirect])]
        representative = root
    kept = np.unique(root)
    arrays = {
        "group": np.concatenate([kept, root]),
        "key": np.concatenate([kept, key]),
        "representative": np.concatenate([kept, representative]),
        "similarity": np.concatenate([np.full(len(kept), np.nan), similarity]),
    }
    is_dropped = arrays["key"] != arrays["group"]
    order = np.lexsort((arrays["key"], is_dropped, arrays["group"]))
    arrays = {name: one[order] for name, one in arrays.items()}
    sizes = np.unique(arrays["group"], return_counts=True)[1]
    starts = np.cumsum(sizes) - sizes
    arrays["rank"] = np.arange(len(order)) - np.repeat(starts, sizes) + 1
    by_size = np.argsort(-sizes, kind="stable")
    number = np.empty(len(sizes), np.int64)
    number[by_size] = np.arange(len(sizes))
    result = table_of_groups(arrays)
    result["group"] = np.repeat(number, sizes)
    result = result[result["group"] < most]
    result = result.sort_values(["group", "rank"], kind="stable", ignore_index=True)
    result.attrs = {
        "rows": n_rows,
        "missing": n_rows - table.n_rows,
        "groups": len(sizes),
        "repeats": len(key),
    }
    return result


def _dropped(table: RowTable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The dropped rows in ascending order, their representatives, and the similarities."""
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    n = 0
    for block in table.blocks.tolist():
        cancellation.check()
        stored = read_block(table.folder, block)
        keep = stored[KEEP].to_numpy()
        columns = (stored[name].to_numpy()[~keep] for name in (KEY, REPRESENTATIVE, SIMILARITY))
        found.append(tuple(columns))
        n += len(found[-1][0])
        if n > MAX_TABLE_ROWS:
            raise OptionError(
                f"More than {MAX_TABLE_ROWS:,} rows are near duplicates. Expected a table that "
                "fits into memory: look at a sample of the rows first."
            )
    key, representative, similarity = (np.concatenate(one) for one in zip(*found, strict=True))
    order = np.argsort(key)
    return key[order], representative[order], similarity[order]


def _roots(key: np.ndarray, representative: np.ndarray) -> np.ndarray:
    """The kept row to which the representatives of each dropped row lead; keys ascend."""
    root = representative.copy()
    while len(key):
        at = np.minimum(np.searchsorted(key, root), len(key) - 1)
        is_dropped = key[at] == root
        if not is_dropped.any():
            break
        root[is_dropped] = root[at[is_dropped]]
    return root
