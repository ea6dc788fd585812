"""The explorer is for everybody: axe-core finds no serious fault on a page with every view."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from support.explorer_page import ExplorerPage

#: `make browser` puts it there, from npm.
AXE = Path(sys.prefix) / "axe-core" / "package" / "axe.min.js"


@pytest.mark.skipif(
    not AXE.is_file(), reason="axe-core is not installed; `make browser` installs it"
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(page, watch, demo_address, screenshot, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto(demo_address)
    explorer = ExplorerPage(page).wait()
    page.locator(".page.dark" if scheme == "dark" else ".page:not(.dark)").wait_for()
    page.locator(".ld-map[data-order]").wait_for()
    page.evaluate(AXE.read_text(encoding="utf-8"))
    everything = explorer.selected
    explorer.drag(explorer.map("Lasso"), (0.3, 0.4), (0.6, 0.3), (0.6, 0.7), (0.4, 0.8))
    explorer.wait_for_other_than(everything)
    faults = []
    for tab in page.get_by_role("tab").all():
        tab.click()
        page.locator(".panel.shown > *").wait_for()
        faults += lasting_faults(page)
    screenshot(page)
    assert not faults, "\n".join(sorted(set(faults)))


def lasting_faults(page) -> list[str]:
    """Serious faults that are still there after 20 seconds: a view that is being drawn has some."""
    end = time.monotonic() + 20
    while (faults := serious_faults(page)) and time.monotonic() < end:
        time.sleep(0.3)
    return faults


def serious_faults(page) -> list[str]:
    """What axe finds that keeps people out: its rule, and the elements."""
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{rule['impact']} {rule['id']}: {rule['help']}: {node['html'][:200]}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
