"""Which rooms of the package may import which, and which files reach Dask or the GPU libraries."""

from __future__ import annotations

import ast
import graphlib
import importlib
import inspect
import re
import textwrap
from collections import Counter
from pathlib import Path

import pytest
from support.paths import PACKAGE, ROOT
from support.script_code import SCRIPTS, STYLES, function_lengths, lines_of
from support.source_code import (
    FILES,
    MODULES,
    imports,
    module_of,
    named_imports,
    packages,
    tree,
    where,
)

import laion_dask as ld

#: The allowed arrows: each room may import its own files, the foundation (the files directly in
#: ``laion_dask/``) and these rooms, all listed above it. Imports for type checkers count as well.
ARROWS = {
    "display": "",
    "stats/sketches": "display",
    "io/storage": "",
    "plots": "io/storage",
    "stats": "display plots stats/sketches",
    "runtime": "io/storage",
    "cluster": "display runtime",
    "numerics": "runtime",
    "text": "display numerics runtime",
    "predicate": "io/storage runtime text",
    "numerics/gpu": "numerics runtime",
    "io/parquet": "io/storage numerics/gpu predicate runtime",
    "io/images": "display io/parquet io/storage",
    "models/weights": "io/storage runtime",
    "models/tf_saved_model": "",
    "models": "display io/images models/weights numerics numerics/gpu runtime",
    "models/heads": (
        "display io/images io/storage models models/tf_saved_model models/weights numerics "
        "numerics/gpu runtime"
    ),
    "io/embeddings": "display io/parquet io/storage models numerics runtime",
    "frame": "display io/embeddings io/parquet io/storage models numerics predicate runtime",
    "projections": "display frame io/embeddings io/storage models numerics runtime stats",
    "scoring": (
        "display frame io/embeddings io/images models models/heads numerics numerics/gpu runtime "
        "text"
    ),
    "inference": "display io/images io/storage models models/heads numerics runtime",
    "training": (
        "frame io/embeddings models models/heads numerics predicate runtime scoring stats"
    ),
    "retrieval/exact": "io/embeddings numerics numerics/gpu runtime",
    "retrieval/index": "display io/embeddings io/storage models/weights numerics runtime",
    "retrieval": "display frame io/embeddings predicate retrieval/exact runtime scoring",
    "aggregations/engine": "display frame predicate runtime stats",
    "aggregations/grouping": "display aggregations/engine text",
    "aggregations": (
        "aggregations/engine aggregations/grouping display frame io/embeddings models "
        "models/heads numerics predicate stats stats/sketches text"
    ),
    "joins": "frame io/parquet runtime",
    "curation": (
        "display frame io/embeddings io/images io/parquet io/storage models numerics projections "
        "runtime scoring stats text"
    ),
    "curation/clusters": "display curation frame io/embeddings io/storage numerics runtime stats",
    "curation/duplicates": (
        "display aggregations aggregations/engine curation curation/clusters frame io/embeddings "
        "io/storage joins numerics runtime stats"
    ),
    "curation/balancing": "curation frame predicate runtime stats text",
    "exports/formats": "io/embeddings io/images io/storage runtime",
    "exports": (
        "aggregations aggregations/grouping display exports/formats frame io/embeddings io/parquet "
        "io/storage joins runtime stats"
    ),
    "planning": "display frame io/embeddings io/parquet plots runtime",
    "curation/recipes": (
        "aggregations aggregations/grouping curation display exports exports/formats frame "
        "io/embeddings io/parquet io/storage models models/heads planning predicate runtime stats"
    ),
    "reports": (
        "aggregations aggregations/engine aggregations/grouping exports frame io/images "
        "io/storage plots stats text"
    ),
    "demo": (
        "display aggregations exports frame inference io/parquet io/storage models "
        "models/heads reports scoring"
    ),
    "explorer": (
        "curation curation/recipes frame io/embeddings io/images io/parquet io/storage models "
        "models/heads plots predicate projections runtime scoring stats text"
    ),
    "explorer/views": "explorer io/images plots projections runtime stats",
    "explorer/tabs": (
        "aggregations aggregations/grouping curation/duplicates explorer explorer/views exports "
        "exports/formats frame io/parquet io/storage stats text"
    ),
    "explorer/app": (
        "display explorer explorer/tabs explorer/views frame io/embeddings io/images projections "
        "stats"
    ),
    "doors": "display frame models/heads training",
    "cli": (
        "doors aggregations aggregations/engine aggregations/grouping cluster demo "
        "curation/recipes explorer explorer/app exports exports/formats frame inference io/images "
        "io/parquet joins models/heads models/weights planning reports runtime text"
    ),
}
#: Files of ``laion_dask/`` that are doors; the others are the foundation.
DOORS = {"__init__", "accessor", "heads"}
GPU = {"cudf", "cupy", "dask_cudf", "dask_cuda", "cuvs", "rmm", "pylibcudf", "kvikio"}
#: Names of functions and methods that build or run a Dask graph, or reach a Dask client.
DASK_NAMES = {
    *("from_map", "map_partitions", "map_overlap", "from_delayed", "to_delayed", "delayed"),
    *("compute", "persist", "submit", "gather", "scatter", "replicate", "publish_dataset"),
    *("run", "map", "run_on_scheduler", "run_coroutine", "register_plugin"),
}
#: Every use of those names outside `runtime/`, by file, and how often it occurs. ``graph`` is
#: `laion_dask.runtime.graph`; pools and readers are threads or processes. Plain ``map`` and ``run``
#: are Python's builtin and functions of this package, and are not counted.
NOT_DASK = {
    ("cli/carve.py", "chosen.run"): 1,  # a recipe
    ("cluster/client.py", "self.register_plugin"): 1,  # the client that replaces lost workers
    ("cluster/worker_recovery.py", "asyncio.run"): 1,
    ("curation/stored_decisions.py", "graph.compute"): 1,
    ("curation/clusters/assignment.py", "graph.compute"): 1,
    ("curation/clusters/chunks.py", "graph.compute"): 1,
    ("curation/clusters/lloyd.py", "graph.compute"): 3,
    ("curation/duplicates/diff.py", "graph.compute"): 1,
    ("curation/duplicates/groups.py", "graph.compute"): 2,
    ("curation/duplicates/near.py", "graph.compute"): 1,
    ("curation/balancing/concepts.py", "graph.compute"): 1,
    ("demo/training_data.py", "workers.map"): 1,
    ("exports/records.py", "pool.map"): 3,
    ("exports/verify.py", "pool.map"): 1,
    ("explorer/jobs.py", "context.run"): 1,  # context variables, in a thread
    ("explorer/embedding_filters.py", "graph.compute"): 1,
    ("explorer/sample_pass.py", "graph.compute"): 2,
    ("explorer/sample_points.py", "graph.compute"): 1,
    ("explorer/unsafe_rows.py", "graph.compute"): 1,
    ("frame/funnel.py", "graph.compute"): 1,
    ("frame/map_with_accounting.py", "graph.compute"): 1,
    ("frame/repeated_rows.py", "graph.compute"): 1,
    ("io/embeddings/export_sources.py", "pool.map"): 2,
    ("io/embeddings/fingerprint.py", "pool.map"): 1,
    ("io/embeddings/open_files.py", "pool.map"): 1,
    ("io/images/fetch_images.py", "pool.submit"): 1,
    ("io/parquet/column_sizes.py", "pool.map"): 1,
    ("io/parquet/column_statistics.py", "pool.map"): 1,
    ("io/parquet/footer_tails.py", "asyncio.gather"): 1,
    ("joins/join.py", "graph.compute"): 1,
    ("numerics/gpu/transfer.py", "self._reader.submit"): 1,
    ("numerics/gpu/transfer.py", "self._readers.map"): 1,
    ("io/storage/listed_files.py", "pool.map"): 1,
    ("numerics/torch_threads.py", "pool.map"): 1,
    ("numerics/torch_threads.py", "pool.submit"): 1,
    ("plots/panels.py", "s.map"): 1,  # a pandas Series
    ("reports/datasheet_sections.py", "pivoted['term'].map"): 1,
    ("formatting.py", "table.iloc[:, at].map"): 1,
    ("retrieval/exact/candidates.py", "pool.submit"): 1,
    ("retrieval/exact/candidates.py", "self._cosines.compute"): 1,
    ("retrieval/fetch.py", "graph.compute"): 2,
    ("retrieval/rerank.py", "graph.compute"): 1,
    ("retrieval/search.py", "graph.compute"): 2,
    ("training/fit_mix.py", "graph.compute"): 1,
    ("training/pairs.py", "graph.compute"): 1,
    ("training/train.py", "graph.compute"): 1,
    ("training/train_filter.py", "pool.submit"): 1,
}
#: Files that import modules by names from a table or a folder, tested with that table.
TABLE_LOADERS = {"__init__.py", "verbs.py", "exports/formats/__init__.py"}


