"""Messages: each argument they name is an option of the command, in the command's spelling."""

from __future__ import annotations

import ast
import pickle
import re
from pathlib import Path

import dask.dataframe as dd
import pandas as pd
import pytest
import typer

import laion_dask as ld
from laion_dask import errors
from laion_dask.cli import app
from laion_dask.cli.option_names import called, option_names
from laion_dask.errors import (
    ColumnError,
    LaionDaskError,
    OptionError,
    PredicateError,
    argument,
    one_of,
    parameter,
)

PACKAGE = Path(errors.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
ERRORS = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, LaionDaskError)]


GROUP = typer.main.get_command(app)
COMMANDS = {name: option_names(GROUP, name) for name in GROUP.commands}
ALL_NAMES = {name for names in COMMANDS.values() for name in names}

READING = {name for name, names in COMMANDS.items() if "source" in names and name != "embed"}
WITH_HEADS = {"plan", "embed", "score"}
WITH_VECTORS = {"plan", "index", "search", "score"}

#: For each file with messages that name arguments, or for one argument: the commands that reach it.
REACHED_FROM = {
    "backend.py": READING,
    "gpu_packages.py": {"index"},
    "io/embeddings/headers.py": WITH_VECTORS,
    "io/embeddings/open_files.py": WITH_VECTORS,
    "io/parquet/hive.py": READING,
    "exports/card.py": {"export", "score"},
    "exports/quarantine.py": {"export", "score", "carve"},
    "exports/export.py": {"export", "score", "carve"},
    "io/images/images.py": {"embed"},
    "io/images/parquet_layout.py": {"embed"},
    "io/parquet/scan_piece.py": READING,
    "io/parquet/read_shards.py": READING,
    "io/parquet/shard_schema.py": READING,
    "io/parquet/scan_pyarrow.py": READING,
    "io/parquet/exact_cast.py": READING,
    "io/parquet/schema_merge.py": READING,
    "retrieval/index/cuvs_train.py": {"index"},
    "retrieval/index/ivf_pq.py": {"search"},
    "aggregations/grouping/base.py": {"statistics", "audit", "score", "export"},
    "models/clip.py": WITH_VECTORS | WITH_HEADS,
    ("models/clip_identity.py", "device"): set(),  # no command sets a model's device
    "models/clip_identity.py": WITH_VECTORS | WITH_HEADS,
    "models/clip_names.py": WITH_VECTORS | WITH_HEADS,
    "models/clip_loading.py": WITH_VECTORS | WITH_HEADS,
    "models/weights/lookup.py": WITH_HEADS,
    "predicate/hints.py": READING - {"carve"},
    "predicate/operands.py": READING - {"carve"},
    "predicate/parser.py": READING - {"carve"},
    "dialects.py": READING,
    "curation/recipes/inputs.py": {"carve"},
    "planning/inputs.py": {"plan"},
    "planning/plan.py": {"plan"},
    "planning/measured_rates.py": {"plan"},
    "planning/step.py": {"plan"},
    "planning/resources.py": {"plan"},
    "inference/embed.py": {"embed"},
    "retrieval/index/parameters.py": {"index"},
    "joins/arguments.py": READING,
    "joins/join.py": READING,
    "joins/key_lookup.py": READING,
    "scoring/score.py": {"score"},
    ("scoring/score.py", "texts"): set(),  # no command scores pairs
    "retrieval/search.py": {"search"},
    "aggregations/engine/statistics.py": {"statistics", "audit", "datasheet"},
    "runtime/worker_backends.py": READING,
    "runtime/workers.py": READING,
}


def calls(tree: ast.AST, names: set[str]):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in names:
            yield node


def test_every_argument_that_a_message_marks_is_an_option_of_every_command_that_raises_it():
    marked: dict[str, set[str]] = {}
    for path in FILES:
        for node in calls(ast.parse(path.read_text()), {"argument", "parameter"}):
            if node.args and isinstance(node.args[0], ast.Constant):
                name = path.relative_to(PACKAGE).as_posix()
                marked.setdefault(name, set()).add(node.args[0].value)
    assert set(marked) == {file for file in REACHED_FROM if isinstance(file, str)}
    missing = [
        (file, name, command)
        for file, names in marked.items()
        for name in names
        for command in REACHED_FROM.get((file, name), REACHED_FROM[file])
        if name not in COMMANDS[command]
    ]
    assert missing == []


