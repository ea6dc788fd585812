"""Messages of a notebook's pages leave the kernel's standard output alone."""

from __future__ import annotations

import io
import sys
import threading

import pytest

pytest.importorskip("panel")

from pyviz_comms import JupyterComm

import laion_dask.explorer.views.component  # noqa: F401  (every explorer loads it)

_MESSAGE = {"content": {"data": {}}}


class _Message:
    """Handles a message in a thread of its own, until an event is set."""

    def __init__(self, text: str = "") -> None:
        self.is_handled, self.may_end = threading.Event(), threading.Event()
        self.printed: list[str] = []
        comm = JupyterComm(on_msg=self._handle, on_stdout=self.printed.extend)
        comm.send = lambda *_, **__: None
        self._text = text
        self._thread = threading.Thread(target=comm._handle_msg, args=(_MESSAGE,))
        self._thread.start()
        assert self.is_handled.wait(10)

    def _handle(self, _) -> None:
        self.is_handled.set()
        self.may_end.wait(10)
        if self._text:
            print(self._text)

    def end(self) -> None:
        self.may_end.set()
        self._thread.join(10)


@pytest.mark.parametrize("is_first_last", [False, True])
def test_two_messages_at_once_leave_standard_output_as_it_was(is_first_last):
    before = sys.stdout
    messages = [_Message(), _Message()]
    for message in messages[::-1] if is_first_last else messages:
        message.end()
    assert sys.stdout is before


def test_a_print_while_a_message_is_handled_is_printed(capsys):
    one, other = _Message("of the first"), _Message("of the second")
    print("a line of the running cell")
    sys.stdout.flush()
    one.end()
    print("another line")
    other.end()
    print("after all")
    assert capsys.readouterr().out == "a line of the running cell\nanother line\nafter all\n"
    assert (one.printed, other.printed) == (["of the first"], ["of the second"])


def test_an_error_within_a_message_leaves_standard_output_as_it_was():
    before = sys.stdout
    comm = JupyterComm(on_msg=lambda _: 1 / 0)
    comm.send = lambda *_, **__: None
    comm._handle_msg(_MESSAGE)
    assert sys.stdout is before


def test_standard_output_that_is_redirected_meanwhile_stays_redirected():
    before, mine = sys.stdout, io.StringIO()
    message = _Message("of the message")
    try:
        sys.stdout = mine
        message.end()
        assert sys.stdout is mine and mine.getvalue() == "of the message\n"
    finally:
        sys.stdout = before
