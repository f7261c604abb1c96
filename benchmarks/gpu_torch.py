"""PyTorch on the same GPU, eager and compiled, and the card's two limits; nothing where torch sees no GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hidemia.benchmarks.gpu_times import Row, timed
from hidemia.benchmarks.packaged import WEIGHTS


def rows(batches: Sequence[int], runs: int, weights: Path = WEIGHTS) -> Iterator[Row]:
    """Times of the three networks in PyTorch FP32, and what the card could do at best.

    Args:
        batches: Images of one run.
        runs: Of each time.
        weights: A trained model, from the repository's root.
    """
    try:
        import torch  # noqa: PLC0415  a device has none
    except ModuleNotFoundError:
        return
    if not torch.cuda.is_available() or not weights.is_dir():
        return
    yield from _limits(torch, runs)
    for name, module, inputs, side in _modules(torch, weights):
        for batch in batches:
            photos = [torch.zeros(batch, side, side, 3, dtype=torch.uint8, device="cuda") for _ in range(inputs)]
            for way, network in (("eager", module), ("compiled", torch.compile(module))):
                times = timed(lambda n=network, p=photos: _run(torch, n, p), runs)
                yield Row(name, batch, f"PyTorch FP32 {way}, without copies", times)


def _run(torch: Any, network: Any, photos: list[Any]) -> None:
    with torch.inference_mode():
        network(*photos)
    torch.cuda.synchronize()


def _modules(torch: Any, weights: Path) -> Iterator[tuple[str, Any, int, int]]:
    from hidemia.export.graphs import Analyze, Hide, Recover  # noqa: PLC0415  as torch
    from hidemia.training.weights import load_weights  # noqa: PLC0415

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # as our FP32 plans
    system, config = load_weights(weights)
    side = config.image_size_px
    yield "hide", Hide(system).eval().cuda(), 2, side
    yield "recover", Recover(system, side).eval().cuda(), 2, side
    yield "analyze", Analyze(system, "any", side).eval().cuda(), 1, side


def _limits(torch: Any, runs: int) -> Iterator[Row]:
    """The best matrix product in each type, and a copy within the card's memory."""
    side = 8192
    for kind in ("float32", "float16"):
        a = torch.randn(side, side, device="cuda", dtype=getattr(torch, kind))
        times = timed(lambda a=a: (a @ a, torch.cuda.synchronize()), min(runs, 20))
        yield Row(f"limit: {2 * side**3 / min(times) / 1e9:.1f} TFLOP/s", 1, f"matrix product in {kind}", times)
    block = torch.zeros(1 << 30, device="cuda", dtype=torch.uint8)
    times = timed(lambda: (block.clone(), torch.cuda.synchronize()), min(runs, 20))
    yield Row(f"limit: {2 * block.nbytes / min(times) / 1e6:.0f} GB/s", 1, "copy of 1 GiB on the card", times)
