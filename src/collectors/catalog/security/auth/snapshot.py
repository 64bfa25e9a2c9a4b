"""A collector's arrays and settings as bytes, and back."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.errors import MalformedBody

_FORMAT = "security_events/1"

State = Mapping[str, Any]
"""Plain values as JSON has them, arrays, and mappings of these."""


def dump(state: State) -> bytes:
    """Write a state as an ``npz`` archive: each array by its path, everything else as one JSON text."""
    arrays: dict[str, NDArray[Any]] = {}
    plain = {"format": _FORMAT, **_split(state, "", arrays)}
    arrays["plain"] = np.frombuffer(json.dumps(plain).encode(), np.uint8)
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def load(data: bytes) -> dict[str, Any]:
    """Read what ``dump`` wrote; MalformedBody if it is something else."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = dict(archive)
        plain = json.loads(arrays.pop("plain").tobytes())
        if plain.pop("format") != _FORMAT:
            raise ValueError("another format")  # noqa: TRY301  # refused like what cannot be read at all
        return _join(plain, "", arrays)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise MalformedBody("this is no snapshot of security_events; let it start without one") from error


def _split(state: State, path: str, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, value in state.items():
        if isinstance(value, np.ndarray):
            arrays[f"{path}{key}"] = value
            plain[key] = None
        else:
            plain[key] = _split(value, f"{path}{key}.", arrays) if isinstance(value, Mapping) else value
    return plain


def _join(plain: Mapping[str, Any], path: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for key, value in plain.items():
        if value is None:
            joined[key] = arrays[f"{path}{key}"]
        else:
            joined[key] = _join(value, f"{path}{key}.", arrays) if isinstance(value, Mapping) else value
    return joined
