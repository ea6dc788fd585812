"""LAION's NSFW detectors from their zips: vocabularies, normalization and dense layers.

The model is reconstructed from its own description: the chain of layers from
``keras_metadata.pb``, the vocabularies by following the object graph of ``saved_model.pb`` from
each encoding layer to the constants that fill its table, and the values from the tensor bundle.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from laion_dask.errors import WeightsError
from laion_dask.models.tf_saved_model import bundle, protobuf

#: Maximum bytes read per member: at least four times the published sizes.
_MEMBERS = {
    "saved_model.pb": 16 << 20,
    "keras_metadata.pb": 1 << 20,
    "variables/variables.index": 1 << 16,
    "variables/variables.data-00000-of-00001": 4 << 20,
}
_MOST_DENSE = 8
_MOST_VOCABULARIES = 16
_SIX_DECIMALS = re.compile(r"-?[01]\.\d{6}")
_ENCODING, _NORMALIZATION = "Custom>MultiCategoryEncoding", "Normalization"
_STRING = 7  # TensorFlow's number for the dtype of strings


@dataclass(frozen=True)
class Detector:
    """A detector as described by its file.

    Attributes
    ----------
    vocabularies : dict of int to (ndarray, ndarray)
        By input dimension: the entries in millionths, (n,) int64, increasing, in (-2e6, 2e6) and
        not 0; and the index of each entry, (n,) int64.
    mean, variance : ndarray
        (dim,) float32, of the inputs after the vocabularies.
    layers : tuple of (ndarray, ndarray)
        Kernel (in, out) and bias (out,), float32. ReLU between the layers, and a final logistic.
    """

    vocabularies: dict[int, tuple[np.ndarray, np.ndarray]]
    mean: np.ndarray
    variance: np.ndarray
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]


def read_detector(path: str | os.PathLike) -> Detector:
    """A detector from its published zip. Eager.

    Raises
    ------
    WeightsError
        When the file is missing, damaged, too large, or contains another model.
    """
    try:
        return _detector(_members(path))
    except Exception as error:  # zipfile, zlib, json and these decoders raise different types
        raise WeightsError(
            f"{os.fspath(path)} cannot be read as one of LAION's NSFW detectors ({error}). "
            "Expected the published zip of a TensorFlow SavedModel: fetch it again from its "
            "publisher."
        ) from error


def _members(path: str | os.PathLike) -> dict[str, bytes]:
    """The required members, by their names within the model's folder."""
    with zipfile.ZipFile(path) as archive:
        roots = [n for n in archive.namelist() if re.fullmatch(r"([^/]+/)?saved_model\.pb", n)]
        if len(roots) != 1:
            raise ValueError(f"{len(roots)} members are called saved_model.pb")
        folder, contents = roots[0].removesuffix("saved_model.pb"), {}
        for name, limit in _MEMBERS.items():
            with archive.open(folder + name) as member:
                contents[name] = member.read(limit + 1)
            if len(contents[name]) > limit:
                raise ValueError(f"{name} is larger than {limit} bytes")
    return contents


def _detector(members: dict[str, bytes]) -> Detector:
    encoded, n_dense = _chain(members["keras_metadata.pb"])
    vocabularies = _vocabularies(memoryview(members["saved_model.pb"]))
    if sorted(vocabularies) != encoded or len(encoded) > _MOST_VOCABULARIES:
        raise ValueError("the encoded dimensions and the vocabularies differ")
    # Layers with weights are numbered in order: the encoding is 0, the normalization 1, and the
    # dense layers follow.
    names = ["1/mean", "1/variance"]
    names += [f"{i}/{part}" for i in range(2, 2 + n_dense) for part in ("kernel", "bias")]
    arrays = bundle.tensors(
        members["variables/variables.index"],
        members["variables/variables.data-00000-of-00001"],
        [f"layer_with_weights-{name}/.ATTRIBUTES/VARIABLE_VALUE" for name in names],
    )
    mean, variance, *dense = arrays.values()
    layers = tuple(zip(dense[::2], dense[1::2], strict=True))
    _check_numbers(mean, variance, layers, encoded)
    return Detector(vocabularies, mean, variance, layers)


def _check_numbers(mean, variance, layers, encoded: list[int]) -> None:
    fits = mean.ndim == 1 and variance.shape == mean.shape and layers[0][0].shape[0] == len(mean)
    fits = fits and all(k.ndim == 2 and b.shape == k.shape[1:] for k, b in layers)
    fits = fits and all(a[0].shape[1] == b[0].shape[0] for a, b in pairwise(layers))
    if not fits or layers[-1][0].shape[1] != 1 or (encoded and encoded[-1] >= len(mean)):
        raise ValueError("consecutive layers do not fit")
    parts = [mean, variance, *(part for layer in layers for part in layer)]
    if any(part.dtype != np.float32 or not np.isfinite(part).all() for part in parts):
        raise ValueError("a weight is not a finite float32")
    if (variance < 0).any():
        raise ValueError("a variance is negative")


