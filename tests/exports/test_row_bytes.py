"""The size of rows in memory is a sum over rows, whatever the batches."""

import pyarrow as pa
import pytest

from laion_dask.exports.row_bytes import content_bytes, fixed_bytes

COLUMNS = {
    "int32": (pa.array([1, None, 3, 4, 5], pa.int32()), 4, 0),
    "bool": (pa.array([True, None, False, True, True]), 1, 0),
    "null": (pa.nulls(5), 0, 0),
    "timestamp": (pa.array([1, 2, None, 4, 5], pa.timestamp("us")), 8, 0),
    "decimal": (pa.array([1, None, 3, 4, 5]).cast(pa.decimal128(20, 0)), 16, 0),
    "string": (pa.array(["a", "", None, "b" * 10, "山"]), 4, 14),
    "large string": (pa.array(["a", "", None, "b" * 10, "山"], pa.large_string()), 4, 14),
    "string view": (pa.array(["a", "", None, "b" * 10, "山"], pa.string_view()), 4, 14),
    "fixed binary": (pa.array([b"ab", None, b"cd", b"ef", b"gh"], pa.binary(2)), 2, 0),
    "list": (pa.array([[1, 2], [], None, [3], [4]]), 4, 4 * 8),
    "list of strings": (pa.array([["ab", "c"], [], None, [None], ["d"]]), 4, 4 * 4 + 4),
    "large list": (pa.array([[1], [], None, [3], [4]], pa.large_list(pa.int16())), 4, 3 * 2),
    "vector": (pa.array([[1, 2], None, [3, 4], [5, 6], [7, 8]], pa.list_(pa.float32(), 2)), 8, 0),
    "two names": (pa.array([["a", "bc"], ["", "d"]] * 2 + [None], pa.list_(pa.string(), 2)), 8, 8),
    "struct": (pa.array([{"a": 1, "b": "xy"}, None, {"a": 2, "b": None}] + [None] * 2), 12, 2),
    "map": (
        pa.array([[("k", 1)], [], None, [("l", 2), ("m", 3)], []], pa.map_(pa.string(), pa.int8())),
        4,
        3 * 5 + 3,
    ),
    "uuid": (pa.array([b"0" * 16] * 5, pa.uuid()), 16, 0),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_bytes_of_each_type(name):
    array, fixed, content = COLUMNS[name]
    assert fixed_bytes(array.type) == fixed
    assert content_bytes(pa.chunked_array([array])) == content
    assert content_bytes(pa.chunked_array([], array.type)) == 0
    for i in range(6):  # the sum over any two slices, and over rows that appear twice
        one, other = pa.chunked_array([array.slice(0, i)]), pa.chunked_array([array.slice(i)])
        assert content_bytes(one) + content_bytes(other) == content
        twice = pa.chunked_array([array.slice(i), array.slice(0, i), array])
        assert content_bytes(twice) == 2 * content
