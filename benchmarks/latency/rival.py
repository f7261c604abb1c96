"""One way to run one verb, described so that a fresh process can do it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Way = Literal["eager", "channels-last", "compiled"]


class Rival(Struct, frozen=True, kw_only=True):
    """One way to run one verb, and all that a fresh process needs to know of it.

    Attributes:
        kind: `bundle` for a graph in the runtime's own engine, `file` for an ONNX file in an engine left at its
            defaults, `torch` for the trained networks, `product` and `copy` for the machine's limits.
        name: `bundle`, `plain export`, `PyTorch eager`, ...
        source: The bundle's folder, the file, or the folder of the weights.
        graph: The bundle's file.
        inputs: A folder with an .npy file for each input of the verb.
        paper: Whether it is a network of the papers, with weights drawn at random.
        trained: Whether it computes what the trained networks do, so that its output can be held against theirs.
        reason: Why it cannot be run; it then becomes a row without figures.
    """

    kind: Literal["bundle", "file", "torch", "product", "copy"]
    name: str
    verb: str
    backend: str
    batch: int
    threads: int
    precision: str = "fp32"
    source: str = ""
    graph: str = ""
    way: str = ""
    inputs: str = ""
    paper: bool = False
    trained: bool = True
    reason: str = ""