def room_of(module: str) -> str:
    path = MODULES[module]
    room = path.parent.relative_to(PACKAGE).as_posix()
    if room == ".":
        if path.stem == "__main__":
            return "cli"
        return "doors" if path.stem in DOORS else "foundation"
    return room


def own_imports(path: Path) -> set[str]:
    return {name for name in imports(path) if name.split(".")[0] == "laion_dask"}


def packages_searched(path: Path) -> set[str]:
    """The packages from which a file imports a module whose name is computed."""
    if where(path) in TABLE_LOADERS:
        return set()
    names = {name.rpartition(".")[0] for name in named_imports(path) if name.endswith(".")}
    return {name for name in names if name.split(".")[0] == "laion_dask"}


def test_every_arrow_between_rooms_is_declared():
    undeclared = []
    for path in FILES:
        here = room_of(module_of(path))
        allowed = {here, "foundation"} | set(ARROWS.get(here, "").split())
        for name in own_imports(path) | packages_searched(path):
            if room_of(name) not in allowed:
                undeclared.append(f"{where(path)} imports {name}")
    assert undeclared == []


def test_modules_named_by_a_table_are_imported_in_three_files():
    """Elsewhere the name of an imported module starts with a constant: its room is known."""
    unknown = {where(path) for path in FILES if {"", "laion_dask."} & named_imports(path)}
    assert unknown == TABLE_LOADERS


