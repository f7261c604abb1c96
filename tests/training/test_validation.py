import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch import nn

from hidemia.training.channel import Reach
from hidemia.training.data import Scans
from hidemia.training.heads import ClassificationHead
from hidemia.training.roles import AnyAnalyzer, Features
from hidemia.training.system import Trip
from hidemia.training.validation import balanced_accuracy, dice, psnr_db, validate


def test_psnr_agrees_with_an_independent_one() -> None:
    a = torch.rand(3, 3, 32, 32)
    b = a + 0.05 * torch.randn(a.shape)
    levels = [(255 * x.clamp(0, 1)).round().to(torch.uint8).numpy() for x in (a, b)]
    expected = [peak_signal_noise_ratio(x, y, data_range=255) for x, y in zip(*levels, strict=True)]
    np.testing.assert_allclose(psnr_db(a, b).numpy(), expected, rtol=1e-6)


def test_psnr_by_hand() -> None:
    a = torch.full((1, 3, 4, 4), 100 / 255)
    assert psnr_db(a, a + 1 / 255).item() == pytest.approx(20 * math.log10(255))
    assert psnr_db(a, a + 0.4 / 255).isfinite().all()  # the same pixels after rounding
    assert psnr_db(a, a + 0.4 / 255).item() > 130


def test_dice_by_hand() -> None:
    truth = torch.tensor([[[1, 1], [0, 0]]]).bool()
    cases = {
        ((1, 1), (0, 0)): 1.0,
        ((1, 0), (0, 0)): 2 / 3,
        ((0, 0), (1, 1)): 0.0,
        ((1, 1), (1, 1)): 2 / 3,
        ((0, 0), (0, 0)): 0.0,
    }
    for prediction, expected in cases.items():
        assert dice(torch.tensor([prediction]).bool(), truth).item() == pytest.approx(expected)
    empty = torch.zeros(1, 2, 2).bool()
    assert dice(empty, empty).item() == 1
    assert dice(torch.cat([truth, empty]), torch.cat([truth, truth])).tolist() == [1, 0]  # image by image


class Judging(AnyAnalyzer):
    """Judges by the brightness of a photo, or not at all."""

    def __init__(self, judges: bool) -> None:
        super().__init__()
        self.judges = judges

    def features(self, bands: dict[str, torch.Tensor]) -> Features:
        brightness = bands["ll"].mean(dim=(1, 2, 3)) / 2
        verdict = torch.stack([brightness, torch.full_like(brightness, 0.5)], dim=1)
        return Features(bands, verdict if self.judges else None)

    def reply(self, bands: dict[str, torch.Tensor], features: Features) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, stego: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class Canned(nn.Module):
    """Sends the cover a level brighter, replies two brighter, and finds what is bright in the secret.

    The secret itself it recovers five levels darker.
    """

    def __init__(self, head: nn.Module | None = None, judges: bool = False, reach: Reach | None = None) -> None:
        super().__init__()
        self.head, self.analyzer, self.reach = head or nn.Identity(), Judging(judges), reach
        self.unused = nn.Parameter(torch.zeros(1))
        self.modes: list[bool] = []

    def forward(self, secret: torch.Tensor, cover: torch.Tensor) -> Trip:
        self.modes.append(self.training)
        stego, reply = cover + 1 / 255, cover + 2 / 255
        logits = secret[:, :1] - 0.5
        if isinstance(self.head, ClassificationHead):
            logits = torch.stack([secret.mean(dim=(1, 2, 3)), torch.full((len(secret),), 0.5)], dim=1)
        return Trip(stego, reply, reply, secret - 5 / 255, logits)


def scans(count: int) -> Scans:
    images = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
    masks = torch.zeros(count, 1, 32, 32, dtype=torch.uint8)
    images[:, :, :16] = 255
    masks[:, :, :8] = 255  # half of what is bright: Dice 2 * 8 / (16 + 8)
    return Scans(images, masks, torch.tensor([0, 1] * count)[:count], ("bright", "dark"))


