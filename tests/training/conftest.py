"""Networks and data small enough to train in a test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tests.training.tiny_run import Run
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from hidemia.training.analyzer import Analyzer, AnalyzerConfig
from hidemia.training.data import Batch
from hidemia.training.heads import SegmentationHead
from hidemia.training.invertible import InvertibleHider
from hidemia.training.system import System


@pytest.fixture(autouse=True)
def repeatable() -> Iterator[None]:
    """One thread, because the tensors are tiny; one seed, because every number should come out again."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def shake() -> Callable[..., nn.Module]:
    """Gives every parameter a random value: what starts at zero would hide mistakes."""

    def apply(module: nn.Module, std: float = 0.1, seed: int = 0) -> nn.Module:
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                noise = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
                parameter.add_(noise.to(parameter.dtype), alpha=std)
        return module

    return apply


@pytest.fixture
def tiny_system() -> Callable[..., System]:
    """Builds the same small system every time: two blocks, everything switched on."""

    def build(levels: int = 2) -> System:
        torch.manual_seed(1)
        analyzer = Analyzer(AnalyzerConfig(width=8, levels=levels, attention_levels=1))
        return System(InvertibleHider(blocks=2, growth=4), analyzer, SegmentationHead())

    return build


@pytest.fixture
def start(tiny_system, tmp_path: Path):
    def build(name: str = "run", **options) -> Run:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return Run(tiny_system(levels=1), folder, **({"steps": 13} | options))

    return build


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


@pytest.fixture
def write() -> Callable[[Path, np.ndarray], None]:
    """Writes an image as OpenCV does: BGR, the format by the name's ending."""
    return _write


@pytest.fixture
def scans_folder(tmp_path: Path) -> Path:
    """Six grey scans with one disc each, four to train on, two to validate on; labels even and odd."""
    folder = tmp_path / "scans"
    draw = np.random.default_rng(0)
    rows = ["image,mask,label,split,group"]
    for i in range(6):
        image = draw.integers(20, 90, (48, 48, 3), dtype=np.uint8)
        mask = np.zeros((48, 48), np.uint8)
        centre = tuple(int(c) for c in draw.integers(16, 32, 2))
        cv2.circle(mask, centre, 8, 255, -1)
        image[mask > 0] += 120
        _write(folder / f"images/{i}.png", image)
        _write(folder / f"masks/{i}.png", mask)
        split, label = "train" if i < 4 else "val", "odd" if i % 2 else "even"
        rows.append(f"images/{i}.png,masks/{i}.png,{label},{split},{i}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def covers_folder(tmp_path: Path) -> Path:
    """Five smooth colour photos: three to train with, two to validate with."""
    folder = tmp_path / "covers"
    draw = np.random.default_rng(1)
    rows = ["image,split"]
    for i in range(5):
        coarse = draw.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        _write(folder / f"{i}.png", cv2.resize(coarse, (40, 40), interpolation=cv2.INTER_CUBIC))
        rows.append(f"{i}.png,{'train' if i < 3 else 'val'}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def macs() -> Callable[[Callable[[], nn.Module], Callable[[nn.Module, Tensor], object]], float]:
    """Multiplications (of convolutions, linear layers and matrix products) at 224x224, in G; nothing is computed."""

    def count(build: Callable[[], nn.Module], run: Callable[[nn.Module, Tensor], object]) -> float:
        with FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False) as counter, torch.no_grad():
            run(build().eval(), torch.rand(1, 3, 224, 224))
        return counter.get_total_flops() / 2e9

    return count


@pytest.fixture
def parameters() -> Callable[[Callable[[], nn.Module]], int]:
    """How many numbers a network learns; none is stored."""

    def count(build: Callable[[], nn.Module]) -> int:
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in build().parameters())

    return count


@pytest.fixture
def batch() -> Batch:
    """Two images of all that a stage may ask for."""
    secrets, covers = torch.rand(2, 2, 3, 32, 32)
    return Batch(secrets, covers, (torch.rand(2, 1, 32, 32) > 0.7).float(), torch.tensor([1, 0]))