def _chain(metadata: bytes) -> tuple[list[int], int]:
    """The dimensions that have a vocabulary, and the number of dense layers.

    ``keras_metadata.pb`` is a ``SavedMetadata`` (Keras, ``saved_metadata.proto``), with the path
    (3) of each layer and its configuration as JSON (5).
    """
    for layer in protobuf.every(memoryview(metadata), 1):
        if protobuf.text(layer, 3) == "root":
            layers = json.loads(protobuf.text(layer, 5))["config"]["layers"]
            break
    else:
        raise ValueError("keras_metadata.pb does not describe a model")
    for before, layer in pairwise(layers):
        if [node[0][0] for node in layer["inbound_nodes"]] != [before["name"]]:
            raise ValueError("the layers do not form a chain")
    layer_types = [layer["class_name"] for layer in layers if layer["class_name"] != "Dropout"]
    configs = {layer["class_name"]: layer["config"] for layer in layers}
    n_dense = layer_types.count("Dense")
    middle = ["Dense", "ReLU"] * n_dense
    expected = ["InputLayer", _ENCODING, _NORMALIZATION, *middle[:-1], "Activation"]
    if layer_types != expected or not 1 <= n_dense <= _MOST_DENSE:
        raise ValueError(f"the layers are {', '.join(map(str, layer_types[:20]))}")
    # Exactly these parameters: any other activation makes another model.
    plain = {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}
    for layer in layers:
        config = layer["config"]
        if layer["class_name"] == "Dense" and config["activation"] != "linear":
            raise ValueError(f"a dense layer's activation is {config['activation']}")
        if layer["class_name"] == "ReLU" and {k: config[k] for k in plain} != plain:
            raise ValueError("a ReLU has non-default parameters")
    if configs["Activation"]["activation"] != "sigmoid":
        raise ValueError("the last activation is not a sigmoid")
    encoding = configs[_ENCODING]["encoding"]
    if not set(encoding) <= {"none", "int"}:
        raise ValueError("an input is encoded in an unknown way")
    return [at for at, kind in enumerate(encoding) if kind == "int"], n_dense


def _vocabularies(model: memoryview) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """The vocabularies by input dimension.

    ``SavedModel.meta_graphs`` (2) holds ``MetaGraphDef.graph_def`` (2), whose nodes are the
    constants, and ``object_graph_def`` (7), whose nodes (1) name their children (1: node 1, name
    2). From the root, the path ``layer_with_weights-0/encoding_layers/DIMENSION/lookup_table/
    _initialize`` leads to a function whose bound inputs are the table, its keys and its values
    (TensorFlow, ``saved_model.proto``, ``saved_object_graph.proto``).
    """
    graph = protobuf.message(model, 2)
    nodes = protobuf.every(protobuf.message(graph, 2), 1)
    constants = {
        protobuf.text(node, 1): node for node in nodes if protobuf.text(node, 2) == "Const"
    }
    graph = protobuf.message(graph, 7)
    objects = protobuf.every(graph, 1)
    functions = {
        protobuf.text(pair, 1): protobuf.message(pair, 2) for pair in protobuf.every(graph, 2)
    }

    def child(of: memoryview, *names: str) -> memoryview:
        for name in names:
            of = objects[_children(of)[name]]
        return of

    def constant(at: int) -> memoryview:
        return constants[
            protobuf.text(protobuf.message(objects[at], 9), 1)
        ]  # SavedConstant.operation

    tables = child(objects[0], "layer_with_weights-0", "encoding_layers")
    vocabularies = {}
    for name, at in _children(tables).items():
        function = protobuf.message(child(objects[at], "lookup_table", "_initialize"), 6)
        bound = protobuf.varints(protobuf.message(functions[protobuf.text(function, 1)], 2))
        _, keys, values = bound
        vocabularies[int(name)] = _vocabulary(_value(constant(keys)), _value(constant(values)))
    return vocabularies


def _children(node: memoryview) -> dict[str, int]:
    return {protobuf.text(child, 2): protobuf.number(child, 1) for child in protobuf.every(node, 1)}


def _value(node: memoryview) -> memoryview:
    """The ``TensorProto`` of a constant: the ``NodeDef.attr`` (5) called ``value``."""
    attributes = {protobuf.text(a, 1): protobuf.message(a, 2) for a in protobuf.every(node, 5)}
    return protobuf.message(attributes["value"], 8)


def _vocabulary(keys: memoryview, values: memoryview) -> tuple[np.ndarray, np.ndarray]:
    """Entries in millionths, increasing, and their indices.

    In a ``TensorProto`` the type is field 1, the shape 2, raw content 4, and strings are field 8.
    """
    entries = [str(entry, "ascii") for entry in protobuf.every(keys, 8)]
    shape = bundle.shape_of(protobuf.message(keys, 2))
    if protobuf.number(keys, 1) != _STRING or shape != (len(entries),) or not entries:
        raise ValueError("a vocabulary is not a list of strings")
    raw, shape = protobuf.message(values, 4), bundle.shape_of(protobuf.message(values, 2))
    indices = bundle.as_array(raw, protobuf.number(values, 1), shape)
    if indices.dtype != np.int64 or indices.shape != (len(entries),):
        raise ValueError("a vocabulary and its indices differ in length")
    if indices.min() < 0 or indices.max() > 1 << 20:
        raise ValueError("an index of a vocabulary is out of range")
    if not all(_SIX_DECIMALS.fullmatch(entry) for entry in entries):
        raise ValueError("an entry of a vocabulary is not a number below 2 with six decimals")
    millionths = np.array([int(entry.replace(".", "")) for entry in entries])
    order = np.argsort(millionths, kind="stable")
    millionths = millionths[order]
    # Zero would need two keys, since it is also printed as "-0.000000"; no published file has it.
    if (np.diff(millionths) == 0).any() or (millionths == 0).any():
        raise ValueError("a vocabulary has a duplicate or zero entry")
    return millionths, indices[order]
