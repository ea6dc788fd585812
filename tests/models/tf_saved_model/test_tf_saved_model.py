"""The SavedModel reader: what it reads, and that it rejects every damaged file."""

import random
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laion_dask.errors import WeightsError
from laion_dask.models.tf_saved_model import read_detector
from laion_dask.models.tf_saved_model.bundle import _masked_crc, tensors
from laion_dask.models.tf_saved_model.protobuf import fields, varint

NAME = "clip_autokeras_nsfw_b32.zip"
FOLDER = "clip_autokeras_nsfw_b32/"
INDEX, DATA = "variables/variables.index", "variables/variables.data-00000-of-00001"


@pytest.fixture(scope="module")
def published(request):
    from support.paths import SHARED

    path = SHARED / "weights" / NAME
    if not path.is_file():
        pytest.skip("the published detector is not on this machine")
    return path


@pytest.fixture(scope="module")
def members(published):
    with zipfile.ZipFile(published) as archive:
        return {
            n.removeprefix(FOLDER): archive.read(n)
            for n in archive.namelist()
            if not n.endswith("/")
        }


def zipped(path, members, folder=FOLDER):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(folder + name, content)
    return path


def test_what_the_published_file_holds(published):
    found = read_detector(published)
    sizes = {dim: len(keys) for dim, (keys, _) in found.vocabularies.items()}
    assert sizes == {92: 1566, 133: 747, 312: 745}
    for keys, values in found.vocabularies.values():
        assert (np.diff(keys) > 0).all() and sorted(values) == list(range(1, len(keys) + 1))
    assert [kernel.shape for kernel, _ in found.layers] == [(512, 32), (32, 32), (32, 1)]
    assert found.mean.shape == found.variance.shape == (512,) and (found.variance > 0).all()


def test_the_folder_in_the_zip_may_have_any_name(tmp_path, members, published):
    for folder in ("", "other/"):
        again = read_detector(zipped(tmp_path / "a.zip", members, folder))
        np.testing.assert_array_equal(again.mean, read_detector(published).mean)


def refused(path, match="cannot be read"):
    with pytest.raises(WeightsError, match=match) as error:
        read_detector(path)
    assert str(path) in str(error.value)


def test_missing_and_other_files(tmp_path, members):
    refused(tmp_path / "none.zip")
    (tmp_path / "text.zip").write_bytes(b"not a zip")
    refused(tmp_path / "text.zip")
    zipped(tmp_path / "empty.zip", {})
    refused(tmp_path / "empty.zip", "saved_model.pb")
    for gone in members:
        kept = {name: content for name, content in members.items() if name != gone}
        refused(zipped(tmp_path / "short.zip", kept))
    two = {**members, "a/b/saved_model.pb": b""}
    assert read_detector(zipped(tmp_path / "two.zip", two))  # too deep to be searched
    with zipfile.ZipFile(tmp_path / "two.zip", "a") as archive:
        archive.writestr("second/saved_model.pb", b"")
    refused(tmp_path / "two.zip", "2 members")


def test_a_bomb_is_not_unpacked(tmp_path, members):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, bytes(1 << 28) if name == DATA else content)
    refused(tmp_path / "bomb.zip", "larger than")


def test_another_model_is_refused(tmp_path, members):
    metadata = members["keras_metadata.pb"]
    for old, new in [
        (b'"activation": "sigmoid"', b'"activation": "softmax"'),
        (b'"activation": "linear"', b'"activation": "linea_"'),
        (b'"negative_slope": 0.0', b'"negative_slope": 0.1'),
        (b'"class_name": "ReLU"', b'"class_name": "GeLU"'),
        (b'"none", "none", "int"', b'"int", "none", "none"'),
        (b'[[["re_lu", 0, 0, {}]]]', b'[[["dense", 0, 0, {}]]]'),
    ]:
        assert old in metadata and len(old) == len(new)
        altered = {**members, "keras_metadata.pb": metadata.replace(old, new, 1)}
        refused(zipped(tmp_path / "other.zip", altered))


def test_entries_that_cannot_be_are_refused(tmp_path, members):
    model = members["saved_model.pb"]
    for old, new in [
        (b"-0.858398", b"-9.858398"),  # impossible in a unit vector, and a table of gigabytes
        (b"-0.858398", b"-0.85839x"),
        (b"0.050385", b"0.000000"),  # "-0.000000" would be another spelling
        (b"0.050385", b"0.114380"),  # a duplicate
    ]:
        assert old in model
        altered = {**members, "saved_model.pb": model.replace(old, new, 1)}
        refused(zipped(tmp_path / "word.zip", altered), "vocabulary")


def test_deep_json_is_refused(tmp_path, members):
    text = b'{"config": {"layers": ' + b"[" * 200_000 + b"]" * 200_000 + b"}}"
    node = b"\x1a\x04root" + b"\x2a" + packed(len(text)) + text
    deep = {**members, "keras_metadata.pb": b"\x0a" + packed(len(node)) + node}
    refused(zipped(tmp_path / "deep.zip", deep))


