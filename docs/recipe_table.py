"""Write the table of shipped recipes into the how-to page. Run it when a recipe is added."""

from __future__ import annotations

import re
from pathlib import Path

from laion_dask.curation.recipes.recipe_table import recipes

PAGE = Path(__file__).parent / "how-to" / "carve.md"
START, END = "<!-- recipes: start -->\n", "<!-- recipes: end -->\n"


def table() -> str:
    """The table as Markdown."""
    lines = ["| recipe | needs |", "|---|---|"]
    for one in recipes().to_dict("records"):
        needs = re.sub(r"(--set \w+|\w+_\w+)", r"`\1`", one["needs"])
        lines.append(f"| `{one['name']}`: {one['title']} | {needs} |")
    return "\n".join(lines) + "\n"


def updated(page: str) -> str:
    """The page with the table of the recipes that ship now."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
