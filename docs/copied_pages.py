"""Copy the files of the repository that are also pages, with links that lead to pages."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

#: Files of the repository that are pages, by the folder of ``docs/`` that they are copied to.
COPIED = {
    "notebooks": sorted((ROOT / "notebooks").glob("*.ipynb")),
    "benchmark-results": sorted((ROOT / "benchmarks/results").glob("*.md")),
    "project": [ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"],
    "measured": [ROOT / "benchmarks/README.md"],
}


def write(docs: Path) -> None:
    """Copy the pages into folders of ``docs``, replacing earlier copies."""
    for name, sources in COPIED.items():
        _copy(docs / name, sources)


def _copy(folder: Path, sources: list[Path]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for source in sources:
        text = source.read_text(encoding="utf-8")
        if source.suffix == ".ipynb":
            notebook = json.loads(text)
            for cell in notebook["cells"]:
                if cell["cell_type"] == "markdown":
                    cell["source"] = with_links_to_pages("".join(cell["source"]), source)
            text = json.dumps(notebook, ensure_ascii=False)
        else:
            text = with_links_to_pages(text, source)
        (folder / source.name).write_text(text, encoding="utf-8")


def with_links_to_pages(text: str, source: Path) -> str:
    """Replace links to repository files: by the page that shows the file, or else by their text.

    Raises
    ------
    ValueError
        When a file that a link leads to does not exist.
    """

    def link(match: re.Match) -> str:
        words, target = match[1], match[2]
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, _, anchor = unquote(target).partition("#")
        file = (source.parent / path).resolve()
        if not file.exists():
            raise ValueError(f"{source} links to {target}, which does not exist.")
        page = _page_of(file)
        if page is None:
            return words
        return f"[{words}]({page}#{anchor})" if anchor else f"[{words}]({page})"

    return re.sub(r"\[([^\]\[]+)\]\(([^)\s]+)\)", link, text)


def _page_of(file: Path) -> str | None:
    """The page that shows a file of the repository."""
    for name, sources in COPIED.items():
        if file in sources:
            return f"/{name}/{file.name}"
    is_page = file.is_relative_to(HERE) and file.suffix in (".md", ".ipynb")
    return f"/{file.relative_to(HERE)}" if is_page else None
