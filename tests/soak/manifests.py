"""Mutated manifests. The same seed gives the same bytes."""

from __future__ import annotations

import json
import random
from typing import Any

VALUES: list[Any] = [
    None, True, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 1e308, -0.0, 0.5, float("nan"), float("inf"),
    "", "a", "\x00", "\ud800", "../../etc/passwd", "/etc/passwd", "C:\\x", "..", "x" * 5000, "é" * 100,
    [], [[]], {}, {"a": {}}, ["hide"], "client", "server", "0" * 64, "f" * 63, [1, None], [0, 0], [5, 1],
]  # fmt: skip


def mutate(number: int, good: bytes) -> bytes:
    """Manifest `number`: its structure or its bytes damaged."""
    r = random.Random(number)
    if r.random() < 0.3:
        return _bytes(r, good)
    tree = json.loads(good)
    for _ in range(r.choice([1, 1, 2, 5])):
        _edit(r, tree)
    text = json.dumps(tree)
    return text.encode("utf-8", "surrogatepass") if r.random() < 0.5 else _raw(text)


def _raw(text: str) -> bytes:
    return json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _edit(r: random.Random, tree: Any) -> None:
    """Change one place: a value, a key, or a whole branch."""
    node = tree
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = r.choice(keys)
        if isinstance(node[key], dict | list) and node[key] and r.random() < 0.8:
            node = node[key]
            continue
        break
    match r.randrange(4):
        case 0:
            del node[key]
        case 1 if isinstance(node, dict):
            node[r.choice(["", "x", key + "_", key.upper()])] = node.pop(key)
        case _:
            node[key] = r.choice(VALUES)


def _bytes(r: random.Random, good: bytes) -> bytes:
    data = bytearray(good)
    match r.randrange(4):
        case 0:
            return bytes(data[: r.randrange(len(data))])
        case 1:
            at = r.randrange(len(data))
            return bytes(data[:at] + r.choice([b"\xff", b"[" * 3000, b"{" * 3000, b'"', b"\x00", b"1e999"]) + data[at:])
        case _:
            for _ in range(r.randint(1, 5)):
                data[r.randrange(len(data))] = r.randrange(256)
            return bytes(data)
