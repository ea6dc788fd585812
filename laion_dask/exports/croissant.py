"""The description of an export in Croissant 1.1, with RAI 1.0 and the provenance of its rows.

Sources: the Croissant Format Specification 1.1 and its RAI vocabulary 1.0
(docs.mlcommons.org/croissant/docs), and PROV-O (w3.org/TR/prov-o).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from laion_dask.exports.card import Card
from laion_dask.exports.formats.cells import as_json
from laion_dask.io.storage.export_manifest import MANIFEST, PARTS

#: More inputs or files than these are described by their number; the manifest lists each.
_LISTED = 1000
#: A name that can be part of an identifier as it is.
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
#: Media types of the suffixes of files.
_TYPES = {
    "parquet": "application/x-parquet",
    "csv": "text/csv",
    "txt": "text/plain",
    "tar": "application/x-tar",
}
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(
    card: Card, manifest: Mapping[str, Any], schema: pa.Schema, format: str, about: str
) -> str:
    """The text of ``_croissant.json``.

    Parameters
    ----------
    card : Card
    manifest : mapping
        The manifest, with its parts.
    schema : pyarrow.Schema
        The columns of the parts.
    format : str
    about : str
        The description, if the card has none.
    """
    files = _files(manifest)
    records = _record_sets(schema, files) if format in ("parquet", "csv", "huggingface") else []
    description = about if card.description == "unknown" else card.description
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": card.name,
        "description": description,
        "conformsTo": [
            "http://mlcommons.org/croissant/1.1",
            "http://mlcommons.org/croissant/RAI/1.0",
        ],
        "creator": {"@type": "sc:Organization", "name": card.creator},
        "license": card.license,
        "url": card.url,
        "version": card.version,
        "datePublished": card.date_published,
        "citeAs": card.cite_as,
        **({"inLanguage": list(card.language)} if card.language else {}),
        "isLiveDataset": False,
        "distribution": files,
        **({"recordSet": records} if records else {}),
        **_responsible(manifest),
        "prov:wasDerivedFrom": _inputs(manifest),
        "prov:wasGeneratedBy": _activity(manifest),
    }
    return as_json(document, indent=2) + "\n"


def _files(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The parts as files with their digests, and the set of them that records are read from."""
    entries = [e for part in manifest["parts"] for e in (part, *part.get("companions", ()))]
    return [
        {
            "@type": "cr:FileObject",
            "@id": entry["file"],
            "name": entry["file"],
            "contentUrl": f"{PARTS}/{entry['file']}",
            "contentSize": f"{entry['bytes']} B",
            "encodingFormat": _TYPES.get(_suffix(entry["file"]), "application/octet-stream"),
            "sha256": entry["sha256"],
        }
        for entry in entries[:_LISTED]
    ]


def _suffix(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _record_sets(schema: pa.Schema, files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as records; adds the set of files that they are read from to ``files``."""
    suffix = _suffix(files[0]["@id"])
    folder = files[0]["contentUrl"].rpartition("/")[0]
    files.append(
        {
            "@type": "cr:FileSet",
            "@id": "parts",
            "name": "parts",
            "encodingFormat": _TYPES[suffix],
            "includes": f"{folder}/*.{suffix}",
        }
    )
    known = [(i, f) for i, f in enumerate(schema) if _data_type(f.type) is not None]
    fields = [_field(field, position) for position, field in known]
    return [{"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": fields}]


def _field(field: pa.Field, position: int) -> dict[str, Any]:
    is_list = pa.types.is_list(field.type) or pa.types.is_large_list(field.type)
    return {
        "@type": "cr:Field",
        # mlcroissant refuses white space in identifiers, even if it is escaped.
        "@id": f"rows/{field.name if _PLAIN.fullmatch(field.name) else f'{position}/column'}",
        "name": field.name,
        "dataType": _data_type(field.type),
        **({"isArray": True, "arrayShape": "-1"} if is_list else {}),
        "source": {"fileSet": {"@id": "parts"}, "extract": {"column": field.name}},
    }


def _data_type(type_: pa.DataType) -> str | None:
    """The type of a column in Croissant; None for structs and other types that it lacks."""
    kinds = (
        (pa.types.is_boolean, "sc:Boolean"),
        (pa.types.is_floating, f"cr:Float{type_.bit_width}" if _is_sized(type_) else ""),
        (pa.types.is_signed_integer, f"cr:Int{type_.bit_width}" if _is_sized(type_) else ""),
        (pa.types.is_unsigned_integer, f"cr:UInt{type_.bit_width}" if _is_sized(type_) else ""),
        (pa.types.is_string, "sc:Text"),
        (pa.types.is_large_string, "sc:Text"),
        (pa.types.is_null, "sc:Text"),
        (pa.types.is_date, "sc:Date"),
        (pa.types.is_timestamp, "sc:DateTime"),
    )
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        inner = type_.value_type
        return None if pa.types.is_nested(inner) else _data_type(inner)
    return next((name for is_kind, name in kinds if is_kind(type_)), None)


def _is_sized(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))


def _responsible(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of the RAI vocabulary that an export knows."""
    counts = manifest["counts"]
    filters = manifest["where"]
    models = [as_json(model) for model in manifest["models"]]
    rights = "; ".join(
        f"{name}: " + ", ".join(f"{value} ({n:,} rows)" for value, n in list(values.items())[:5])
        for name, values in manifest["rights"].items()
    )
    return {
        "rai:dataCollection": "A subset of rows of the inputs; no new data was collected.",
        "rai:dataCollectionType": ["Others"],
        "rai:dataCollectionMissingData": (
            f"{counts['unscored']:,} rows lack a score that a filter needs, and were not kept; "
            f"{counts['rejected']:,} rows could not be read as text."
        ),
        "rai:dataPreprocessingProtocol": filters or ["None: every row was kept."],
        **({"rai:machineAnnotationTools": models} if models else {}),
        "rai:dataLimitations": [
            "Scores come from models that are wrong in known ways, and filters exclude people.",
            "Images are addresses on the web: they may have changed, or be gone.",
        ],
        "rai:personalSensitiveInformation": [
            f"Captions and images may name or show people. Licenses and consent: {rights}."
        ],
    }


def _inputs(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The shards that the rows came from; their number if they are many."""
    inputs = manifest["inputs"]
    entities = [
        {
            "@type": "prov:Entity",
            "prov:label": one["path"],
            "sc:contentSize": f"{one['bytes']} B",
            "sc:description": f"{one['rows']} rows; sha256 of its footer {one['footer_sha256']}",
        }
        for one in inputs[:_LISTED]
    ]
    if len(inputs) > _LISTED:
        rest = f"{len(inputs) - _LISTED:,} more shards, which {MANIFEST} lists"
        entities.append({"@type": "prov:Entity", "prov:label": rest})
    return entities


def _activity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe: what was done to the rows, by which software, and what became of them."""
    steps = {
        name: manifest[name]
        for name in (
            "run",
            "where",
            "computed",
            "joins",
            "models",
            "seed",
            "rows_per_part",
            "counts",
        )
        if name in manifest
    }
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    return {
        "@type": "prov:Activity",
        "prov:label": f"the recipe in {MANIFEST}",
        "sc:description": as_json(steps),
        "prov:wasAssociatedWith": {"@type": "prov:SoftwareAgent", "prov:label": versions},
    }
