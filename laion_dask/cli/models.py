"""Commands for a start: the weight files of heads, and the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from laion_dask.cli.app import app
from laion_dask.cli.options import Json
from laion_dask.cli.output import say, say_json


@app.command(epilog="Example: laion-dask models --download sa_0_4_vit_l_14_linear.pth")
def models(
    download: Annotated[
        list[str] | None, typer.Option(help="Fetch this file from its publisher; 'all' for all.")
    ] = None,
    json: Json = False,
) -> None:
    """The weight files that heads use: publisher, licence, size, and which are here."""
    from laion_dask.explore.weight_list import describe_weights
    from laion_dask.models import weights

    offered = [name for name, file in weights.REGISTRY.items() if file.can_be_fetched]
    for name in offered if "all" in (download or ()) else download or ():
        say(weights.download(name))
    if json:
        say_json({"files": weights.table(), "folders": weights.folders()})
    elif not download:
        say(describe_weights())


@app.command(epilog="Example: laion-dask demo demo-corpus/")
def demo(
    out: Annotated[Path, typer.Argument(help="Folder for the corpus and results.")] = Path(
        "demo-corpus"
    ),
    images: Annotated[
        int | None, typer.Option(min=100, help="How many images; 4000 where none are there yet.")
    ] = None,
) -> None:
    """The main job on a small corpus of our own: generate, embed, score, carve, report."""
    from laion_dask.demo.job import run

    say(run(out, n_images=images))
