"""Classes that know exactly the names and arguments that a binding's own help names, and nothing else.

A signature is what pybind11 prints: `set_shape(self: IOptimizationProfile, input: str, min: Dims, ...) -> None`.
Unknown names raise AttributeError, wrong arguments TypeError, as the binding does. What the binding has and a
stand-in does not act out raises NotImplementedError.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_SIGNATURE = re.compile(r"(?:\d+\. )?(\w+)\((.*)\) -> .*$", re.DOTALL)
_PARAMETER = re.compile(r"(\w+): (.*?)(?: = (.*))?$", re.DOTALL)


class Member:
    """One value of an enumeration: an int on request only, so that `1 << member` fails as it does in pybind11."""

    def __init__(self, owner: str, name: str, value: int) -> None:
        self._owner, self.name, self.value = owner, name, value

    def __int__(self) -> int:
        return self.value

    def __repr__(self) -> str:
        return f"<{self._owner}.{self.name}: {self.value}>"


def make_enum(name: str, members: Sequence[str]) -> type:
    kind = type(name, (Member,), {})
    for value, member in enumerate(members):
        setattr(kind, member, kind(name, member, value))
    return kind


def make_class(name: str, spec: dict[str, Any], acts: type, kinds: dict[str, type]) -> type:
    """A class of the binding.

    Args:
        name: Its name.
        spec: Attribute -> `property`, a list of signatures, or a constant.
        acts: Behaviour: `do_METHOD`, and `get_PROPERTY` / `set_PROPERTY` where a stored value will not do.
        kinds: All classes by name, for the types of arguments.
    """
    members: dict[str, Any] = {"__doc__": name}
    for attribute, content in spec.items():
        if content == "property":
            members[attribute] = _property(attribute, acts)
        elif isinstance(content, list):
            members[attribute] = _method(name, attribute, content, acts, kinds)

    def guard(self: Any, attribute: str, value: Any) -> None:
        # A class derived in Python has a __dict__; the binding's own instances have none.
        if not attribute.startswith("_") and type(self) is kind and spec.get(attribute) != "property":
            raise AttributeError(f"{name!r} object has no attribute {attribute!r}")
        object.__setattr__(self, attribute, value)

    members["__setattr__"] = guard
    kind = type(name, (acts,), members)
    return kind


def make(kind: type, **state: Any) -> Any:
    """An instance that the binding makes itself, past the constructor."""
    instance = object.__new__(kind)
    for name, value in state.items():
        object.__setattr__(instance, f"_{name}", value)
    object.__setattr__(instance, "_constructed", True)
    return instance


def _property(name: str, acts: type) -> property:
    getter, setter = getattr(acts, f"get_{name}", None), getattr(acts, f"set_{name}", None)

    def get(self: Any) -> Any:
        if getter:
            return getter(self)
        if not hasattr(self, f"_{name}"):
            raise NotImplementedError(f"the stand-in does not act out {type(self).__name__}.{name}")
        return getattr(self, f"_{name}")

    def put(self: Any, value: Any) -> None:
        if setter:
            setter(self, value)
        elif getter:
            raise AttributeError(f"can't set attribute {name!r}")
        else:
            object.__setattr__(self, f"_{name}", value)

    return property(get, put)


def _method(owner: str, name: str, signatures: list[str], acts: type, kinds: dict[str, type]) -> Any:
    overloads = [parsed for line in signatures if (parsed := _parse(line)) is not None]

    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        if name == "__init__" and not overloads:
            raise TypeError(f"{owner}: No constructor defined!")
        if name != "__init__" and not getattr(self, "_constructed", False):
            raise TypeError(f"{owner}.__init__() must be called when overriding __init__")
        for parameters in overloads:
            bound = _bind(parameters, arguments, named, kinds)
            if bound is not None:
                break
        else:
            raise TypeError(
                f"{name}(): incompatible function arguments. Supported: {signatures}; invoked with {arguments} {named}"
            )
        act = getattr(acts, f"do_{name}", None)
        if name == "__init__":
            object.__setattr__(self, "_constructed", True)
            return act(self, **bound) if act else None
        if act is None:
            raise NotImplementedError(f"the stand-in does not act out {owner}.{name}")
        return act(self, **bound)

    return call


def _parse(line: str) -> list[tuple[str, str, bool]] | None:
    match = _SIGNATURE.match(line)
    if not match:
        return None  # "callable", or pybind11's heading of several overloads
    parameters = []
    for text in re.split(r", (?=\w+: )", match[2]):
        name, kind, default = _PARAMETER.match(text).groups()  # type: ignore[union-attr]
        if name != "self":
            parameters.append((name, kind, default is not None))
    return parameters


def _bind(
    parameters: list[tuple[str, str, bool]], arguments: tuple[Any, ...], named: dict[str, Any], kinds: dict[str, type]
) -> dict[str, Any] | None:
    if len(arguments) > len(parameters):
        return None
    names = [name for name, _, _ in parameters]
    bound = dict(zip(names, arguments, strict=False))
    if set(named) - set(names[len(arguments) :]):
        return None
    bound |= named
    for name, kind, optional in parameters:
        if name not in bound:
            if not optional:
                return None
        elif not _fits(bound[name], kind, kinds):
            return None
    return bound


def _fits(value: Any, kind: str, kinds: dict[str, type]) -> bool:  # noqa: PLR0911  one line a kind
    kind = kind.rsplit("::", 1)[-1]
    if kind in ("int", "typing.SupportsInt"):
        return hasattr(value, "__index__") or (kind != "int" and hasattr(value, "__int__"))
    if kind in ("float", "typing.SupportsFloat"):
        return isinstance(value, int | float)
    if kind in ("str", "bool", "tuple", "list"):
        return type(value).__name__ == kind
    if kind in ("buffer", "typing_extensions.Buffer"):
        return isinstance(value, bytes | bytearray | memoryview)
    if kind == "Dims":
        return isinstance(value, tuple | list | kinds["Dims"]) and all(hasattr(size, "__index__") for size in value)
    if sequence := re.match(r"(?:List|collections\.abc\.Sequence)\[(.*)\]$", kind):
        return isinstance(value, list | tuple) and all(_fits(item, sequence[1], kinds) for item in value)
    if kind == "ILogger.Severity":
        return isinstance(value, kinds["Severity"])
    if kind in kinds:
        return isinstance(value, kinds[kind]) and getattr(value, "_constructed", isinstance(value, Member))
    return kind == "object"
