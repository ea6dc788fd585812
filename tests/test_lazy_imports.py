"""Importing the package and showing help load nothing heavy; all names are there anyway."""

from __future__ import annotations

import ast
import importlib
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import laion_dask as ld
from laion_dask.accessor import Laion

PACKAGE = Path(ld.__file__).parent
#: The project's dependencies, except typer, and what notebooks add.
HEAVY = {
    *("bokeh", "holoviews", "IPython", "panel", "dask", "distributed", "duckdb", "fsspec"),
    *("numba", "numkong", "numpy", "pandas", "PIL", "polars", "pyarrow", "scipy", "sklearn"),
    *("open_clip", "safetensors", "timm", "torch", "torchvision"),
    *("py3langid", "tldextract", "tqdm", "yaml"),
}


def run(code: str) -> str:
    """What a fresh interpreter prints. No site hook may import anything that the test would see."""
    completed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return completed.stdout.strip()


def imported(code: str) -> set[str]:
    """The top-level modules outside the standard library that ``code`` imports."""
    program = f"import sys\nbefore = set(sys.modules)\n{code}\nprint(*set(sys.modules) - before)"
    modules = {name.partition(".")[0] for name in run(program).split()}
    return modules - set(sys.stdlib_module_names)


def test_importing_the_package_imports_the_standard_library_alone():
    code = "import laion_dask; dir(laion_dask); laion_dask.set_options; laion_dask.LaionDaskError"
    assert imported(code) == {"laion_dask"}


@pytest.mark.parametrize(
    "work",
    [
        "frame.laion.where('width > 64').laion.rows()",
        "frame.laion.statistics(ld.describe(), ld.rates('punsafe > 0.5', by='language'))",
    ],
)
@pytest.mark.parametrize("scheduler", [None, "threads", "Synchronous"])
def test_work_on_metadata_imports_no_more_than_it_needs(demo_folder, work, scheduler):
    """Dask imports distributed to look for a client, even if another scheduler was chosen."""
    code = f"import dask, laion_dask as ld; dask.config.set(scheduler={scheduler!r}); "
    code += f"frame = ld.read_shards({str(demo_folder)!r}); {work}"
    unneeded = {"distributed", "numba", "PIL", "requests", "sklearn", "tldextract", "torch"}
    modules = run(f"import sys\n{code}\nprint(*sys.modules)").split()
    assert not unneeded & set(modules) and "scipy.stats" not in modules


def test_an_export_imports_no_statistics():
    code = "import laion_dask as ld; ld.export; import sys; print(*sys.modules)"
    assert not [name for name in run(code).split() if name.startswith("laion_dask.aggregations")]


@pytest.mark.parametrize("words", [[], ["search"], ["--version"]])
def test_help_imports_nothing_heavy(words):
    words = words if words == ["--version"] else [*words, "--help"]
    code = f"""
from contextlib import redirect_stdout
from io import StringIO
from laion_dask.cli import main
sys.argv = ["laion-dask", *{words!r}]
with redirect_stdout(StringIO()):
    try:
        main()
    except SystemExit as ended:
        assert not ended.code
"""
    assert not imported(code) & HEAVY


@pytest.mark.parametrize("name", ld.__all__)
def test_every_name_is_there(name):
    value = getattr(ld, name)
    assert name in dir(ld)
    assert value is getattr(ld, name)
    if inspect.isfunction(value) or inspect.isclass(value):
        assert value.__name__ == name and pickle.loads(pickle.dumps(value)) is value


def test_no_module_hides_a_name():
    """Importing a submodule sets an attribute of the package and would shadow the same name."""
    modules = {path.stem for path in PACKAGE.glob("*.py")} | {
        p.parent.name for p in PACKAGE.glob("*/__init__.py")
    }
    names = {name for name in ld.__all__ if not inspect.ismodule(getattr(ld, name))}
    assert not names & modules


def test_the_stub_offers_the_same_names():
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    stated = {
        alias.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    assert sorted(stated) == ld.__all__
    for name, module in stated.items():
        value = getattr(ld, name)
        if not inspect.ismodule(value):
            assert getattr(importlib.import_module(module), name) is value


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'read_shard'") as raised:
        ld.read_shard  # noqa: B018
    assert raised.value.name == "read_shard" and raised.value.obj is ld  # for "Did you mean"
    with pytest.raises(ImportError, match="read_shard"):
        from laion_dask import read_shard  # noqa: F401


@pytest.mark.parametrize(
    "order",
    [
        "import laion_dask; import dask.dataframe as dd",
        "import dask.dataframe as dd; import laion_dask",
        "import importlib.util, laion_dask; importlib.util.find_spec('dask.dataframe.core');"
        "import dask.dataframe as dd; import importlib; importlib.reload(laion_dask)",
        "from laion_dask import LaionDaskError; from dask.dataframe import from_pandas;"
        "import dask.dataframe as dd",
    ],
)
def test_the_accessor_is_there_in_any_order_of_imports(order):
    code = f"""
import sys, warnings
warnings.simplefilter("error")
path = len(sys.meta_path)
{order}
import pandas as pd
frame = dd.from_pandas(pd.DataFrame({{"width": [1]}}), npartitions=1)
assert "where" in dir(frame.laion), dir(frame.laion)
assert "numba" not in sys.modules and "laion_dask.scoring" not in sys.modules
print(*(type(finder).__name__ for finder in sys.meta_path))
"""
    assert "RegisterAfterImport" not in run(code)


def test_methods_of_the_accessor_look_like_their_functions():
    assert next(iter(inspect.signature(Laion.search).parameters)) == "frame"
    frame = Laion(frame=None)
    assert next(iter(inspect.signature(frame.search).parameters)) == "embeddings"
    assert frame.search.__doc__ == ld.search.__doc__ and frame.statistics.__name__ == "statistics"
