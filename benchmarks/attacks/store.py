"""Arrays that were made already: a file each, whole or not there, in a folder named by what they depend on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Store:
    """Arrays by name.

    Args:
        folder: Where all stores lie.
        key: Of all that the arrays depend on: a store of another key is another folder.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder / key[:16], key

    def get(self, name: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array that lies there, or one that is made now and laid there.

        Args:
            name: Of its file.
            make: Makes it; called only where it is not there, or cannot be read.
        """
        file = self.folder / f"{name}.npy"
        try:
            return np.load(file)  # type: ignore[no-any-return]
        except (OSError, ValueError):
            made = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{name}.partial.npy")
        np.save(partial, made)
        partial.replace(file)
        return made