def test_an_argument_has_the_name_that_the_command_gives_it():
    assert COMMANDS["inspect"]["hive_partitioning"] == "--no-hive-partitioning"
    assert COMMANDS["inspect"]["paths"] == "SOURCE"
    assert COMMANDS["index"]["embeddings"] == "EMBEDDINGS"
    assert COMMANDS["search"]["embeddings"] == "--embeddings"
    assert COMMANDS["plan"]["workers"] == "--cores"
    assert COMMANDS["statistics"]["workers"] == "--workers"
    assert option_names(GROUP, None)["invalid_text"] == "--invalid-text"


def test_no_message_names_an_option_as_python_does():
    """Messages name arguments that are also options through `argument`."""
    options = "|".join(name for name in ALL_NAMES if name.isidentifier() and len(name) > 1)
    calls_shown = re.compile(r"[\w.]+\([^()]*(\([^()]*\)[^()]*)*\)?")
    unmarked = []
    for path in FILES:
        file = path.relative_to(PACKAGE).as_posix()
        reached = file in REACHED_FROM
        subject = rf"|^(?:{options}) (?:is|has) $" if reached else ""
        names = "[a-z_]+" if reached else options
        named = re.compile(rf"(?<![\w.\"'(])(?:{names})={subject}")
        tree = ast.parse(path.read_text())
        raised = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]
        raised += calls(tree, {"warn", "warn_caller", *(kind.__name__ for kind in ERRORS)})
        unmarked += [
            (file, node.value)
            for statement in raised
            for node in ast.walk(statement)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            if named.search(calls_shown.sub("", node.value))
        ]
    assert not unmarked


@pytest.mark.parametrize("kind", ERRORS)
def test_a_message_is_worded_for_either_door_wherever_it_was_raised(kind):
    error = kind(f"Leave it out with {argument('columns', ['url', 'text'])}: \x1b[31m")
    for same in (error, pickle.loads(pickle.dumps(error))):
        assert str(same) == "Leave it out with columns=['url', 'text']: \\u001b[31m"
        assert same.worded({"columns": "--columns"}.get) == (
            "Leave it out with --columns url,text: \\u001b[31m"
        )
        assert same.worded({}.get) == str(same)


def test_values_are_worded():
    error = LaionDaskError(
        f"{parameter('pq_m')}, {parameter('the weight')}; {argument('swap_width_height', True)} "
        f"{argument('weights')} {argument('k', 5)}"
    )
    assert str(error) == "pq_m, the weight; swap_width_height=True weights= k=5"
    everything = {
        k: v for command in ("index", "score", "search") for k, v in COMMANDS[command].items()
    }
    assert error.worded(everything.get) == (
        "--pq-m, the weight; --swap-width-height --head NAME=FILE -k 5"
    )
    unknown = one_of("dialect", "x", ["y"])
    assert unknown.worded(COMMANDS["inspect"].get).startswith("--dialect is 'x'.")
    off = LaionDaskError(f"Read with {argument('hive_partitioning', False)}.")
    assert str(off) == "Read with hive_partitioning=False."
    assert off.worded(COMMANDS["inspect"].get) == "Read with --no-hive-partitioning."


def test_a_command_may_call_a_parameter_otherwise():
    with pytest.raises(LaionDaskError) as raised, called(where="--rate"):
        raise LaionDaskError("x")
    assert raised.value.called == {"where": "--rate"}


def test_an_error_without_a_message():
    assert str(LaionDaskError()) == "" and LaionDaskError("a", 2).args == ("a", 2)


def test_what_newcomers_mistake_is_told_with_what_they_meant():
    data = {"similarity": [0.1], "text": ["a"]}
    frame = dd.from_pandas(pd.DataFrame(data), npartitions=1)
    with pytest.raises(AttributeError, match=r"no verb 'serch'\. Did you mean 'search'"):
        _ = frame.laion.serch
    with pytest.raises(PredicateError, match=r"a Series of dask.*frame\[mask\]"):
        frame.laion.where(frame["similarity"] > 0.3)
    with pytest.raises(ColumnError, match=r"'gender'.*ld\.terms\('gender'\)"):
        frame.laion.statistics(ld.rates("similarity > 0.3", by="gender"))
    with pytest.raises(OptionError, match=r"images is 'images/'.*ld\.open_images"):
        ld.gallery(frame.compute(), "images/")
