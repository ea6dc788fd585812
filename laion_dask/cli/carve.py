"""Commands that carve by a recipe: recipes, carve, replay."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from typing import Annotated

import typer

from laion_dask.cli.app import app
from laion_dask.cli.output import check_out, say, say_json
from laion_dask.cli.shared_options import (
    Field,
    Json,
    NoStrict,
    OutAddress,
    Reading,
    Report,
    RowsPerPart,
    reads_shards,
)
from laion_dask.errors import OptionError


@app.command(epilog="Example: laion-dask recipes datacomp-basic")
def recipes(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Print the YAML of this recipe.")
    ] = None,
    json: Json = False,
) -> None:
    """List the recipes that ship with the package, or print one."""
    from laion_dask.curation.recipes import library
    from laion_dask.curation.recipes.recipe_table import recipes as table

    if name is not None:
        text, _ = library.text_of(name)
        sys.stdout.write(text)
        return
    found = table()
    if json:
        say_json(found)
        return
    width = max(map(len, found["name"]))
    for row in found.to_dict("records"):
        say(f"{row['name']:{width}}  {row['title']}")
        say(f"{'':{width}}  {row['paper']}; needs {row['needs'] or 'nothing'}")


@app.command(
    epilog="Example: laion-dask carve datacomp-clip-score shards/ subset/ --set fraction=0.2"
)
@partial(reads_shards, before=("recipe",))
def carve(
    read: Reading,
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="Name of a recipe, or a .yaml file of your own."),
    ],
    out: OutAddress,
    embeddings: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Image embeddings of SOURCE; or NAME=PATH, such as text=text_emb/. Repeatable.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="CLIP model of --embeddings, such as ViT-L-14:openai."),
    ] = None,
    field: Field = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Set a parameter; repeatable."),
    ] = None,
    format: Annotated[
        str | None, typer.Option(metavar="NAME", help="File format of the export.")
    ] = None,
    rows_per_part: RowsPerPart = None,
    no_strict: NoStrict = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what the run would cost, and stop.")
    ] = False,
    report: Report = None,
) -> None:
    """Carve a subset by a recipe: print the funnel and the audit, and store both in OUT."""
    from laion_dask.curation.recipes.recipe import Recipe

    loaded = Recipe.load(recipe)
    chosen = _with_reading(loaded.with_parameters(**_parameters(set_, loaded)), read)
    strict = False if no_strict else None  # the recipe may say it too
    options = {"format": format, "rows_per_part": rows_per_part, "strict": strict}
    given = {name: value for name, value in options.items() if value is not None}
    vectors = _opened(read, embeddings, model, field)
    if plan:
        say(chosen.plan(read.source, vectors))
        return
    check_out(read(), report, made=out)
    done = chosen.run(read.source, out, vectors, **given)
    say(done)
    if report is not None:
        from laion_dask.reports.report import write_report

        say(f"the report, with an audit of the steps, is {write_report(done.export, report)}")


def _parameters(pairs: list[str] | None, recipe) -> dict:
    """The parameters of --set: text where the recipe has text, else as YAML reads the value.

    Only a value that begins with a bracket or a quote is YAML as a whole, so that a path or a
    caption may have ``#`` and ``: `` in it.
    """
    from laion_dask.curation.recipes.document import read_document, scalar

    values = {}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not (name and equals):
            raise OptionError(f"--set is {pair!r}. Expected NAME=VALUE, such as fraction=0.3.")
        text = text.strip()
        is_text = isinstance(recipe.parameters.get(name, {}).get("default"), str)
        if text[:1] in tuple("[{'\""):
            values[name] = read_document(text, f"--set {name}").tree
        else:
            values[name] = text if is_text or not text else scalar(text)
    return values


def _with_reading(recipe, read: Reading):
    """The recipe with the reading options of the command, so that a replay reads alike."""
    steps, document = list(recipe.steps), recipe.document
    if read.join is not None:
        document = document.with_steps([None, *range(len(steps))])
        steps.insert(0, {"join": {"scores": read.join, **read.join_options}})
    source = {**recipe.source, **read.options}
    return replace(recipe, source=source, steps=steps, document=document)


def _opened(read: Reading, embeddings: list[str] | None, model, field) -> dict | None:
    """Embeddings by name."""
    from laion_dask.frame.embeddings import open_embeddings

    if not embeddings:
        return None
    named = (one.partition("=") for one in embeddings)
    paths = {
        name if equals and name.isidentifier() else "image": path if equals else name
        for name, equals, path in named
    }
    if model is None:
        raise OptionError("--embeddings needs --model: the CLIP model that computed them.")
    frame = read()
    return {
        name: open_embeddings(path, model=model, like=frame, field=field)
        for name, path in paths.items()
    }


@app.command(epilog="Example: laion-dask replay subset/ --to again/")
def replay(
    out: Annotated[
        str, typer.Argument(metavar="OUT", help="Folder of an export, or its _recipe.json.")
    ],
    to: Annotated[
        str | None,
        typer.Option(
            metavar="NEW", help="Folder for the rows; by default, they are only compared."
        ),
    ] = None,
) -> None:
    """Carve an export again, and check that every byte of its parts is the same.

    If not, one line names what differs: an input's size or digest, a weight, a version.
    """
    from laion_dask.curation.recipes.replay import replay as again

    say(again(out, to))
