"""Encode the NSFW detector as an ONNX model, without the ``onnx`` package.

Field numbers are from ``onnx.proto`` (ONNX, IR version 8, operator set 13).
"""

from __future__ import annotations

import numpy as np


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    value = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _tensor(name: str, array: np.ndarray) -> bytes:
    """TensorProto: dims 1, data_type 2 (1 is float32), name 8, raw_data 9."""
    dims = b"".join(_field(1, size) for size in array.shape)
    return dims + _field(2, 1) + _field(8, name) + _field(9, array.astype("<f4").tobytes())


def _node(kind: str, inputs: list[str], output: str) -> bytes:
    """NodeProto: input 1, output 2, op_type 4."""
    return b"".join(_field(1, name) for name in inputs) + _field(2, output) + _field(4, kind)


def _value(name: str, width: int) -> bytes:
    """ValueInfoProto of (n, width) float32: name 1, type 2."""
    shape = _field(1, _field(2, "n")) + _field(1, _field(1, width))
    return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, shape)))


def folded_model(detector) -> bytes:
    """The detector without its look-ups, with the normalization folded into the first layer."""
    deviation = np.maximum(np.sqrt(detector.variance.astype(np.float64)), 1e-7)
    (kernel, bias), *others = detector.layers
    kernel = kernel / deviation[:, None]
    layers = [(kernel, bias - detector.mean @ kernel), *others]
    nodes, tensors, before = [], [], "x"
    for at, (kernel, bias) in enumerate(layers):
        tensors += [_tensor(f"w{at}", kernel), _tensor(f"b{at}", bias)]
        last = at == len(layers) - 1
        nodes.append(_node("Gemm", [before, f"w{at}", f"b{at}"], f"g{at}"))
        nodes.append(_node("Sigmoid" if last else "Relu", [f"g{at}"], f"h{at}"))
        before = f"h{at}"
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, "nsfw")
    graph += b"".join(_field(5, tensor) for tensor in tensors)
    graph += _field(11, _value("x", layers[0][0].shape[0])) + _field(12, _value(before, 1))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 13))
