"""Arguments and options that several commands share."""

from __future__ import annotations

import csv
import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from laion_dask.errors import OptionError, one_of
from laion_dask.exports import formats


def _folder(out: str | Path) -> str | Path:
    if str(out) == "-":
        raise typer.BadParameter("expected a folder, not '-'; name a folder.")
    return out


Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE",
        help="Parquet shards: files, folders, patterns such as 'shards/*.parquet', or URLs "
        "such as s3://bucket/shards.",
    ),
]
OutFolder = Annotated[
    Path,
    typer.Argument(
        metavar="OUT", callback=_folder, help="Folder to write; an unfinished run is resumed."
    ),
]
OutAddress = Annotated[
    str,
    typer.Argument(
        metavar="OUT",
        callback=_folder,
        help="Folder or URL to write; an existing export is replaced.",
    ),
]
OutTable = Annotated[
    str | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Write the table to this .csv or .parquet file; '-' prints CSV.",
    ),
]
RowsPerPart = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Rows of each part but the last. [default: a million, or 256 MB in memory]",
    ),
]
NoStrict = Annotated[
    bool,
    typer.Option(
        "--no-strict",
        help="Leave out rows that end every worker that reads them, instead of stopping: they are "
        "listed in the manifest, and count as rejected. With --workers.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Where = Annotated[
    str | None,
    typer.Option(
        metavar="EXPRESSION",
        help="Keep only rows for which this expression is true, such as 'similarity > 0.3'.",
    ),
]
Model = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="CLIP model, as named by open_clip: NAME or NAME:PRETRAINED, such as "
        "ViT-L-14:openai; or 'demo', a tiny model, which takes vectors of 128 dimensions only.",
    ),
]
_VECTORS = typer.Option(
    metavar="PATH", help="Embeddings of SOURCE: .npy, .npz or Parquet files, or their folder."
)
Vectors = Annotated[str, _VECTORS]
OptionalVectors = Annotated[str | None, _VECTORS]
Field = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Array of an .npz file, or Parquet column, with the vectors."
    ),
]
Heads = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Classifier to apply: aesthetic, aesthetic_v2, demo_safety, inappropriate or nsfw; "
        "NAME=FILE sets its weight file (not for demo_safety). Repeatable.",
    ),
]
Join = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Parquet shards with scores to join by key; --where may use their columns.",
    ),
]
On = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="Key column of --join, such as hash or url; repeatable. [default: hash]",
    ),
]
Suffix = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT", help="Suffix for --join columns that SOURCE also has, such as _scores."
    ),
]
How = Annotated[
    str,
    typer.Option(
        metavar="left|inner",
        help="With --join, keep all rows (left) or only rows with a match (inner).",
    ),
]
Duplicates = Annotated[
    str,
    typer.Option(
        metavar="error|first", help="If a key of --join is duplicated: raise, or use the first row."
    ),
]
Format = Annotated[
    str,
    typer.Option(metavar="NAME", help=f"File format of the export: {', '.join(formats.names())}."),
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="Option of --format, such as names=laion for parquet, or images=FOLDER for "
        "webdataset; repeatable.",
    ),
]
CardEntries = Annotated[
    list[str] | None,
    typer.Option(
        "--card",
        metavar="NAME=VALUE",
        help="What the Croissant file and the datasheet say: name, description, creator, license, "
        "url, version, date_published, cite_as or language; repeatable.",
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Also write an HTML page on what was kept and whom --where excluded."
    ),
]
By = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="Group by this column, a term list such as gender, domain or tld; repeatable.",
    ),
]
MinN = Annotated[
    int, typer.Option(metavar="N", min=0, help="Suppress and count results based on fewer rows.")
]


def _reading(
    columns: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMNS",
            help="Read only these columns, by canonical name; comma-separated, repeatable.",
        ),
    ] = None,
    dialect: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Release that defines the column names, such as laion-5b."
        ),
    ] = "auto",
    rename: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Rename a column, as OLD=NEW; repeatable."),
    ] = None,
    swap_width_height: Annotated[
        bool, typer.Option("--swap-width-height", help="Swap the columns width and height.")
    ] = False,
    no_hive_partitioning: Annotated[
        bool,
        typer.Option(
            "--no-hive-partitioning",
            help="Do not turn folder names such as LANGUAGE=en into columns.",
        ),
    ] = False,
    max_rows_per_partition: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Split larger shards; fewer rows take less memory."),
    ] = None,
) -> dict:
    """The options that are passed to `read_shards`; returns their values."""
    names = [name.strip() for row in csv.reader(columns or ()) for name in row]
    options = {
        "columns": names or None,
        "dialect": dialect,
        "rename": dict(map(_renamed, rename or ())) or None,
        "swap_width_height": swap_width_height,
        "hive_partitioning": not no_hive_partitioning,
        "max_rows_per_partition": max_rows_per_partition,
    }
    return {name: value for name, value in options.items() if value is not None}


