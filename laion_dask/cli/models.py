"""Commands for getting started: the weight files of heads, and the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from laion_dask.cli.app import app
from laion_dask.cli.output import say, say_json
from laion_dask.cli.shared_options import Json


@app.command(epilog="Example: laion-dask models --download sa_0_4_vit_l_14_linear.pth")
def models(
    download: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Download this file from its publisher, or 'all'; repeatable."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List the weight files of heads, and which of them are on this machine."""
    from laion_dask.models import weights
    from laion_dask.models.weights.listing import describe_weights

    offered = [name for name, file in weights.REGISTRY.items() if file.can_be_fetched]
    for name in offered if "all" in (download or ()) else download or ():
        say(weights.download(name))
    if json:
        say_json({"results": weights.table(), "folders": weights.folders()})
    elif not download:
        say(describe_weights())


@app.command(epilog="Example: laion-dask demo demo-corpus/")
def demo(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder for the corpus and the results.")
    ] = Path("demo-corpus"),
    images: Annotated[
        int | None,
        typer.Option(min=100, metavar="N", help="Number of images. [default: 4000, if none exist]"),
    ] = None,
) -> None:
    """Run the main job on a small synthetic corpus.

    Generates images, embeds, scores and filters them, and writes reports.
    """
    from laion_dask.demo.job import run

    say(run(out, n_images=images))
