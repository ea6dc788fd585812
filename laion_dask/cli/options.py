"""Arguments and options that several commands share."""

from __future__ import annotations

import csv
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from laion_dask.errors import OptionError


def _folder(out: str | Path) -> str | Path:
    if str(out) == "-":
        raise typer.BadParameter("a folder is written, which '-' is not. Name a folder.")
    return out


Sources = Annotated[
    list[str],
    typer.Argument(metavar="SOURCE", help="Shards, folders, patterns or fsspec addresses."),
]
OutFolder = Annotated[
    Path, typer.Argument(metavar="OUT", callback=_folder, help="A new folder, or an old one.")
]
OutAddress = Annotated[
    str,
    typer.Argument(
        metavar="OUT",
        callback=_folder,
        help="A new folder or address, or an earlier export; it is replaced.",
    ),
]
OutTable = Annotated[
    str | None,
    typer.Option("--out", help="A .parquet or .csv file to write; '-' prints CSV."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Where = Annotated[str | None, typer.Option(help="Keep the rows for which this is true.")]
Model = Annotated[
    str, typer.Option(help="open_clip architecture, as NAME or NAME:PRETRAINED; or 'demo'.")
]
Vectors = Annotated[str, typer.Option(help="Embeddings of SOURCE: .npy, .npz or Parquet.")]
Field = Annotated[str | None, typer.Option(help="Member or column of the vectors.")]
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
Suffix = Annotated[
    str | None, typer.Option(help="For columns of --join that SOURCE has too, such as _scores.")
]
Format = Annotated[str, typer.Option(help="What the parts are: parquet.")]
Report = Annotated[
    Path | None, typer.Option(help="A page to write: what was kept, and whom WHERE left out.")
]
By = Annotated[
    list[str] | None,
    typer.Option(
        help="Group by this column, or by the groups of a term list, such as gender; repeatable. "
        "By default language and the people that captions mention."
    ),
]
MinN = Annotated[int, typer.Option(min=0, help="Leave out, and count, what rests on fewer rows.")]


def _reading(
    columns: Annotated[
        list[str] | None,
        typer.Option(help="Read only these, by canonical names; with commas, or repeatable."),
    ] = None,
    dialect: Annotated[
        str, typer.Option(help="How the release names its columns, such as laion-5b.")
    ] = "auto",
    rename: Annotated[
        list[str] | None,
        typer.Option(help="Name a column of the files otherwise, as OLD=NEW; repeatable."),
    ] = None,
    swap_width_height: Annotated[
        bool, typer.Option("--swap-width-height", help="Read width as height, and height as width.")
    ] = False,
) -> dict:
    """The options of `read_shards` that a command with a SOURCE has; their values for it."""
    names = [name.strip() for row in csv.reader(columns or ()) for name in row]
    return {
        "columns": names or None,
        "dialect": dialect,
        "rename": dict(map(_renamed, rename or ())) or None,
        "swap_width_height": swap_width_height,
    }


def _renamed(pair: str) -> tuple[str, str]:
    old, _, new = pair.rpartition("=")
    if not (old and new):
        raise OptionError(f"--rename is {pair!r}. Expected OLD=NEW, such as nsfw_score=punsafe.")
    return old, new


@dataclass
class Reading:
    """SOURCE, the options of reading it, and what to join to it; called, the frame."""

    source: list[str]
    options: dict
    join: str | None
    on: list[str] | None
    suffix: str | None

    def __call__(self, where: str | None = None):
        from laion_dask.io.shards import read_shards
        from laion_dask.verbs.join import join
        from laion_dask.verbs.where import where as kept

        if self.join is None:
            if self.on or self.suffix:
                raise OptionError("--on and --suffix apply to --join; add --join PATH.")
            return read_shards(self.source, where=where, **self.options)
        frame = join(
            read_shards(self.source, **self.options),
            self.join,
            on=self.on or "hash",
            suffix=self.suffix,
        )
        return frame if where is None else kept(frame, where)


def reads_shards(command: Callable) -> Callable:
    """The command with SOURCE and the options of reading; its first parameter is a `Reading`."""
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    reading = list(inspect.signature(_reading, eval_str=True).parameters.values())
    keyword = inspect.Parameter.KEYWORD_ONLY
    sources = inspect.Parameter("source", keyword, annotation=Sources)
    joining = [
        inspect.Parameter(name, keyword, annotation=annotation, default=None)
        for name, annotation in (("join", Join), ("on", On), ("suffix", Suffix))
    ]
    parameters = [p.replace(kind=keyword) for p in (sources, *own, *joining, *reading)]

    @functools.wraps(command)
    def run(source: list[str], **given):
        options = _reading(**{p.name: given.pop(p.name) for p in reading})
        joined = (given.pop(name) for name in ("join", "on", "suffix"))
        return command(Reading(source, options, *joined), **given)

    run.__signature__ = inspect.Signature(parameters)
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def groupings(frame, names: list[str] | None) -> list:
    """What ``--by`` names: columns; where there is none of the name, a packaged term list."""
    from laion_dask.text import term_lists, terms

    known = set(term_lists()["name"]) if "text" in frame.columns else set()
    return [terms(n) if n not in frame.columns and n in known else n for n in names or ()]


def wanted(found: list, what: str) -> list:
    """The list; raises where it is empty, which says what to give."""
    if not found:
        raise OptionError(what)
    return found
