"""The command that opens the explorer."""

from __future__ import annotations

from typing import Annotated

import typer

from laion_dask.cli.app import app
from laion_dask.cli.output import end_status, say
from laion_dask.cli.shared_options import Field, Model, OptionalVectors, Where, reads_shards


@app.command(
    epilog="Example: laion-dask explore shards/ --embeddings img_emb/ --model ViT-L-14:openai"
)
@reads_shards
def explore(
    read,
    where: Where = None,
    embeddings: OptionalVectors = None,
    model: Model = "demo",
    field: Field = None,
    images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Images of SOURCE: .tar archives, Parquet files or folders; repeatable.",
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option(min=1, metavar="N", help="Rows to draw; all, if there are no more.")
    ] = 1_000_000,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the sample.")] = 0,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, metavar="N", help="Port to listen on. [default: 5006, if it is free]"
        ),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.")
    ] = False,
) -> None:
    """Explore rows in the browser: linked histograms, values, map, table and gallery.

    Draws a sample, then serves the page to this machine only and prints its address. Ctrl-C ends
    it. Nothing is fetched from the web.
    """
    from laion_dask.explorer.app.explore import check_arguments
    from laion_dask.extras import require_extra
    from laion_dask.frame.embeddings import open_embeddings
    from laion_dask.io.images.images import open_images

    require_extra("explore", "laion-dask explore")
    frame = read(where=where)
    vectors = pictures = None
    if embeddings:
        vectors = open_embeddings(embeddings, model=model, like=frame, field=field)
    if images:
        pictures = open_images(images if len(images) > 1 else images[0])
    check_arguments(frame, vectors, pictures, sample, seed)
    from laion_dask.explorer.app.explorer import Explorer
    from laion_dask.explorer.app.server import free_port, serve
    from laion_dask.explorer.app.warm_up import warm_up_views
    from laion_dask.explorer.sample import draw_sample

    free_port(port)
    drawn = draw_sample(frame, sample, seed)
    warm_up_views(drawn)
    end_status()
    chosen = free_port(port)  # another program may have taken the usual one meanwhile
    kind = "all" if drawn.is_whole else f"{drawn.n:,} of"
    serve(
        lambda: Explorer(lambda: drawn, vectors, pictures, is_page=True),
        title="Explorer",
        port=chosen,
        open_browser=open_browser,
        ready=lambda address: say(
            f"Exploring {kind} {drawn.n_rows:,} rows at {address} (Ctrl-C ends it)"
        ),
    )
