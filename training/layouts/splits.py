"""Splits where none is official: by group, so that copies of an image never fall on both sides."""

from __future__ import annotations

import hashlib
from collections import defaultdict

from hidemia.training.reading import Row

SEED = 0
TEST = 0.2  # the paper's 8:2
VAL = 0.125  # of what is left for training, because every choice needs images of its own


def draw_split(rows: list[Row]) -> list[Row]:
    """Fills in the splits that are missing: 8:2 by group, label by label; then the validation split out of train.

    The order of a label's groups is that of a hash of seed and group: no list of files, no library changes it.
    """
    if not any(row.get("split") for row in rows):
        rows = _moved(rows, "", TEST, "test", otherwise="train")
    if not any(row["split"] == "val" for row in rows):
        rows = _moved(rows, "train", VAL, "val", otherwise="train")
    return rows


def _moved(rows: list[Row], source: str, share: float, split: str, otherwise: str) -> list[Row]:
    """Moves whole groups out of a split until ``share`` of each label's images has left it."""
    chosen = set()
    groups: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))  # by label, by group: images
    label_of: dict[str, str] = {}
    for row in rows:
        if row.get("split", "") == source:
            groups[label_of.setdefault(row["group"], row["label"])][row["group"]] += 1
    for sizes in groups.values():
        order = sorted(sizes, key=lambda group: hashlib.sha256(f"{SEED}:{group}".encode()).digest())
        wanted, moved = share * sum(sizes.values()), 0
        for group in order[:-1]:  # one stays, whatever the sizes
            if moved >= wanted:
                break
            chosen.add(group)
            moved += sizes[group]
    return [
        row | {"split": split if row["group"] in chosen else otherwise} if row.get("split", "") == source else row
        for row in rows
    ]
