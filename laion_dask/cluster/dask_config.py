"""Dask's configuration in this process while one of our clients is open."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress

import dask
import distributed

_CONVERT = "dataframe.convert-string"
_SHUFFLE = "dataframe.shuffle.method"
_PATIENCE = "distributed.deploy.lost-worker-timeout"
#: `distributed.Client` sets it to its own name, and does not reset it if the first of two clients
#: closes first.
_SCHEDULER = "scheduler"
_THEIRS = "dask.distributed"

_lock = threading.RLock()
_clients: list[tuple[weakref.ref, dict]] = []  # open clients, newest last, and their settings
_original: dict[str, object] = {}  # the value of each setting before the first client
_applied: dict[str, object] = {}  # the last value that we set


def of_cluster(gpu: bool | None) -> dict[str, object]:
    """The settings for a client, by whether its workers use GPUs; None if unknown."""
    return {
        _CONVERT: False,
        _SHUFFLE: "p2p" if gpu is False else "tasks",
        # A local nanny lives as long as the cluster; the job of a queue may be gone.
        _PATIENCE: "2m" if gpu is None else "1h",
    }


def hold(client, settings: Mapping[str, object]) -> None:
    """Apply a client's settings until `release`; the newest of several clients takes precedence.

    A shuffle method set by the user is kept. Call this before the client sets anything.
    """
    with _lock:
        _forget(client)
        if not _clients and _SCHEDULER not in _original:
            _original[_SCHEDULER] = dask.config.get(_SCHEDULER, None)
        settings = dict(settings)
        method = dask.config.get(_SHUFFLE, None)
        if method is not None and method != _applied.get(_SHUFFLE):
            del settings[_SHUFFLE]
        _clients.append((weakref.ref(client), settings))
        _apply()


def release(client) -> None:
    """Apply the settings of the remaining clients, or restore the original ones after the last.

    Settings changed elsewhere in the meantime are kept. Does nothing for an unknown client.
    """
    with _lock:
        _forget(client)
        _apply()


def leave_scheduler() -> None:
    """Restore Dask's scheduler when no client is left, since `distributed` may forget to."""
    with _lock, suppress(KeyError):
        if not _clients and _no_client():
            before = _original.pop(_SCHEDULER)
            if dask.config.get(_SCHEDULER, None) == _THEIRS:
                if before is None or before == _THEIRS:
                    dask.config.config.pop(_SCHEDULER)
                else:
                    dask.config.set({_SCHEDULER: before})


def _no_client() -> bool:
    try:
        return distributed.default_client().status == "closed"
    except ValueError:
        return True


def _forget(client) -> None:
    clients = [(reference, reference(), settings) for reference, settings in _clients]
    _clients[:] = [
        (reference, settings)
        for reference, other, settings in clients
        if other is not None and other is not client and other.status != "closed"
    ]


def _apply() -> None:
    settings = {
        name: value for _, client_settings in _clients for name, value in client_settings.items()
    }
    for name in {*settings, *_applied}:
        current = dask.config.get(name, None)
        if name not in _applied:
            _original[name] = current
        elif current != _applied[name]:  # changed elsewhere since
            if name not in settings:
                del _applied[name], _original[name]
            continue
        if name in settings:
            _applied[name] = settings[name]
            dask.config.set({name: settings[name]})
        else:
            del _applied[name]
            dask.config.set({name: _original.pop(name)})
