"""A part of the page: a small ES module with a state, which Python sets as one JSON text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import param
from panel.custom import JSComponent

from laion_dask.explorer.jobs import VIEWS
from laion_dask.explorer.standard_output import capture_by_thread

_FOLDER = Path(__file__).parent

capture_by_thread()


def source(*names: str) -> str:
    """The text of files of this folder, one after another."""
    return "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)


def module(name: str) -> str:
    """A component's module, with what all share; nothing in it is imported from elsewhere."""
    return source("common.js", f"{name}.js")


def styles(name: str) -> list[str]:
    """A component's style sheets."""
    return [source("common.css", f"{name}.css")]


class MessageComponent(JSComponent):
    """A component that sends messages to ``on_message``, and is told what to show by `tell`.

    What `tell` sends is no part of the model, so a notebook that shows the component never has it:
    rows and pictures are shown this way.
    """

    __abstract = True

    #: The parameters that the browser may change.
    _set_by_browser: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, on_message: Callable[[dict[str, Any]], None], **params: Any) -> None:
        super().__init__(**params)
        self._on_message = on_message
        self.on_error: Callable[[Exception], object] | None = None

    def tell(self, message: Any) -> None:
        """Send a message to every browser that shows the component."""
        self._send_msg(as_json(message))

    def _process_property_change(self, props: dict[str, Any]) -> dict[str, Any]:
        """Take from the browser only what it may change, and set the rest right again there.

        A model that came to the browser after its page is sent back whole, as it came, with the
        first message that it causes; that would undo what has changed meanwhile.
        """
        own = [name for name in props if name not in self._set_by_browser]
        if undone := [name for name in own if _differ(props[name], getattr(self, name))]:
            self.param.trigger(*undone)
        taken = {name: value for name, value in props.items() if name not in own}
        return super()._process_property_change(taken)

    def _handle_msg(self, data: Any) -> None:
        if not isinstance(data, dict):
            return
        with VIEWS:
            try:
                self._on_message(data)
            except Exception as error:
                if self.on_error is None:
                    raise
                self.on_error(error)


def _differ(one: Any, other: Any) -> bool:
    """Whether two values of a property differ; pictures, which hold arrays, are taken to."""
    try:
        return bool(one != other)
    except ValueError:
        return True


class Component(MessageComponent):
    """A component that draws ``state``, and sends messages to ``on_message``.

    The state is JSON in one text. Bokeh would take a mapping apart, and could not send a text with
    half of a surrogate pair, as captions and URLs may have.
    """

    state = param.String("null")

    __abstract = True

    def draw(self, state: Any) -> None:
        """Draw a state; nothing is sent if it is the one that is drawn already."""
        text = as_json(state)
        if text != self.state:
            self.state = text


def as_json(value: Any) -> str:
    """Compact JSON in ASCII."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
