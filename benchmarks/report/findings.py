"""What an attacker found, typed: the whole of attacks.json, and a part of report.json."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from hidemia.benchmarks.report.measurements import Count


class Detection(Struct, frozen=True, kw_only=True):
    """How well one detector, trained on photos of one kind, finds another kind; lists have an entry for each seed.

    Attributes:
        detector: classical or convolutional.
        knowledge: What the attacker knows; `control` for what must be found, or must not.
        trained_on, target: Kinds of photos, such as stego or reply.
        pairs: That it was trained on.
        error: (False alarms + missed) / 2 at the threshold chosen on val: 0.5 is guessing.
        found: Share that is found at 1 % false alarms.
        curve: The ROC curve of the first seed: false alarms, found.
    """

    detector: Literal["classical", "convolutional"]
    knowledge: str
    trained_on: str
    target: str
    pairs: Count
    error: list[float]
    auc: list[float]
    found: list[float]
    curve: list[tuple[float, float]] = []


class Learned(Struct, frozen=True, kw_only=True):
    """The classical detector's error after some pairs, an entry for each seed."""

    hider: str
    target: str
    pairs: Count
    error: list[float]


class Exposure(Struct, frozen=True, kw_only=True):
    """What an attacker takes out of photos.

    Attributes:
        attack: What the attacker has and does.
        reveals: secret or result.
        figures: Of what is taken out, by name.
        beside: The same of what needs no photo at all.
    """

    attack: str
    reveals: str
    figures: dict[str, float]
    beside: dict[str, float] = {}


class Control(Struct, frozen=True, kw_only=True):
    """What must come out before any other figure is believed."""

    name: str
    expected: str
    got: str
    held: bool


class Attacks(Struct, frozen=True, kw_only=True):
    """What an attacker sees; see `hidemia.benchmarks.attacks`.

    Attributes:
        hider: Whose photos are attacked.
        method: How, in sentences: data, numbers of photos, budget.
        absent: What is not there -> why.
    """

    hider: str
    date: str
    seconds: float
    machine: str
    quick: bool
    method: list[str]
    controls: list[Control]
    detections: list[Detection]
    learned: list[Learned]
    exposures: list[Exposure]
    absent: dict[str, str] = {}
