"""Panel, Bokeh and HoloViews in the page of a notebook, without network access.

What an app of Panel loads there, and from where (Panel 1.9, Bokeh 3.9; `tests/browser` holds it):

- BokehJS, Panel, Tabulator with luxon, and es-module-shims, which runs the ES modules of a
  ``JSComponent``: scripts of the installed packages. Panel embeds them if ``config.inline`` is set,
  3.5 MB, published twice; they are published here once, compressed to 1.3 MB.
- Style sheets of widgets and of the design: embedded in each model if ``config.inline`` is set.
- Messages between page and kernel: the labextension of pyviz_comms, which Panel installs and Lab
  enables. Notebooks of VS Code need jupyter_bokeh for callbacks.
- From a CDN, whatever is set: three style sheets, when the object of a pane changes; without a
  network, the console says so. Widgets have no such objects.
- Never: icons by a name of Tabler's (``icon="x"``), which load a font from a CDN (give an SVG), the
  spinners of ``loading=True``, whose file no notebook server has, MathJax, templates, and imports
  in an ES module.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
from importlib.resources import files

from laion_dask.extras import is_installed, require_extra
from laion_dask.notebook_traceback import notebook_shell
from laion_dask.plots.offline_page import display_live_plots

#: The execution count of the cell that last published the scripts.
_published_by: list[int] = []


def notebook() -> None:
    """Load Panel, Bokeh and HoloViews into the notebook, without network access. Eager.

    For your own widgets and live plots of HoloViews. What this package displays loads what it needs
    itself. The scripts are embedded in the notebook, so run this once after its page was reloaded;
    running it again is harmless, and outside of a notebook it does nothing.

    Raises
    ------
    MissingExtraError
        When a package of the extra 'explore' is not installed.

    Examples
    --------
    >>> import laion_dask as ld
    >>> ld.notebook()
    """
    require_extra("explore", "ld.notebook()")
    load_in_page()
    if notebook_shell() is not None:
        display_live_plots()


def load_in_page() -> None:
    """Publish the scripts of Bokeh, Panel and Tabulator, once a cell; nothing outside of notebooks.

    Each cell that shows an app publishes them, since the page may have been reloaded meanwhile; a
    page that has them runs nothing.
    """
    shell = notebook_shell()
    if shell is None:
        return
    from IPython.display import publish_display_data

    script = _page_script()
    if _published_by != [shell.execution_count]:
        _published_by[:] = [shell.execution_count]
        publish_display_data({"application/javascript": script})


@functools.lru_cache(maxsize=1)
def _page_script() -> str:
    """Connect Panel with the kernel, and return the script that loads it into a page."""
    import bokeh
    import panel
    from IPython.utils.capture import capture_output
    from panel.io.notebook import load_notebook

    # In VS Code Panel warns unless jupyter_bokeh is installed; in both it is then the default.
    options = {} if is_installed("jupyter_bokeh") else {"comms": "default"}
    with capture_output():  # it publishes the same scripts two or three times
        panel.extension("tabulator", inline=True, **options)
    with capture_output() as captured:
        load_notebook(inline=True)
    published = [output.data for output in captured.outputs]
    scripts = [data["application/javascript"] for data in published if len(data) == 2]
    style = next(data["text/html"] for data in published if "text/html" in data)
    # Messages first: an app connects as soon as it finds BokehJS and Panel.
    packed = gzip.compress("\n".join(reversed(scripts)).encode(), mtime=0)
    source = files("laion_dask.explorer").joinpath("page_loader.js").read_text(encoding="utf-8")
    values = {
        "packed": base64.b64encode(packed).decode(),
        "digest": hashlib.sha256(packed).hexdigest()[:16],
        "bokeh": bokeh.__version__,
        "style": style.partition("<style>")[2].partition("</style>")[0],
    }
    for name, value in values.items():
        source = source.replace("{{ " + name + " }}", json.dumps(value))
    return source
