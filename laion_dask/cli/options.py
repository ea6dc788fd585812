"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from laion_dask.errors import OptionError

Source = Annotated[str, typer.Argument(help="A shard, folder, pattern or fsspec address.")]
Where = Annotated[str | None, typer.Option(help="Keep the rows for which this is true.")]
Model = Annotated[
    str, typer.Option(help="open_clip architecture, as NAME or NAME:PRETRAINED; or 'demo'.")
]
Vectors = Annotated[str, typer.Option(help="Embeddings of SOURCE: .npy, .npz or Parquet.")]
Heads = Annotated[
    list[str] | None,
    typer.Option(
        help="aesthetic, aesthetic_v2, demo_safety, inappropriate, nsfw, or one of these but "
        "demo_safety with its weights as NAME=FILE; repeatable."
    ),
]
Join = Annotated[
    str | None,
    typer.Option(help="Parquet shards of scores to join by key; WHERE may use their columns."),
]
On = Annotated[
    list[str] | None, typer.Option(help="The key of --join, such as hash or url; repeatable.")
]
Format = Annotated[str, typer.Option(help="What the parts are: parquet.")]
Report = Annotated[
    Path | None, typer.Option(help="A page to write: what was kept, and whom WHERE left out.")
]
By = Annotated[
    list[str] | None,
    typer.Option(
        help="Column to group the report's audit by; repeatable. By default language and "
        "the people that captions mention."
    ),
]


def read(source: str, where: str | None, join: str | None = None, on: list[str] | None = None):
    """The frame of SOURCE, with the scores that --join names, and the rows that WHERE keeps."""
    from laion_dask.io.shards import read_shards
    from laion_dask.verbs.join import join as joined

    if join is None:
        if on:
            raise OptionError("--on applies to --join; add --join PATH.")
        return read_shards(source, where=where)
    frame = joined(read_shards(source), join, on=on or "hash")
    return frame if where is None else frame.laion.where(where)
