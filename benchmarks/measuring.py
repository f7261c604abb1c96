"""Groups of rivals, measured on inputs that are prepared once; and the machine's limits, measured beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hidemia.benchmarks.groups import Group, Plan
from hidemia.benchmarks.latency import rivals, rounds
from hidemia.benchmarks.latency.rival import Rival
from hidemia.benchmarks.latency.worker import COPY_BYTES
from hidemia.benchmarks.report.measurements import Limit, Timing
from hidemia.benchmarks.timing import product_gflops, unsteadiness
from hidemia.export.trained import Trained
from hidemia.runtime.bundle import Bundle
from hidemia.training.system import System


class Measuring:
    """Measures groups of rivals on one set of inputs, prepared when the first group asks.

    Args:
        plan: What is measured.
        system: The trained networks: the reference.
        threshold: Of a mask.
        bundles: By role.
        inputs: An empty folder.
    """

    def __init__(
        self, plan: Plan, system: System, threshold: float, bundles: Mapping[str, Bundle], inputs: Path
    ) -> None:
        self.plan, self.system, self.threshold, self.bundles, self.inputs = plan, system, threshold, bundles, inputs
        self._expected: dict[str, NDArray[Any]] = {}

    def __call__(self, group: Group) -> list[Timing]:
        """The rows of a group; those of the machine's limits among them."""
        expected = self._expected or self._prepare()
        return rounds.measured(
            self._rivals(group),
            group.rounds,
            inputs=self.inputs,
            expected=expected,
            threshold=self.threshold,
            warm_up=self.plan.warm_up,
        )

    def _rivals(self, group: Group) -> list[Rival]:
        verb, batch, threads = group.verb, group.batch, group.threads
        if group.paper:
            exported = rivals.paper_exports(verb, self.bundles["client"].manifest.image_size_px)
            return [*rivals.of_paper(self._written(exported), verb, threads), *rivals.limits(threads)]
        bundle = self.bundles["server" if verb == "analyze" else "client"]
        found = rivals.of_bundle(bundle, verb, batch, threads)
        if batch == 1:
            side = self.bundles["client"].manifest.image_size_px
            found += rivals.of_files(
                self._written(rivals.plain_exports(self.system, verb, side).items()), verb, threads
            )
        found += rivals.of_torch(self.plan.weights, verb, batch, threads, quick=self.plan.quick)
        return [*found, *rivals.limits(threads)]

    def _written(self, exported: Iterable[tuple[str, bytes]]) -> dict[str, Path]:
        """Exported networks as files, each written before the next is made."""
        found = {}
        for name, data in exported:
            found[name] = self.inputs / f"{name}.onnx"
            found[name].write_bytes(data)
        return found

    def _prepare(self) -> dict[str, NDArray[Any]]:
        """Every verb's inputs as files, and what the trained networks make of them."""
        made: dict[str, NDArray[Any]] = {
            "secret": np.stack([probe.secret for probe in self.plan.probes]),
            "cover": np.stack([probe.cover for probe in self.plan.probes]),
        }
        made["stego"] = made["sent"] = self._by_torch("hide", made["secret"], made["cover"])
        made["reply"] = self._by_torch("analyze", made["stego"])
        for name, photos in made.items():
            np.save(self.inputs / f"{name}.npy", photos)
        probability = self._by_torch("recover", made["reply"], made["sent"])
        self._expected = {"hide": made["stego"], "analyze": made["reply"], "recover": probability}
        return self._expected

    def _by_torch(self, verb: Any, *photos: NDArray[Any]) -> NDArray[Any]:
        module = Trained(self.system, verb).eval()
        # One at a time: eight at once would take the memory that rivals are about to need.
        made = [module(*(torch.from_numpy(photo[None]) for photo in one)) for one in zip(*photos, strict=True)]
        return np.concatenate([one[0].numpy() for one in made])


def limits(timings: list[Timing]) -> list[Limit]:
    """The machine's limits for each number of threads: the best rates of all groups."""
    found = []
    for threads in sorted({timing.threads for timing in timings}):
        mine = [timing for timing in timings if timing.verb == "limit" and timing.threads == threads]
        product = [ms for timing in mine if timing.rival == "matrix product" for ms in timing.times_ms]
        copy = [ms for timing in mine if timing.rival == "copy" for ms in timing.times_ms]
        if product and copy:
            found.append(
                Limit(
                    threads=threads,
                    product_gflops=round(product_gflops(product), 1),
                    copy_gb_s=round(2 * COPY_BYTES / min(copy) / 1e6, 2),  # read and written
                    unsteadiness=round(unsteadiness(product), 3),
                )
            )
    return found
