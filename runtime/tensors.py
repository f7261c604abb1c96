"""What an engine found in a graph, against what the manifest says is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from hidemia.runtime.errors import BundleError, EngineError
from hidemia.runtime.manifest import Tensor

__all__ = ["Found", "check_arrays", "check_tensors"]


class Found(NamedTuple):
    """One input or output as an engine sees it.

    Attributes:
        name: As in the graph.
        dtype: numpy's name of it, or the engine's where numpy has none.
        shape: An int for each dimension that is fixed, anything else for one that varies.
    """

    name: str
    dtype: str
    shape: Sequence[object]


def check_tensors(where: str, actual: Sequence[Found], expected: Sequence[Tensor]) -> None:
    """A manifest that describes another graph is an error before the first run, not at it.

    Args:
        where: The graph's file and side, for the error.
        actual: What the engine found.
        expected: What the manifest says.

    Raises:
        BundleError: Another name, dtype, number of dimensions, or another size of a fixed dimension.
    """
    got = {tensor.name: (tensor.dtype, len(tensor.shape)) for tensor in actual}
    want = {tensor.name: (tensor.dtype, len(tensor.shape)) for tensor in expected}
    shapes = {tensor.name: tensor.shape for tensor in expected}
    if got != want or not all(_agree(tensor.shape, shapes[tensor.name]) for tensor in actual):
        raise BundleError(f"{where}: expected {_list(expected)}, got {_list(actual)}; export the bundle again")


def check_arrays(where: str, arrays: Mapping[str, NDArray[Any]], expected: Sequence[Tensor]) -> None:
    """See that a run gets what the graph takes, for engines that convert what they get or reuse what they had.

    Args:
        where: The graph's file, for the error.
        arrays: What the run got, by name.
        expected: What the manifest says.

    Raises:
        EngineError: An array is missing, too many, or of another dtype or shape.
    """
    got = [Found(name, array.dtype.name, array.shape) for name, array in arrays.items()]
    shapes = {tensor.name: (tensor.dtype, tensor.shape) for tensor in expected}
    if arrays.keys() != shapes.keys() or not all(
        dtype == shapes[name][0] and len(shape) == len(shapes[name][1]) and _agree(shape, shapes[name][1])
        for name, dtype, shape in got
    ):
        raise EngineError(f"{where}: expected {_list(expected)}, got {_list(got)}; pass what the manifest lists")


def _agree(one: Sequence[object], other: Sequence[object]) -> bool:
    return all(a == b for a, b in zip(one, other, strict=True) if isinstance(a, int) and isinstance(b, int))


def _list(tensors: Sequence[Found | Tensor]) -> str:
    return ", ".join(f"{tensor.name} {tensor.dtype} {list(tensor.shape)}" for tensor in tensors)