def test_figures_by_hand() -> None:
    covers = torch.randint(10, 240, (2, 3, 32, 32), dtype=torch.uint8)
    figures = validate(Canned(), scans(5), covers, 32, batch=2)
    assert set(figures) == {"stego_psnr_db", "reply_psnr_db", "reference_psnr_db", "dsc"}
    assert figures["stego_psnr_db"] == pytest.approx(20 * math.log10(255))
    assert figures["reply_psnr_db"] == pytest.approx(20 * math.log10(255 / 2))
    # The dark half is clipped at 0, where it was: the mean of 25 and 0.
    assert figures["reference_psnr_db"] == pytest.approx(10 * math.log10(255**2 / 12.5))
    assert figures["dsc"] == pytest.approx(2 / 3)


def test_under_a_veil_the_reply_is_judged_as_it_travels() -> None:
    """Around a stego one level brighter: 0, 1 or 2 levels in blue, 1 in the others, whatever the reply is."""
    covers = torch.randint(10, 240, (2, 3, 32, 32), dtype=torch.uint8)
    figures = validate(Canned(reach=Reach(1, "blue")), scans(5), covers, 32)
    assert figures["reply_psnr_db"] == pytest.approx(10 * math.log10(255**2 / ((1 + 1 + 5 / 3) / 3)), abs=0.05)
    assert figures["stego_psnr_db"] == pytest.approx(20 * math.log10(255))


@pytest.mark.parametrize("reach", [None, Reach(1), Reach(1, "blue")])
def test_batches_do_not_matter(reach: Reach | None) -> None:
    covers = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8)  # some clip
    figures = [validate(Canned(reach=reach), scans(5), covers, 32, batch=batch) for batch in (1, 2, 5, 16)]
    for other in figures[1:]:
        assert other == pytest.approx(figures[0])


def test_accuracy_for_classes() -> None:
    covers = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8)
    bright = scans(4)
    bright.images.fill_(200)  # all are taken for class 0, two of four are
    figures = validate(Canned(ClassificationHead(2)), bright, covers, 32)
    assert set(figures) == {"stego_psnr_db", "reply_psnr_db", "reference_psnr_db", "accuracy", "balanced_accuracy"}
    assert figures["accuracy"] == figures["balanced_accuracy"] == 0.5


def test_a_verdict_is_looked_at_before_it_is_written() -> None:
    covers = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    covers[0] = 200  # the photos of images 0, 2, 4 are bright: class 0, as they are
    figures = validate(Canned(ClassificationHead(2), judges=True), scans(5), covers, 32)
    assert figures["judged_balanced_accuracy"] == 1
    assert figures["balanced_accuracy"] == 0.5
    covers[1] = 200  # all are taken for class 0
    assert validate(Canned(ClassificationHead(2), judges=True), scans(5), covers, 32)["judged_balanced_accuracy"] == 0.5


def test_balanced_accuracy_by_hand() -> None:
    labels, prediction = torch.tensor([0, 0, 0, 0, 2, 2]), torch.tensor([0, 0, 0, 1, 2, 0])
    assert balanced_accuracy(prediction, labels) == pytest.approx((3 / 4 + 1 / 2) / 2)


@pytest.mark.parametrize("training", [True, False])
def test_evaluates_without_a_trace(training: bool) -> None:
    system = Canned().train(training)
    validate(system, scans(2), torch.zeros(1, 3, 32, 32, dtype=torch.uint8), 32)
    assert system.modes == [False]
    assert system.training == training


def test_runs_where_the_system_is() -> None:
    # The meta device computes nothing, and refuses to meet a tensor that lies elsewhere.
    seen: list[torch.device] = []

    class Elsewhere(Canned):
        def forward(self, secret: torch.Tensor, cover: torch.Tensor) -> Trip:
            seen.extend([secret.device, cover.device])
            raise InterruptedError

    with pytest.raises(InterruptedError):
        validate(Elsewhere().to("meta"), scans(2), torch.zeros(1, 3, 32, 32, dtype=torch.uint8), 32)
    assert {device.type for device in seen} == {"meta"}