def named_values(pairs: list[str] | None, option: str) -> dict[str, str]:
    """A mapping of NAME=VALUE options."""
    values = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{option} is {pair!r}; expected NAME=VALUE.")
        values[name] = value
    return values


def _renamed(pair: str) -> tuple[str, str]:
    old, _, new = pair.rpartition("=")
    if not (old and new):
        raise OptionError(f"--rename is {pair!r}. Expected OLD=NEW, such as nsfw_score=punsafe.")
    return old, new


def _joining(
    join: Join = None,
    on: On = None,
    suffix: Suffix = None,
    how: How = "left",
    duplicates: Duplicates = "error",
) -> tuple[str | None, dict]:
    """The options of a join; returns the path to join, and the other arguments of `join`."""
    options = {"on": on, "suffix": suffix, "how": how, "duplicates": duplicates}
    if join is None and (on or suffix or how != "left" or duplicates != "error"):
        raise OptionError(
            "--on, --suffix, --how and --duplicates apply to --join; add --join PATH."
        )
    return join, {**options, "on": on or "hash"}


@dataclass
class Reading:
    """SOURCE, its reading options, and the join; calling it returns the frame."""

    source: list[str]
    options: dict
    join: str | None
    join_options: dict

    def __call__(self, where: str | None = None):
        from laion_dask.frame.where import where as kept
        from laion_dask.io.parquet.read_shards import read_shards
        from laion_dask.joins.join import join

        if self.join is None:
            return read_shards(self.source, where=where, **self.options)
        frame = join(read_shards(self.source, **self.options), self.join, **self.join_options)
        return frame if where is None else kept(frame, where)


def reads_shards(command: Callable, before: Sequence[str] = ()) -> Callable:
    """Add SOURCE and the reading options to a command; its first parameter is a `Reading`.

    Arguments of the command named in ``before`` come before SOURCE.
    """
    own_parameters = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    reading, joining = (
        list(inspect.signature(shared, eval_str=True).parameters.values())
        for shared in (_reading, _joining)
    )
    keyword = inspect.Parameter.KEYWORD_ONLY
    sources = inspect.Parameter("source", keyword, annotation=Sources)
    first = [p for p in own_parameters if p.name in before]
    others = [p for p in own_parameters if p.name not in before]
    listed = (*first, sources, *others, *reading, *joining)
    parameters = [p.replace(kind=keyword) for p in listed]

    @functools.wraps(command)
    def run(source: list[str], **arguments):
        options = _reading(**{p.name: arguments.pop(p.name) for p in reading})
        joined = _joining(**{p.name: arguments.pop(p.name) for p in joining})
        return command(Reading(source, options, *joined), **arguments)

    vars(run)["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def groupings(frame, names: list[str] | None) -> list:
    """Resolve ``--by``: columns of the frame, else term lists or URL domains."""
    from laion_dask.aggregations.grouping.domains import domains, tlds
    from laion_dask.aggregations.grouping.terms import terms
    from laion_dask.text import term_lists

    makers: dict[str, Callable] = {}
    if "text" in frame.columns:
        makers |= {name: functools.partial(terms, name) for name in term_lists()["name"]}
    if "url" in frame.columns:
        makers |= {"domain": domains, "tld": tlds}
    for name in names or ():
        if name not in frame.columns and name not in makers:
            if "," in name:
                raise OptionError(
                    f"--by is {name!r}, and no column has that name. Repeat the option for "
                    f"several: {' '.join(f'--by {one.strip()}' for one in name.split(','))}."
                )
            raise one_of("--by", name, [*frame.columns, *makers])
    return [name if name in frame.columns else makers[name]() for name in names or ()]


def require_any(values: list, message: str) -> list:
    """Return the list; raise with this message if it is empty."""
    if not values:
        raise OptionError(message)
    return values
