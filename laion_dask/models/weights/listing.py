"""A list of the heads' weight files for the terminal."""

from __future__ import annotations

import os

import pandas as pd

from laion_dask.models import weights


def describe_weights() -> str:
    """Every published weight file with its publisher, license, size and state. Eager."""
    table = weights.table()
    width = table["name"].str.len().max()
    lines = []
    for keys, files in table.groupby(["use", "publisher", "licence"], sort=False):
        use, publisher, licence = map(str, keys)
        stated = "license unknown" if licence == "NOASSERTION" else licence
        lines.append(f"{use}: {publisher.removeprefix('https://')} ({stated})")
        for file in files.to_dict("records"):
            size = "size unknown" if pd.isna(file["bytes"]) else f"{file['bytes']:,} bytes"
            lines.append(f"  {file['name']:<{width}}  {size:>15}  {_with_tilde(file['state'])}")
    folders = ", then ".join(_with_tilde(str(folder)) for folder in weights.folders())
    return "\n".join(
        [
            *lines,
            "",
            f"Searched folders: {folders}. Nothing is downloaded unless you ask:",
            "`laion-dask models --download NAME` fetches a file from its publisher, 'all' fetches",
            "all. A file of unknown size is never downloaded, because its digest is not published:",
            f"put it into the folder that {weights.VARIABLE} names, or name it with",
            "--head NAME=FILE.",
        ]
    )


def _with_tilde(path: str) -> str:
    return path.replace(os.path.expanduser("~"), "~")
