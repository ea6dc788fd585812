"""What the core can do without the extras: a script that takes a folder of shards and an output.

``python metadata_work.py SHARDS OUT`` prints the packages of the extras that it has loaded.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import laion_dask as ld

#: Packages of the extras; work on metadata loads none of them.
OF_EXTRAS = (
    *("bokeh", "faiss", "holoviews", "open_clip", "panel", "profanity_check", "s3fs"),
    *("safetensors", "sklearn", "timm", "torch", "torchvision", "transformers"),
)


def work(shards: str, out: Path) -> None:
    """Read, join, filter, detect languages, count, audit, report, export, verify, plan."""
    frame = ld.read_shards(shards, where="width >= 64")
    assert str(frame.laion.summary())
    hashes = frame["hash"].compute().drop_duplicates()
    scores = pd.DataFrame({"hash": hashes, "quality": np.linspace(0, 1, len(hashes))})
    scores.to_parquet(out / "quality.parquet")
    joined = frame.laion.join(out / "quality.parquet", on="hash")
    named = joined.laion.language()
    gender = ld.terms("gender")
    table = ld.statistics(
        named,
        ld.describe(),
        ld.concentration("domain"),
        ld.rates("punsafe > 0.5", by=[gender, "language"]),
        ld.cooccurrence(ld.terms("occupations"), by=gender),
        ld.duplicate_share("url"),
    )
    assert len(table.to_markdown()) > 100
    assert len(frame.laion.audit("similarity > 0.3", by=["language", gender]))
    kept = joined.laion.where("similarity > 0.3 and quality < 0.9")
    export = kept.laion.export(out / "kept")
    ld.verify(out / "kept")
    ld.write_report(export, out / "kept.html")
    again = ld.read_shards(out / "kept")
    assert len(again) == export.rows.kept > 0
    assert str(ld.plan(frame, ["summary", "export"]))


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]))
    print(*sorted(set(OF_EXTRAS) & set(sys.modules)))
