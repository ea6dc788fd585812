"""The weight files that heads use, as a list to read in a terminal."""

from __future__ import annotations

import os

import pandas as pd

from laion_dask.models import weights


def describe_weights() -> str:
    """Every published weight file with its publisher, licence, size and state. Eager."""
    found = weights.table()
    wide = found["name"].str.len().max()
    lines = []
    for (use, publisher, licence), files in found.groupby(
        ["use", "publisher", "licence"], sort=False
    ):
        stated = "licence not known" if licence == "NOASSERTION" else licence
        lines.append(f"{use}: {publisher.removeprefix('https://')} ({stated})")
        for file in files.itertuples():
            size = "size not known" if pd.isna(file.bytes) else f"{file.bytes:,} bytes"
            lines.append(f"  {file.name:<{wide}}  {size:>15}  {_short(file.state)}")
    places = ", then ".join(_short(str(folder)) for folder in weights.folders())
    return "\n".join(
        [
            *lines,
            "",
            f"Looked for in {places}. Nothing is fetched unasked:",
            "`laion-dask models --download NAME` brings one from its publisher, 'all' all of them.",
            "One whose size is not known is never fetched, as its digest is not published: put it",
            f"into the folder that {weights.VARIABLE} names, or name it with --head NAME=FILE.",
        ]
    )


def _short(text: str) -> str:
    return text.replace(os.path.expanduser("~"), "~")