def test_imports_by_a_string_are_seen(tmp_path):
    source = """
        _HEADS = "laion_dask.models.heads"
        import_module(_HEADS)
        importlib.import_module(f"laion_dask.text.{name}")
        map(import_module, ("a.b", "c"))
        __import__("d" + name)
        load(name)
        import_module(name)
    """
    path = tmp_path / "source.py"
    path.write_text(textwrap.dedent(source))
    expected = {"laion_dask.models.heads", "laion_dask.text.", "a.b", "c", "d", ""}
    assert named_imports(path) == expected


def test_every_declared_arrow_is_used_and_points_up():
    used = {
        (room_of(module_of(path)), room_of(name)) for path in FILES for name in own_imports(path)
    }
    above: set[str] = set()
    for room, targets in ARROWS.items():
        assert set(targets.split()) <= above, f"{room} imports a room that is not listed above it"
        above.add(room)
        assert {(room, target) for target in targets.split()} <= used


def test_no_two_modules_import_each_other():
    graphlib.TopologicalSorter(
        {module: own_imports(path) for module, path in MODULES.items()}
    ).prepare()  # raises CycleError, which names the cycle


def test_the_map_names_every_room():
    """README's map names exactly the rooms that exist."""
    map_ = re.search(r"## The map of the house\n(.*?)\n## ", (ROOT / "README.md").read_text(), re.S)
    rooms = {room_of(module) for module in MODULES} - {"doors", "foundation", "io"}
    named = set(re.findall(r"(?<![\w/])[a-z_]+(?:/[a-z_]+)*(?=/(?!\w))", map_[1]))
    assert {room for room in rooms if room not in named} == set()
    assert {name for name in named if not (PACKAGE / name).is_dir()} - {"laion_dask"} == set()


def test_tests_mirror_the_rooms():
    rooms = {room_of(module) for module in MODULES} - {"doors", "foundation", "io"}
    tests = Path(__file__).parent
    folders = {path.parent.relative_to(tests).as_posix() for path in tests.rglob("test_*.py")}
    assert folders - {".", "benchmarks", "browser", "packaging"} == rooms


