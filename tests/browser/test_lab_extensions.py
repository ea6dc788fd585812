"""What is drawn in JupyterLab without a network: Bokeh, Tabulator and ES modules."""

from __future__ import annotations

from collections.abc import Callable

import nbformat
import pytest
from playwright.sync_api import expect
from support.lab_page import LabPage

LOADED = "import laion_dask as ld\nld.notebook()\nld.notebook()"

APP = '''import pandas as pd
import panel as pn
import param
from bokeh.events import SelectionGeometry
from bokeh.plotting import figure
from panel.custom import JSComponent

class Counter(JSComponent):
    value = param.Integer(0)
    _esm = """
    export function render({ model, el }) {
      const button = document.createElement("button")
      button.className = "counter"
      button.textContent = "count"
      button.addEventListener("click", () => { model.value += 1 })
      el.append(button)
    }
    """

heard = pn.widgets.StaticText(value="nothing")
plot = figure(width=300, height=200, tools="box_select", active_drag="box_select")
plot.line([0, 1, 2], [0, 2, 1])
plot.on_event(SelectionGeometry, lambda event: setattr(heard, "value", "a box"))
counter = Counter()
counter.param.watch(lambda event: setattr(heard, "value", f"counted {event.new}"), "value")
table = pn.widgets.Tabulator(
    pd.DataFrame({"n": range(100)}), pagination="remote", page_size=5, disabled=True, height=250
)
pn.Column(counter, heard, plot, table)'''

LIVE = """import holoviews as hv
lines = hv.DynamicMap(lambda k: hv.Curve([(i, i * k) for i in range(5)]), kdims="k")
lines.redim.range(k=(1, 5))"""


@pytest.fixture
def notebook_of(lab) -> Callable[..., str]:
    """``notebook_of("name", cell, ...)`` writes a notebook; returns its path on the server."""

    def write(name: str, *cells: str) -> str:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3 (ipykernel)",
        }
        nbformat.write(notebook, lab.folder / f"{name}.ipynb")
        return f"{name}.ipynb"

    return write


def test_bokeh_panel_and_holoviews_work_without_a_network(lab_page: LabPage, notebook_of):
    lab_page.open(notebook_of("widgets", LOADED, APP, LIVE))
    lab_page.run_all()
    page = lab_page.page
    page.locator("button.counter").click()
    expect(page.locator(".bk-clearfix", has_text="counted 1")).to_be_visible()
    plot = page.locator(".bk-Figure").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 120, steps=5)
    page.mouse.up()
    expect(page.locator(".bk-clearfix", has_text="a box")).to_be_visible()
    cells = page.locator(".tabulator-cell")
    expect(cells.filter(has_text="4", visible=True).first).to_be_visible()
    page.locator(".tabulator-page[data-page=next]").click()
    expect(cells.filter(has_text="9", visible=True).first).to_be_visible()
    page.locator(".bk-Figure").nth(1).scroll_into_view_if_needed()
    expect(page.locator(".bk-Figure")).to_have_count(2)


CLIENT = """import laion_dask as ld
client = ld.start_cluster(n_workers=1)
print(client.dashboard_link)"""


def test_a_pane_of_dask_shows_the_tasks_of_our_client(lab_page: LabPage, notebook_of):
    lab_page.open(notebook_of("client", CLIENT))
    lab_page.run_all()
    page = lab_page.page
    link = lab_page.outputs().locator("pre").last.inner_text().strip()
    assert link.startswith("http://127.0.0.1:")
    page.get_by_role("tab", name="Dask").click()
    address = page.locator(".dask-URLInput input")
    address.fill(link)
    address.press("Enter")
    page.locator(".dask-DashboardListing-item button[value='Task Stream']").click()
    pane = page.locator(".dask-DaskDashboard-widget iframe").content_frame
    pane.locator(".bk-Figure canvas").first.wait_for()
