"""What a component of the page takes from the browser."""

from bokeh.document import Document

from laion_dask.explorer.views.chips import ChipsComponent
from laion_dask.explorer.views.page import PageComponent


def test_a_browser_that_sends_an_old_state_changes_nothing():
    component = ChipsComponent(lambda message: None)
    document = Document()
    model = component.get_root(document)
    document.add_root(model)
    component.draw([1])
    component.draw([2])
    model.data.state = "[1]"  # as the browser's message does
    assert component.state == model.data.state == "[2]"


def test_the_browser_chooses_the_tab_and_the_theme():
    page = PageComponent()
    model = page.get_root(Document())
    model.data.update(active=2, dark=True, layout="{}")
    assert (page.active, page.dark, page.layout) == (2, True, "null")
