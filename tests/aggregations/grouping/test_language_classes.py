"""LAION's three classes of languages: English, other, and none."""

import pickle

import pyarrow as pa
import pytest

from laion_dask.aggregations.engine.base import Partition
from laion_dask.aggregations.grouping.base import members
from laion_dask.aggregations.grouping.languages import CLASSES, language_class
from laion_dask.errors import ColumnError, OptionError


def test_three_classes():
    codes = ["en", "EN", "en-US", "en_GB", "de", "zh-Hant", "und", "nolang", "un", "", None, "eng"]
    part = Partition(pa.table({"spoken": pa.array(codes, pa.string())}))
    found = members(part, language_class("spoken"))
    assert found.labels == CLASSES and found.rows.tolist() == [*range(10), 11]
    names = [CLASSES[c] for c in found.codes]
    assert names == ["English"] * 4 + ["other"] * 2 + ["no language"] * 4 + ["other"]
    for empty in (part.table[:0], part.table[10:11]):
        assert len(members(Partition(empty), language_class("spoken")).rows) == 0


def test_what_the_classes_refuse():
    column_types = {"language": "string", "width": "integer"}
    bound = language_class().bind(column_types)
    assert bound.reads == ("language",) and pickle.loads(pickle.dumps(bound)) == bound
    with pytest.raises(ColumnError, match=r"no column 'lang'.*'language'.*laion\.language"):
        language_class("lang").bind(column_types)
    with pytest.raises(OptionError, match="holds integer"):
        language_class("width").bind(column_types)
    with pytest.raises(OptionError, match="Expected the name of a column"):
        language_class(3)