def test_every_altered_weight_is_seen(tmp_path, members, published):
    """The tensor's own checksum detects it, even if the zip's checksum was updated to match."""
    found, data = read_detector(published), members[DATA]
    for part in (found.mean, found.variance, *(part for layer in found.layers for part in layer)):
        altered = bytearray(data)
        altered[data.index(part.tobytes()) + part.nbytes // 2] ^= 1
        refused(zipped(tmp_path / "bit.zip", {**members, DATA: bytes(altered)}), "checksum")


def read_or_none(path):
    """A detector, or None if the file is refused; any other exception fails the test."""
    try:
        return read_detector(path)
    except WeightsError as error:
        assert str(path) in str(error)
        return None


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Content that is truncated, or has bytes altered, removed or repeated."""
    content = bytearray(content)
    match draw.randrange(4):
        case 0:
            del content[draw.randrange(len(content)) :]
        case 1:
            for _ in range(draw.choice((1, 1, 2, 8))):
                content[draw.randrange(len(content))] = draw.randrange(256)
        case 2:
            at = draw.randrange(len(content))
            del content[at : at + draw.choice((1, 2, 8, 100))]
        case _:
            at = draw.randrange(len(content))
            content[at:at] = content[at : at + draw.choice((1, 2, 8, 100))]
    return bytes(content)


def test_damaged_zips_never_break_the_reader(tmp_path, published):
    draw, whole = random.Random(0), published.read_bytes()
    for _ in range(150):
        (tmp_path / "a.zip").write_bytes(damaged(whole, draw))
        read_or_none(tmp_path / "a.zip")


@pytest.mark.parametrize("name", ["saved_model.pb", "keras_metadata.pb", INDEX, DATA])
def test_damaged_members_never_break_the_reader(tmp_path, members, name):
    """The zips are intact, so the damage reaches the decoders behind them."""
    draw = random.Random(name)
    for _ in range(60):
        altered = {**members, name: damaged(members[name], draw)}
        read_or_none(zipped(tmp_path / "a.zip", altered))


def test_damage_where_it_hurts(tmp_path, members):
    """Damage bytes next to names that the reader follows, in the middle of the object graph."""
    draw, whole = random.Random(1), members["saved_model.pb"]
    for word in (b"encoding_layers", b"lookup_table", b"_initialize", b"__inference__initializer"):
        at = whole.rindex(word)
        for _ in range(25):
            content = bytearray(whole)
            content[at + draw.randrange(-12, 40)] = draw.randrange(256)
            read_or_none(zipped(tmp_path / "a.zip", {**members, "saved_model.pb": bytes(content)}))


def packed(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


@given(st.integers(0, 2**64 - 1))
def test_varints(value):
    assert varint(memoryview(packed(value)), 0) == (value, len(packed(value)))


@given(st.binary(max_size=60))
def test_any_bytes_as_a_message(content):
    try:
        found = list(fields(memoryview(content)))
    except ValueError:
        return
    assert len(found) <= len(content)


@given(st.binary(max_size=200))
def test_any_bytes_as_an_index(content):
    footer = struct.pack("<Q", 0xDB4775248B80FB57)
    with pytest.raises(ValueError):
        tensors(content + footer, b"", ["a"])


def table(*handles: tuple[int, int], block: bytes) -> bytes:
    """A table with one block of entries, and an index that points into it."""

    def with_checksum(block: bytes) -> bytes:
        block += struct.pack("<II", 0, 1)  # one restart point
        return block + b"\0" + struct.pack("<I", _masked_crc(memoryview(block + b"\0")))

    out = with_checksum(block)
    index = b"".join(entry(b"k", packed(at) + packed(n)) for at, n in handles)
    footer = packed(0) + packed(0) + packed(len(out)) + packed(len(index) + 8)
    out += with_checksum(index) + footer.ljust(40, b"\0")
    return out + struct.pack("<Q", 0xDB4775248B80FB57)


def entry(key: bytes, value: bytes) -> bytes:
    return packed(0) + packed(len(key)) + packed(len(value)) + key + value


def test_an_index_by_hand():
    header = b"\x08\x01"  # one data file
    raw = np.float32([1, 2, 3]).tobytes()
    crc = struct.pack("<I", _masked_crc(memoryview(raw)))
    shape = b"\x12\x02\x08\x03"
    entry_header = b"\x08\x01" + b"\x12" + packed(len(shape)) + shape + b"\x28\x0c" + b"\x35" + crc
    block = entry(b"", header) + entry(b"a", entry_header)
    whole = (0, len(block) + 8)
    found = tensors(table(whole, block=block), raw, ["a"])
    np.testing.assert_array_equal(found["a"], [1, 2, 3])
    for index, data, name in [
        (table(whole, whole, block=block), raw, "a"),
        (table(whole, block=block), raw[:-1], "a"),
        (table(whole, block=block), raw[::-1], "a"),
        (table(whole, block=block), raw, "b"),
        (table((0, 1 << 40), block=block), raw, "a"),
        (table((0, 3), block=block), raw, "a"),
    ]:
        with pytest.raises(ValueError):
            tensors(index, data, [name])


def test_the_checksum():
    """The check value of CRC-32C (RFC 3720, B.4), masked as in LevelDB."""
    crc = 0xE3069283  # of "123456789"
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert _masked_crc(memoryview(b"123456789")) == masked
