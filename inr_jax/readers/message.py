"""Objects of arrays and plain values through a pipe: one line of JSON, then the arrays' bytes. Nothing is unpickled."""

import json
from collections.abc import Callable
from dataclasses import fields
from typing import IO, Any

import numpy as np

from inr_jax.scan import Scan


def send(stream: IO[bytes], answer: dict[str, Any]) -> None:
    """Writes a dictionary whose values are plain, arrays, or lists and dictionaries of both."""
    arrays: list[np.ndarray] = []
    stream.write(json.dumps(_described(answer, arrays)).encode() + b"\n")
    for array in arrays:
        stream.write(np.ascontiguousarray(array).data)
    stream.flush()


def _described(value: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": value.dtype.str, "shape": value.shape}
    if isinstance(value, dict):
        return {key: _described(inner, arrays) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_described(inner, arrays) for inner in value]
    return value.item() if isinstance(value, np.generic) else value


def received(line: bytes, take: Callable[[int], bytearray]) -> Any:
    """What was sent: its line, and how to get so many bytes that follow."""
    return _restored(json.loads(line), take)


def _restored(value: Any, take: Callable[[int], bytearray]) -> Any:
    if isinstance(value, list):
        return [_restored(inner, take) for inner in value]
    if not isinstance(value, dict):
        return value
    if "array" not in value:
        return {key: _restored(inner, take) for key, inner in value.items()}
    dtype, shape = np.dtype(value["array"]), tuple(value["shape"])
    content = take(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
    return np.frombuffer(content, dtype).reshape(shape)


def of_scan(scan: Scan) -> dict[str, Any]:
    """A scan as a dictionary that can be sent without copies."""
    values = {field.name: getattr(scan, field.name) for field in fields(scan)}
    return {k: np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value for k, value in values.items()}


def to_scan(found: dict[str, Any]) -> Scan:
    """The scan again."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    return Scan(**values)
