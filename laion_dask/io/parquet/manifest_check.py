"""Compare the parts of exports with their manifests."""

from __future__ import annotations

from collections.abc import Sequence

from laion_dask.io.parquet.parsed_footer import Footer
from laion_dask.io.storage.export_manifest import Manifest, Part, altered_error, listed_parts


def check_footers(footers: Sequence[Footer]) -> None:
    """Compare the footers of parts with the manifests in their folders.

    Files that are not in a manifest are skipped.

    Raises
    ------
    ShardError
        When the rows or bytes of a part differ from those in its manifest.
    """
    listed: dict[str, tuple[Part, Manifest]] = {}
    for folder in {footer.path.rpartition("/")[0] for footer in footers}:
        listed |= listed_parts(folder)
    if not listed:
        return
    for footer in footers:
        if footer.path not in listed:
            continue
        part, manifest = listed[footer.path]
        for actual, expected, unit in (
            (footer.size, part.bytes, "bytes"),
            (footer.n_rows, part.rows, "rows"),
        ):
            if expected is not None and actual != expected:
                raise altered_error(part, manifest, f"has {actual:,} {unit}, not {expected:,}")
