"""Parts of exports compared with the manifests that list them."""

from __future__ import annotations

from collections.abc import Sequence

from laion_dask.io.parquet.footer import Footer
from laion_dask.io.storage.export_manifest import listed_parts, unlike


def check_footers(footers: Sequence[Footer]) -> None:
    """Compare the footers of parts with what the recipes in their folders list.

    Files that no recipe lists are not looked at.

    Raises
    ------
    ShardError
        When a part has another number of rows or bytes.
    """
    listed = {}
    for folder in {footer.path.rpartition("/")[0] for footer in footers}:
        listed |= listed_parts(folder)
    if not listed:
        return
    for footer in footers:
        part, recipe = listed.get(footer.path, (None, None))
        if part is None:
            continue
        for n, wanted, unit in (
            (footer.size, part.bytes, "bytes"),
            (footer.n_rows, part.rows, "rows"),
        ):
            if wanted is not None and n != wanted:
                raise unlike(part, recipe, f"has {n:,} {unit}, not {wanted:,}")
