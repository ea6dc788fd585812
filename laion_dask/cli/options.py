"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
