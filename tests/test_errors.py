"""Errors: their common base, the builtin that each also is, and hints with the nearest name."""

from __future__ import annotations

import inspect
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import laion_dask as ld
from laion_dask import errors
from laion_dask.errors import ColumnError, LaionDaskError, OptionError, did_you_mean, one_of
from laion_dask.options import get_option, set_options

ALL = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, LaionDaskError)]
BUILTIN = {
    "ShardNotFoundError": FileNotFoundError,
    "ShardError": OSError,
    "SchemaError": TypeError,
    "ColumnError": KeyError,
    "PredicateError": ValueError,
    "ProvenanceError": ValueError,
    "EmbeddingsError": ValueError,
    "PairingError": ValueError,
    "ModelMismatchError": ValueError,
    "WeightsError": OSError,
    "ImageError": ValueError,
    "JoinError": ValueError,
    "SpillError": OSError,
    "ExportConflictError": OSError,
    "ExportError": OSError,
    "RecipeError": ValueError,
    "IndexFileError": OSError,
    "ProjectionError": ValueError,
    "OptionError": ValueError,
    "MissingExtraError": ImportError,
    "DeviceMemoryError": MemoryError,
    "DeviceLostError": RuntimeError,
}


@pytest.mark.parametrize("kind", ALL, ids=lambda c: c.__name__)
def test_each_error_is_also_the_expected_builtin(kind):
    if kind is not LaionDaskError:
        assert issubclass(kind, BUILTIN[kind.__name__])
    error = kind("File 'a' is short. Fetch it again.")
    assert str(error) == "File 'a' is short. Fetch it again."
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind and str(copy) == str(error)
    assert str(kind()) == ""


def test_the_nearest_right_name_is_named():
    hint = did_you_mean("similarty", ["similarity", "punsafe"])
    assert hint == " Did you mean 'similarity'? Available: punsafe, similarity."
    assert "'URL'" in did_you_mean("url", ["URL"])
    assert did_you_mean("zzz", ["similarity"]) == " Available: similarity."
    assert did_you_mean("anything", []) == ""
    many = did_you_mean("x", [f"column_{i:03}" for i in range(100)])
    assert many.endswith("….") and "column_029" in many and "column_030" not in many


def test_a_value_outside_a_closed_list():
    error = one_of("backend", "cudff", ["pandas", "cudf"])
    assert isinstance(error, OptionError) and "'cudff'" in str(error)
    assert "Did you mean 'cudf'?" in str(error)


@pytest.mark.parametrize(
    "call",
    [
        lambda df: ld.read_shards("x.parquet", columns="url"),
        lambda df: ld.read_shards("x.parquet", columns=[1]),
        lambda df: ld.read_shards(3),
        lambda df: ld.similarity(df, "embeddings/", np.ones(512)),
        lambda df: ld.similarity(df, None, np.ones(512), to=3),
        lambda df: ld.score(df, None, "aesthetic"),
        lambda df: ld.where(df._meta, "width > 0"),
        lambda df: ld.rows(df._meta),
        lambda df: ld.summary("shards/"),
        lambda df: ld.export(df, None),
        lambda df: ld.ClipModel("ViT-B-32", 5),
        lambda df: ld.ClipModel("demo").text(None),
        lambda df: ld.connect("nowhere"),
        lambda df: ld.connect(None),
    ],
)
def test_an_argument_of_the_wrong_type_is_named(call, laion_shards):
    with pytest.raises(LaionDaskError, match="Expected"):
        call(ld.read_shards(laion_shards(3)))


def test_options_are_restored_and_checked():
    assert get_option("invalid_text") == "raise"
    with set_options(invalid_text="reject"):
        assert get_option("invalid_text") == "reject"
        with pytest.raises(RuntimeError), set_options(invalid_text="raise"):
            raise RuntimeError
        assert get_option("invalid_text") == "reject"
    assert get_option("invalid_text") == "raise"
    with pytest.raises(OptionError, match="Did you mean 'invalid_text'"):
        set_options(invalid_txt="reject")
    with pytest.raises(OptionError, match="Did you mean 'reject'"):
        set_options(invalid_text="rejected")
    with pytest.raises(OptionError):
        get_option("nothing")
    assert get_option("invalid_text") == "raise"


def test_one_except_clause_catches_them_all():
    with pytest.raises(KeyError):
        raise ColumnError("columns has 'x'.")
    with pytest.raises(LaionDaskError):
        raise ColumnError("columns has 'x'.")


def test_a_message_within_another_keeps_its_arguments(tmp_path):
    """If two columns would share a name, both Python and the command say how to rename them."""
    pq.write_table(pa.table({"url": ["u"], "a": [0.1], "punsafe": [0.2]}), tmp_path / "0.parquet")
    with pytest.raises(errors.SchemaError, match=r"rename=\{'a': 'other'\}") as raised:
        ld.read_shards(tmp_path, rename={"a": "punsafe"})
    message = raised.value.worded({"rename": "--rename", "columns": "--columns"}.get)
    assert "--rename a=other" in message and "--columns" in message
