"""The datasheet of an export and its card for the Hugging Face Hub, as Markdown.

The questions are those of Gebru et al. 2021, "Datasheets for datasets". What an export cannot know
is "unknown"; `laion_dask.datasheet` writes a page with statistics of the content.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from laion_dask.display.cells import without_links
from laion_dask.exports.about_recipe import AboutRecipe
from laion_dask.exports.card import Card
from laion_dask.exports.formats.cells import as_json
from laion_dask.exports.model_names import model_name
from laion_dask.formatting import counted, in_bytes, printable, printable_lines
from laion_dask.io.storage.export_manifest import MANIFEST, PARTS

#: Characters that Markdown or HTML may read as markup, wherever they stand in a line.
_MARKUP = re.compile(r"[\\`*\[\]|<>&~$]|(?<!\w)_|_(?!\w)")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
#: Values of a column of licenses that are shown.
_SHOWN = 10
#: The size categories of the Hub: the largest number of rows, and the name.
_SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
    (10**10, "1B<n<10B"),
)


def description(manifest: Mapping[str, Any]) -> str:
    """One sentence on what an export is."""
    counts = manifest["counts"]
    return (
        f"{counts['kept']:,} of {counts['read']:,} rows of "
        f"{counted(len(manifest['inputs']), 'shard')}, exported by laion_dask."
    )


def datasheet(card: Card, manifest: Mapping[str, Any], format: str) -> str:
    """The text of ``_datasheet.md``.

    Parameters
    ----------
    card : Card
    manifest : mapping
        The manifest, with its parts.
    format : str
    """
    counts = manifest["counts"]
    said = (card.license, card.creator, card.url, card.version)
    rights, creator, url, version = map(_text, said)
    sections = [
        ("Motivation", [_without_html(card.description)]),
        ("Composition", [description(manifest), *_columns(manifest), *_rights(manifest)]),
        ("Collection", [_inputs(manifest)]),
        ("Preprocessing", [_outcome(counts), *_recipe(manifest), *_steps(manifest)]),
        ("Uses", ["unknown. Scores are not judgments; see the caveats of laion_dask."]),
        ("Distribution", [f"{_files(manifest, format)} License of the subset: {rights}."]),
        ("Maintenance", [f"By {creator}. Page: {url}. Version {version}."]),
    ]
    parts = [f"# Datasheet of {_text(card.name)}"]
    parts += [f"## {title}\n\n" + "\n\n".join(texts) for title, texts in sections]
    return "\n\n".join(parts) + "\n"


def hub_card(card: Card, manifest: Mapping[str, Any]) -> str:
    """The text of ``README.md`` for the Hub, with its YAML header."""
    files = [f"{PARTS}/{part['file']}" for part in manifest["parts"]]
    is_named = all(file.startswith(f"{PARTS}/data/train-") for file in files)
    rows = manifest["counts"].get("records", manifest["counts"]["kept"])
    is_link = card.license.startswith(("http://", "https://"))
    header: list[tuple[str, Any]] = [
        ("pretty_name", card.name),
        ("license", "other" if is_link else card.license.lower()),
        ("license_link", card.license if is_link else None),
        ("language", list(card.language) or None),
        ("size_categories", [next((name for n, name in _SIZES if rows < n), "n>1T")]),
        ("tags", ["image-text", "laion_dask"]),
        ("configs", [_config([f"{PARTS}/data/train-*"] if is_named else files)]),
    ]
    # JSON is YAML, and quotes every string.
    yaml = "\n".join(f"{name}: {as_json(value)}" for name, value in header if value is not None)
    counts = _outcome(manifest["counts"])
    text = _without_html(card.description)
    text = description(manifest) if card.description == "unknown" else text
    body = [f"# {_text(card.name)}", text, counts, *_recipe(manifest), *_steps(manifest)]
    body += _rights(manifest)
    body.append(f"`{MANIFEST}` lists the inputs, the filters and the digest of each file.")
    return f"---\n{yaml}\n---\n\n" + "\n\n".join(body) + "\n"


def _config(files: Sequence[str]) -> dict[str, Any]:
    split = {"split": "train", "path": list(files)}
    return {"config_name": "default", "data_files": [split]}


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def _outcome(counts: Mapping[str, int]) -> str:
    shown = [f"{counts[n]:,} {n}" for n in ("kept", "dropped", "unscored", "rejected")]
    if "records" in counts:
        records = counted(counts["records"], "record")
        shown[0] += f" ({records}, one for each caption)"
    return f"{counts['read']:,} rows read = {' + '.join(shown)}."


def _columns(manifest: Mapping[str, Any]) -> list[str]:
    rows = [f"| {_text(one['name'])} | {_text(one['type'])} |" for one in manifest["schema"]]
    return ["\n".join(["| column | type |", "|---|---|", *rows])]


def _text(text: str) -> str:
    """Text in Markdown that is shown as it is: no HTML, links, emphasis, or cells of a table."""
    return without_links(_escaped(text))


def _escaped(text: str) -> str:
    """As `_text`, but an address may become a link."""
    return _MARKUP.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), _one_line(text))


def _without_html(text: str) -> str:
    """Markdown that a person wrote, without HTML."""
    return printable_lines(text).replace("<", "&lt;")


def _code(text: str) -> str:
    """Text as code in Markdown, between more backticks than it has next to each other."""
    text = _one_line(text)
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{ticks} {text} {ticks}" if "`" in text else f"`{text}`"


def _rights(manifest: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, values in manifest["rights"].items():
        shown = [f"{_text(value)} {n:,}" for value, n in list(values.items())[:_SHOWN]]
        more = len(values) - _SHOWN
        shown += [f"{more:,} more values"] if more > 0 else []
        lines.append(f"- {_text(name)}: {', '.join(shown) or 'no rows'}")
    return ["Rows by license and consent of the images:\n\n" + "\n".join(lines)]


def _inputs(manifest: Mapping[str, Any]) -> str:
    inputs = manifest["inputs"]
    shown = "\n".join(
        f"- {_code(one['path'])}, {counted(one['rows'], 'row')}" for one in inputs[:20]
    )
    more = f"\n- and {len(inputs) - 20:,} more" if len(inputs) > 20 else ""
    return f"The rows are those of the inputs, as {MANIFEST} lists them:\n\n{shown}{more}"


def _steps(manifest: Mapping[str, Any]) -> list[str]:
    """Models, tables and columns that the rules may read, and the rules, in order."""
    models = dict.fromkeys(model_name(one) for one in manifest["models"])
    tables = (f"{', '.join(one['join'])}: {one['inputs'][0]['path']}" for one in manifest["joins"])
    listed = {
        "Models (the manifest has their files and settings):": models,
        "Tables joined:": dict.fromkeys(tables),
        "Columns were computed, or renamed, by:": manifest.get("computed", ()),
        "Rows were filtered by, in order:": manifest["where"],
    }
    texts = [
        f"{head}\n\n" + "\n".join(f"- {_code(one)}" for one in given)
        for head, given in listed.items()
        if given
    ]
    return texts if manifest["where"] else [*texts, "No row was filtered."]


def _recipe(manifest: Mapping[str, Any]) -> list[str]:
    """The recipe that made the export, and what a reader of its rows should know."""
    recipe = AboutRecipe.of(manifest)
    if recipe is None:
        return []
    facts = "\n".join(
        f"- {name}: {_escaped(text) if name == 'url' else _text(text)}"
        for name, text in recipe.facts
    )
    notes = "\n".join(f"- {_text(note)}" for note in recipe.notes)
    return [f"Made by a recipe:\n\n{facts}", *([f"What to know:\n\n{notes}"] if notes else [])]


def _files(manifest: Mapping[str, Any], format: str) -> str:
    size = sum(part["bytes"] for part in manifest["parts"])
    counts = manifest.get("file_counts", {})
    files = "".join(f" {name.replace('_', ' ')}: {n:,}." for name, n in counts.items())
    if "draws" in manifest:
        files += f" Draws, the sum of the column repeats: {manifest['draws']:,}."
    parts = counted(len(manifest["parts"]), "part")
    return f"Format {format}: {parts}, {in_bytes(size)}.{files}"
