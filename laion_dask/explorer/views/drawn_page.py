"""A page that a notebook may draw more than once: after a reload, moved, or in a second tab."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import param
from bokeh.document import Document
from bokeh.model import Model
from panel.io import state
from pyviz_comms import Comm

from laion_dask.explorer.jobs import VIEWS
from laion_dask.explorer.views.component import MessageComponent

#: Seconds before a removed page is forgotten: moving a cell removes its page and draws it again.
_KEPT_S = 30.0


class DrawnPage(MessageComponent):
    """A component that may be shown on several pages, of which the one drawn last has the views.

    A page is empty until its browser asks for the views: in a notebook, anything sent earlier is
    lost, and the browser would never know the models in it.

    Attributes
    ----------
    owner : str
        The name that the page with the views gave itself; empty before the first page.
    """

    owner = param.String("")

    __abstract = True

    def __init__(self, **params: Any) -> None:
        super().__init__(self._receive, **params)
        self._ready: Callable[[], object] = lambda: None
        self._in_notebook: dict[str, tuple[Any, ...]] = {}  # what Panel knows of a page, by its id
        self._removals: list[threading.Timer] = []

    def on_ready(self, callback: Callable[[], object]) -> None:
        """Call a function when an empty page asks for its views."""
        self._ready = callback

    def _forget(self) -> None:
        """Forget what was sent: a page that is drawn again starts empty."""
        raise NotImplementedError

    def _receive(self, message: dict[str, Any]) -> None:
        page = str(message.get("browser"))
        if message.get("kind") != "ready":
            return
        while self._removals:
            self._removals.pop().cancel()
        if page != self.owner:
            is_first, self.owner = not self.owner, page  # other pages receive nothing from now on
            if not is_first:
                self._forget()
            self._ready()

    def _on_msg(self, ref: str, manager: Any, msg: Any) -> None:
        """Act on a message of a notebook's page, on whichever thread it arrives."""
        with VIEWS:
            super()._on_msg(ref, manager, msg)

    def _render_mimebundle(
        self, model: Model, doc: Document, comm: Comm, location: Any = None
    ) -> Any:
        bundle = super()._render_mimebundle(model, doc, comm, location)
        ref = model.ref["id"]
        self._in_notebook[ref] = state._views[ref]
        _answer_senders(self._comms[ref][1])
        return bundle

    def _cleanup(self, root: Model | None = None) -> None:
        """Remove a page; in a notebook, only if it is not drawn again soon."""
        ref = None if root is None else root.ref["id"]
        if ref not in self._in_notebook:
            super()._cleanup(root)
            return
        state._views[ref] = self._in_notebook[ref]
        removal = threading.Timer(_KEPT_S, self._remove, [root])
        removal.daemon = True
        self._removals.append(removal)
        removal.start()

    def _remove(self, root: Model) -> None:
        with VIEWS:
            if threading.current_thread() not in self._removals:
                return  # the page was drawn again while this waited for the views
            state._views.pop(root.ref["id"], None)
            self._in_notebook.pop(root.ref["id"], None)
            super()._cleanup(root)


def _answer_senders(client: Comm) -> None:
    """Answer each message on the page that sent it.

    pyviz_comms 3.0 answers on the page that was drawn last; any other would wait five seconds.
    """
    handle, manager = client._handle_msg, getattr(client, "manager", None)
    if manager is None:
        return
    thread = threading.local()  # messages come in several threads

    def answer(message: dict[str, Any]) -> None:
        thread.sender = manager.get_comm(message["content"]["comm_id"])
        try:
            handle(message)
        finally:
            thread.sender = None

    def send(data: Any = None, metadata: Any = None, buffers: Sequence[Any] = ()) -> None:
        comm = getattr(thread, "sender", None) or client.comm
        comm.send(data, metadata=metadata, buffers=list(buffers))

    client._handle_msg, client.send = answer, send
