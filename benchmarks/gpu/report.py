"""Reports with tables, targets and conditions; and the folder for generated files."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ceilings import Ceilings
from timing import Runs

RESULTS = Path(__file__).resolve().parents[1] / "results"
IN_MEMORY = Path("/dev/shm")
OURS = "laion_dask"


@dataclass
class Report:
    """One benchmark's results.

    Attributes
    ----------
    name : str
        Stem of its two files, ``gpu-NAME.md`` and ``gpu-NAME.json``.
    title : str
    about : dict
        Result of `environment.about`.
    ceilings : Ceilings
    tables : dict of str to str
        Heading → Markdown.
    targets : list of dict
    notes : list of str
        One paragraph each, below the tables.
    runs : dict of str to Runs
    figures : dict
        Further entries of the JSON file.
    wrong : bool
        Whether a result is incorrect, which makes the figures meaningless.
    """

    name: str
    title: str
    about: dict
    ceilings: Ceilings
    tables: dict[str, str] = field(default_factory=dict)
    targets: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    runs: dict[str, Runs] = field(default_factory=dict)
    figures: dict = field(default_factory=dict)
    wrong: bool = False

    def text(self) -> str:
        """The report as Markdown."""
        about = self.about
        versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
        lines = [
            f"# {self.title}",
            "",
            f"{about['date']}, {about['gpu']['name']} "
            f"({about['gpu']['memory_bytes'] / 2**30:.0f} GiB), driver {about['driver']}, CUDA "
            f"{about['cuda']}; {about['cpu']}, {about['cores']} cores, Python {about['python']}; "
            f"{versions}. Contenders take turns; medians of warm runs.",
            "",
            f"Peak rates, measured in the same process: {self.ceilings}.",
        ]
        for heading, table_ in self.tables.items():
            lines += ["", f"## {heading}", "", table_]
        for note in (*self.notes, *errors(self.runs)):
            lines += ["", note]
        lines += ["", *map(line, self.targets)]
        return "\n".join(lines) + "\n"

    def write(self, folder: str | Path) -> int:
        """Print the report, write both files, and return the exit code.

        The exit code is 1 if a result is incorrect or a contender of ours did not run.
        """
        text, folder = self.text(), Path(folder)
        print(text)
        folder.mkdir(parents=True, exist_ok=True)
        stored = {
            **self.about,
            "ceilings": asdict(self.ceilings),
            "targets": self.targets,
            "notes": self.notes,
            **self.figures,
            "runs": {name: runs.stored() for name, runs in self.runs.items()},
        }
        (folder / f"gpu-{self.name}.md").write_text(text)
        text = json.dumps(_finite(stored), indent=1, allow_nan=False) + "\n"
        (folder / f"gpu-{self.name}.json").write_text(text)
        failed = any(name.startswith(OURS) and each.error for name, each in self.runs.items())
        return int(self.wrong or failed)


def _finite(value):
    """Replace NaN and infinities, which JSON lacks, by None."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: first column left-aligned, others right-aligned, our contenders bold."""
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for name, *cells in rows:
        shown = f"**{name}**" if name.startswith(OURS) else name
        lines.append(f"| {' | '.join([shown, *cells])} |")
    return "\n".join(lines)


def share(part: float, whole: float) -> str:
    """A percentage; empty if undefined."""
    known = math.isfinite(part) and math.isfinite(whole) and whole > 0
    return f"{100 * part / whole:.0f} %" if known else ""


def number(value: float, digits: int = 0) -> str:
    """A number with thousands separators; empty if unknown."""
    return f"{value:,.{digits}f}" if math.isfinite(value) else ""


def ratio(part: float, whole: float) -> float:
    """``part / whole``; NaN if either is unknown or ``whole`` is zero."""
    return part / whole if math.isfinite(part) and whole else math.nan


def target(
    what: str, value: float, *, at_most: float = math.inf, at_least: float = -math.inf
) -> dict:
    """A target with the value reached. An unknown value does not pass."""
    passed = at_least <= value <= at_most
    known = round(value, 4) if math.isfinite(value) else None
    return {"target": what, "reached": known, "passed": passed}


def line(reached: dict) -> str:
    """A target as a Markdown list item."""
    value = "not measured" if reached["reached"] is None else reached["reached"]
    return f"- {'pass' if reached['passed'] else 'FAIL'}: {reached['target']}: {value}"


def errors(runs: dict[str, Runs]) -> list[str]:
    """A note for each contender that failed."""
    return [f"{name} did not run: `{each.error}`" for name, each in runs.items() if each.error]


def arguments(doc: str) -> argparse.ArgumentParser:
    """The argument parser that the benchmarks share."""
    parser = argparse.ArgumentParser(description=doc.split("\n", 1)[0])
    parser.add_argument(
        "--repeats", type=int, default=5, help="runs per contender, after the discarded first"
    )
    parser.add_argument("--data", help="folder for generated files; default: memory if they fit")
    parser.add_argument("--results", default=str(RESULTS), help="folder for the results")
    return parser


def room(data: str | None) -> int:
    """The largest number of bytes that `scratch` accepts."""
    fits = [shutil.disk_usage(_folder(data)).free / 1.1]
    if data is None and IN_MEMORY.is_dir():
        fits.append(shutil.disk_usage(IN_MEMORY).free / 2)
    return int(max(fits))


def scratch(data: str | None, n_bytes: int) -> tempfile.TemporaryDirectory:
    """A temporary folder with room for ``n_bytes``.

    By default in memory if twice as much is free there, and otherwise in ``.bench``; if ``data`` is
    given, always in that folder.

    Raises
    ------
    SystemExit
        If there is not enough room.
    """
    parent = _folder(data)
    if data is None and IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free >= 2 * n_bytes:
        parent = IN_MEMORY
    free = shutil.disk_usage(parent).free
    if free < 1.1 * n_bytes:
        print(
            f"{parent.resolve()} has {free / 1e9:.1f} GB free; {n_bytes / 1e9:.1f} GB are needed. "
            "Choose another folder with --data, or fewer rows.",
            file=sys.stderr,
        )
        raise SystemExit(2)
    return tempfile.TemporaryDirectory(dir=parent, prefix="laion-dask-bench-")


def _folder(data: str | None) -> Path:
    folder = Path(data or ".bench")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
