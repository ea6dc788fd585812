"""The columns of a frame that a sample keeps."""

from __future__ import annotations

import pyarrow as pa

from laion_dask.backend import check_names, frame_to_arrow
from laion_dask.dtypes import ColumnTypes, column_type
from laion_dask.explorer.columns import SITES
from laion_dask.frame.provenance import Provenance


def kept_types(provenance: Provenance) -> ColumnTypes:
    """The types of the columns that are kept: no images, embeddings or other nested values.

    Raises
    ------
    SchemaError
        When a name is not text.
    """
    check_names(provenance.frame._meta)
    as_read = provenance.as_read
    if as_read is not None:
        of_scan = as_read[0].column_types
        types = ColumnTypes.of(
            {name: of_scan[name] for name in provenance.frame.columns}, as_read[0].half
        )
    else:
        types = provenance.column_types(column_type)
    meta = provenance.frame._meta
    schema = frame_to_arrow(meta.reset_index(drop=True)).schema
    kept = {name: types[name] for name in types if _can_be_shown(schema.field(name).type)}
    return ColumnTypes.of(kept, types.half)


def _can_be_shown(type_: pa.DataType) -> bool:
    t = pa.types
    is_binary = t.is_binary(type_) or t.is_large_binary(type_) or t.is_fixed_size_binary(type_)
    return not (is_binary or t.is_nested(type_))


def sites_of(types: ColumnTypes) -> dict[str, str]:
    """The columns of URLs by the level of their labels: ``domain`` and ``tld``."""
    return dict.fromkeys(SITES, "url") if types.get("url") == "string" else {}
