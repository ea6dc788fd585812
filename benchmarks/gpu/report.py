"""What is printed and stored: tables, targets, conditions; and where generated files are put."""

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
        Of its two files: ``gpu-NAME.md`` and ``gpu-NAME.json``.
    title : str
    about : dict
        As `card.about` has it.
    ceilings : Ceilings
    tables : dict of str to str
        Heading → Markdown.
    targets : list of dict
    notes : list of str
        Under the tables, a paragraph each.
    runs : dict of str to Runs
    figures : dict
        Whatever else the JSON file should hold.
    wrong : bool
        Whether what was computed is not right; then the figures mean nothing.
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
        """Markdown."""
        about = self.about
        versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
        lines = [
            f"# {self.title}",
            "",
            f"{about['date']}, {about['card']['name']} "
            f"({about['card']['memory_bytes'] / 2**30:.0f} GiB), driver {about['driver']}, CUDA "
            f"{about['cuda']}; {about['cpu']}, {about['cores']} cores, Python {about['python']}; "
            f"{versions}. Medians of runs in turn, warm.",
            "",
            f"Ceilings, measured in the same process: {self.ceilings}.",
        ]
        for heading, table_ in self.tables.items():
            lines += ["", f"## {heading}", "", table_]
        for note in (*self.notes, *errors(self.runs)):
            lines += ["", note]
        lines += ["", *map(line, self.targets)]
        return "\n".join(lines) + "\n"

    def write(self, folder: str | Path) -> int:
        """Print, store both files, and say what the process should end with.

        1 where what was computed is wrong, or a way of ours did not run.
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
        text = json.dumps(_known(stored), indent=1, allow_nan=False) + "\n"
        (folder / f"gpu-{self.name}.json").write_text(text)
        failed = any(name.startswith(OURS) and each.error for name, each in self.runs.items())
        return int(self.wrong or failed)


def _known(value):
    """The same without NaN and infinities, which JSON does not have; None stands for them."""
    if isinstance(value, dict):
        return {key: _known(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_known(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first column to the left, the others to the right; our ways are bold."""
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for name, *cells in rows:
        shown = f"**{name}**" if name.startswith(OURS) else name
        lines.append(f"| {' | '.join([shown, *cells])} |")
    return "\n".join(lines)


def share(part: float, whole: float) -> str:
    """A percentage, empty where there is none."""
    known = math.isfinite(part) and math.isfinite(whole) and whole > 0
    return f"{100 * part / whole:.0f} %" if known else ""


def number(value: float, digits: int = 0) -> str:
    """With commas; empty where it is unknown."""
    return f"{value:,.{digits}f}" if math.isfinite(value) else ""


def ratio(part: float, whole: float) -> float:
    """``part / whole``; NaN where either is unknown or there is no whole."""
    return part / whole if math.isfinite(part) and whole else math.nan


def target(
    what: str, value: float, *, at_most: float = math.inf, at_least: float = -math.inf
) -> dict:
    """What was asked, what was reached. An unknown value passes nothing."""
    passed = at_least <= value <= at_most
    known = round(value, 4) if math.isfinite(value) else None
    return {"target": what, "reached": known, "passed": passed}


def line(reached: dict) -> str:
    """A target in words."""
    value = "not measured" if reached["reached"] is None else reached["reached"]
    return f"- {'pass' if reached['passed'] else 'FAIL'}: {reached['target']}: {value}"


def errors(runs: dict[str, Runs]) -> list[str]:
    """A note for each way that failed."""
    return [f"{name} did not run: `{each.error}`" for name, each in runs.items() if each.error]


def arguments(doc: str) -> argparse.ArgumentParser:
    """The command line that the benchmarks share."""
    parser = argparse.ArgumentParser(description=doc.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=5, help="runs that count, of each way")
    parser.add_argument("--data", help="a folder for generated files; else memory if they fit")
    parser.add_argument("--results", default=str(RESULTS), help="where to write")
    return parser


def room(data: str | None) -> int:
    """The most bytes that `scratch` takes."""
    fits = [shutil.disk_usage(_made(data)).free / 1.1]
    if data is None and IN_MEMORY.is_dir():
        fits.append(shutil.disk_usage(IN_MEMORY).free / 2)
    return int(max(fits))


def scratch(data: str | None, n_bytes: int) -> tempfile.TemporaryDirectory:
    """A folder with room for so many bytes, that goes when it is closed.

    In memory, where twice as much is free there; else in ``.bench``, or in the folder given.

    Raises
    ------
    SystemExit
        Where there is no room.
    """
    place = _made(data)
    if data is None and IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free >= 2 * n_bytes:
        place = IN_MEMORY
    free = shutil.disk_usage(place).free
    if free < 1.1 * n_bytes:
        print(
            f"{place.resolve()} has {free / 1e9:.1f} GB free; {n_bytes / 1e9:.1f} GB are written. "
            "Name another folder with --data, or ask for less.",
            file=sys.stderr,
        )
        raise SystemExit(2)
    return tempfile.TemporaryDirectory(dir=place, prefix="laion-dask-bench-")


def _made(data: str | None) -> Path:
    place = Path(data or ".bench")
    place.mkdir(parents=True, exist_ok=True)
    return place
