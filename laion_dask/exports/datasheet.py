"""The datasheet of an export and its card for the Hugging Face Hub, as Markdown.

The questions are those of Gebru et al. 2021, "Datasheets for datasets". What an export cannot know
is "unknown"; `laion_dask.datasheet` writes a page with statistics of the content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from laion_dask.exports.card import Card
from laion_dask.exports.formats.cells import as_json
from laion_dask.io.storage.export_manifest import MANIFEST, PARTS

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
        f"{counts['kept']:,} of {counts['read']:,} rows of {len(manifest['inputs']):,} shards, "
        "exported by laion_dask."
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
    sections = [
        ("Motivation", [card.description]),
        ("Composition", [description(manifest), *_columns(manifest), *_rights(manifest)]),
        ("Collection", [_inputs(manifest)]),
        ("Preprocessing", [_outcome(counts), *_steps(manifest)]),
        ("Uses", ["unknown. Scores are not judgments; see the caveats of laion_dask."]),
        ("Distribution", [f"{_files(manifest, format)} License of the subset: {card.license}."]),
        ("Maintenance", [f"By {card.creator}. Page: {card.url}. Version {card.version}."]),
    ]
    parts = [f"# Datasheet of {_one_line(card.name)}"]
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
    text = card.description if card.description != "unknown" else description(manifest)
    body = [f"# {_one_line(card.name)}", text, counts, *_steps(manifest), *_rights(manifest)]
    body.append(f"`{MANIFEST}` lists the inputs, the filters and the digest of each file.")
    return f"---\n{yaml}\n---\n\n" + "\n\n".join(body) + "\n"


def _config(files: Sequence[str]) -> dict[str, Any]:
    split = {"split": "train", "path": list(files)}
    return {"config_name": "default", "data_files": [split]}


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _outcome(counts: Mapping[str, int]) -> str:
    shown = [f"{counts[n]:,} {n}" for n in ("kept", "dropped", "unscored", "rejected")]
    if "records" in counts:
        shown[0] += f" ({counts['records']:,} records, one for each caption)"
    return f"{counts['read']:,} rows read = {' + '.join(shown)}."


def _columns(manifest: Mapping[str, Any]) -> list[str]:
    rows = [f"| {_cell(one['name'])} | {_cell(one['type'])} |" for one in manifest["schema"]]
    return ["\n".join(["| column | type |", "|---|---|", *rows])]


def _cell(text: str) -> str:
    return _one_line(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _rights(manifest: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, values in manifest["rights"].items():
        shown = [f"{_cell(value)} {n:,}" for value, n in list(values.items())[:_SHOWN]]
        more = len(values) - _SHOWN
        shown += [f"{more:,} more values"] if more > 0 else []
        lines.append(f"- {_cell(name)}: {', '.join(shown) or 'no rows'}")
    return ["Rows by license and consent of the images:\n\n" + "\n".join(lines)]


def _inputs(manifest: Mapping[str, Any]) -> str:
    inputs = manifest["inputs"]
    shown = "\n".join(f"- `{_one_line(one['path'])}`, {one['rows']:,} rows" for one in inputs[:20])
    more = f"\n- and {len(inputs) - 20:,} more" if len(inputs) > 20 else ""
    return f"The rows are those of the inputs, as {MANIFEST} lists them:\n\n{shown}{more}"


def _steps(manifest: Mapping[str, Any]) -> list[str]:
    steps = [f"- `{_one_line(text)}`" for text in manifest["where"]]
    steps += [f"- model `{_one_line(as_json(model))[:400]}`" for model in manifest["models"]]
    return ["Steps:\n\n" + "\n".join(steps)] if steps else ["No row was filtered."]


def _files(manifest: Mapping[str, Any], format: str) -> str:
    size = sum(part["bytes"] for part in manifest["parts"])
    counts = manifest.get("file_counts", {})
    counted = "".join(f" {name.replace('_', ' ')}: {n:,}." for name, n in counts.items())
    if "draws" in manifest:
        counted += f" Draws, the sum of the column repeats: {manifest['draws']:,}."
    return f"Format {format}: {len(manifest['parts']):,} parts, {size:,} bytes.{counted}"