@pytest.mark.parametrize("library", sorted(GPU))
def test_gpu_libraries_are_imported_in_three_files(library):
    users = {where(path) for path in FILES if library in packages(path)}
    assert users <= {"backend.py", "gpu_packages.py", "io/parquet/cudf_decoder.py"}


def test_dask_is_reached_in_the_runtime_alone():
    found: Counter[tuple[str, str]] = Counter()
    for path in FILES:
        if not where(path).startswith("runtime/"):
            found.update((where(path), use) for use in uses_of_dask(tree(path)))
    assert found == NOT_DASK


def test_graph_is_that_of_the_runtime():
    for file in {file for file, use in NOT_DASK if use.startswith("graph.")}:
        assert "laion_dask.runtime.graph" in imports(PACKAGE / file), file


def test_uses_of_dask_are_seen():
    source = "pool.submit(g); graph.persist(g); f(client.run); delayed(f); list(map(f, x)); run(f)"
    assert uses_of_dask(ast.parse(source)) == [
        *("pool.submit", "graph.persist", "client.run", "delayed")
    ]


def uses_of_dask(source: ast.Module) -> list[str]:
    """The uses of `DASK_NAMES`, whether called or passed on, in order."""
    found = []
    for node in ast.walk(source):
        plain = isinstance(node, ast.Name) and node.id in DASK_NAMES - {"map", "run"}
        if plain or (isinstance(node, ast.Attribute) and node.attr in DASK_NAMES):
            found.append(node)
    return [ast.unparse(node) for node in sorted(found, key=lambda node: node.col_offset)]


def test_private_modules_of_dask_are_imported_in_one_file():
    private = re.compile(r"(dask|distributed)\..*\b_|dask\.dataframe\.dask_expr")
    found = {where(path) for path in FILES if any(map(private.match, imports(path)))}
    assert found == {"runtime/dask_expressions.py"}


def test_kernels_import_nothing_of_dask():
    kernels = [p for p in FILES if where(p).split("/")[0] in KERNEL_ROOMS or p in KERNELS]
    assert len(kernels) > 40
    for path in kernels:
        assert not {n for n in imports(path) if n.split(".")[0] in ("dask", "distributed")}, path


#: Rooms and files whose functions all take arrays or a single partition.
KERNEL_ROOMS = {"numerics", "text", "stats", "predicate"}
KERNELS = {
    *(PACKAGE / "retrieval" / "exact").glob("*.py"),
    *(PACKAGE / "scoring").glob("*kernel*.py"),
    *(PACKAGE / "aggregations").glob("*kernel*.py"),
}


LONGEST_FILE, LONGEST_FUNCTION = 300, 50


def test_scripts_and_style_sheets_are_short():
    assert SCRIPTS and STYLES
    long = {where(path) for path in (*SCRIPTS, *STYLES) if len(lines_of(path)) > LONGEST_FILE}
    assert long == set()


def test_functions_of_scripts_are_short():
    lengths = {
        (where(path), name): n
        for path in SCRIPTS
        for name, n in function_lengths(lines_of(path)).items()
    }
    assert {which for which, n in lengths.items() if n > LONGEST_FUNCTION} == set()


def test_functions_of_scripts_are_measured():
    source = """
        const A = 1
        export function one({ a,
          b }) {
          return a

        }

        // of two
        const two = (a) => a
        async function three() {
          const inner = () => 1
        }
        const four = () => {
          return [
          ]
        }
    """
    lines = textwrap.dedent(source).splitlines()
    assert function_lengths(lines) == {"one": 5, "two": 1, "three": 3, "four": 4}


def test_dir_is_what_is_public():
    assert dir(ld) == sorted([*ld.__all__, "__version__"])
    for module in (ld.heads, ld.models, ld.predicate, ld.stats):
        assert dir(module) == sorted(module.__all__), module.__name__
        assert not [n for n in dir(module) if inspect.ismodule(getattr(module, n))]


def test_a_module_that_dir_does_not_list_is_imported_all_the_same():
    assert importlib.import_module("laion_dask.stats.intervals") is ld.stats.intervals
    assert importlib.import_module("laion_dask.accessor") is ld.accessor
    assert ld.models.weights.REGISTRY
