import dataclasses
import math
from pathlib import Path

import pytest
import torch
from tests.micro import micro_config, micro_system
from torch import nn

from hidemia.runtime import similarity
from hidemia.runtime.judging import check_seal
from hidemia.runtime.manifest import ReplyLimits
from hidemia.runtime.result import Integrity
from hidemia.training.channel import to_uint8, transmit
from hidemia.training.data import Scans, scaled
from hidemia.training.heads import ClassificationHead, SegmentationHead
from hidemia.training.model import ModelConfig
from hidemia.training.seal import agreement
from hidemia.training.system import Trip
from hidemia.training.thresholds import (
    MARGIN_DB,
    READABLE,
    cut,
    low_limit,
    main,
    seal_limit,
    strength_limit,
    with_thresholds,
)
from hidemia.training.weights import load_weights, save_weights

MODEL = ModelConfig("m", image_size_px=32, form="printed")


class Brightening(nn.Module):
    """Adds a level to all of a photo."""

    def forward(self, photo: torch.Tensor) -> torch.Tensor:
        return photo + 1 / 255


class Canned(nn.Module):
    """Sends the cover. The reply is as much brighter, and in as many rows, as the secret's blue corner says; what is
    recovered is the logit of the secret's red.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.analyzer = Brightening()

    def forward(self, secret: torch.Tensor, cover: torch.Tensor) -> Trip:
        levels = secret[0, 2, 0, 0].mul(255).round().int().item()
        reply = cover.clone()
        reply[:, :, :levels] += levels / 255
        recovered = torch.logit(secret[:, :1].clamp(0.01, 0.99)).expand(-1, 3, -1, -1)
        return Trip(cover, reply, recovered, recovered, recovered[:, :1])

    def arrived(self, reply: torch.Tensor, stego: torch.Tensor) -> torch.Tensor:
        return transmit(reply)


def scans(lesion: int, levels: tuple[int, ...], ground: int = 0) -> Scans:
    """Lesions of one probability, in 255ths, on ground of another."""
    images = torch.full((len(levels), 3, 32, 32), ground, dtype=torch.uint8)
    masks = torch.zeros(len(levels), 1, 32, 32, dtype=torch.uint8)
    masks[:, :, 4:20, 8:24] = 255
    images[:, :, 4:20, 8:24] = lesion
    for image, level in zip(images, levels, strict=True):
        image[2] = level
    return Scans(images, masks, torch.zeros(len(levels), dtype=torch.int64), ("",))


COVERS = torch.full((2, 3, 32, 32), 100, dtype=torch.uint8)


@pytest.mark.parametrize(("lesion", "ground", "low", "high"), [(90, 64, 64, 90), (204, 140, 140, 204)])
def test_threshold_is_the_one_with_the_best_dice(lesion: int, ground: int, low: int, high: int) -> None:
    config = with_thresholds(Canned(SegmentationHead("printed")), MODEL, scans(lesion, (2, 4), ground), COVERS)
    assert low / 255 < config.mask_threshold <= high / 255  # anything between finds the lesion exactly
    assert any(abs(config.mask_threshold - candidate) < 1e-3 for candidate in READABLE.tolist())


def test_no_threshold_outlines_a_photo_in_which_nothing_is_written() -> None:
    recovered = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    probability = SegmentationHead("differential").probabilities(recovered, recovered)
    assert probability.max() < READABLE.min()


def test_limits_of_the_reply_by_hand() -> None:
    # 2 levels brighter in 2 of 32 rows is the least changed reply, 4 levels in 4 rows the most changed.
    config = with_thresholds(Canned(SegmentationHead("printed")), MODEL, scans(200, (2, 4, 3)), COVERS)
    assert config.reply_min_changed_share == pytest.approx(2 / 32 / 4, abs=1e-4)
    worst = 10 * math.log10(255**2 / (4**2 * 4 / 32))
    assert config.reply_min_psnr_db == pytest.approx(worst - MARGIN_DB, abs=0.05)


def test_classes_need_no_mask_threshold() -> None:
    bare = scans(200, (2, 4))
    bare = Scans(bare.images, None, bare.labels, bare.classes)
    config = with_thresholds(Canned(ClassificationHead(2)), MODEL, bare, COVERS)
    assert config.mask_threshold == MODEL.mask_threshold
    assert config.reply_min_changed_share != MODEL.reply_min_changed_share


def test_nothing_else_is_touched() -> None:
    config = with_thresholds(Canned(SegmentationHead("printed")), MODEL, scans(200, (2,)), COVERS)
    for name in ("name", "task", "classes", "image_size_px", "form", "hider", "analyzer"):
        assert getattr(config, name) == getattr(MODEL, name)


def test_the_limit_of_the_seal_lies_between_a_whole_reply_and_one_with_a_quarter_cut_out():
    assert seal_limit(0.9, 0.75) == pytest.approx(0.825)
    assert seal_limit(1.0, 0.96) == seal_limit(1.0, 1.0) == pytest.approx(0.95)  # an honest one is taken
    assert seal_limit(0.4, 0.1) == 0.5


def test_a_quarter_is_cut_out_by_hand():
    reply, cover = torch.ones(1, 3, 4, 8), torch.zeros(1, 3, 4, 8)
    expected = torch.ones(4, 8)
    expected[1:3, 2:6] = 0
    assert torch.equal(cut(reply, cover), expected.expand(1, 3, 4, 8))
    assert reply.min() == 1  # what was given stays


def test_the_limit_of_the_seals_strength_lies_between_once_and_twice():
    assert strength_limit(1.6, 2.4) == pytest.approx(2.0)
    assert strength_limit(1.5, 1.6) == strength_limit(1.5, 1.0) == pytest.approx(1.8)
    assert strength_limit(-0.1, 1.0) is strength_limit(1e-4, 2e-4) is None  # nothing agrees


def test_the_limit_of_low_changes_by_hand() -> None:
    """Once, at the most: 2 levels in 1 of the 16 rows of 2x2 px. Twice, at the least: 1.5 in one row, 1 elsewhere."""
    config = with_thresholds(Canned(SegmentationHead("printed")), MODEL, scans(200, (2, 2, 1)), COVERS)
    once, twice = math.sqrt(2**2 / 16), math.sqrt((1.5**2 + 15) / 16)
    assert config.reply_max_low_change == pytest.approx((once + twice) / 2, abs=1e-3)


def test_a_reply_analysed_twice_passes_rather_than_that_an_honest_one_is_refused() -> None:
    assert low_limit(0.2, 0.4) == pytest.approx(0.3)
    assert low_limit(0.2, 0.25) == low_limit(0.2, 0.1) == pytest.approx(0.24)
    assert low_limit(0.0, 0.0) is None  # a manifest takes no limit of 0
    config = with_thresholds(Canned(SegmentationHead("printed")), MODEL, scans(200, (1, 9)), COVERS)
    most = math.sqrt((4 * 9**2 + 4.5**2) / 16)  # 9 levels in 9 of 32 rows; once more, 10 in those and 1 elsewhere
    least = math.sqrt((1.5**2 + 15) / 16)  # 1 level in 1 row, and 1 more everywhere
    assert least < most
    assert config.reply_max_low_change == pytest.approx(1.2 * most, abs=1e-3)


def test_the_runtime_measures_what_the_limit_was_set_with() -> None:
    model = micro_config()
    system = micro_system(model)
    secrets = scans(200, (2, 250))
    dark = COVERS[:1].clone()
    dark[:, :, :9] = 3  # changes here may be clipped, and do not count
    once, twice, whole, stronger, damaged = [], [], [], [], []

    def judged(photo: torch.Tensor, stego: torch.Tensor) -> Integrity:
        found = (system.hider.recover(to_uint8(sent) / 255) for sent in (photo, stego))
        seal = agreement(*found, system.analyzer.signs)[0].numpy()
        any_seal = ReplyLimits(min_psnr_db=0.0, min_changed_share=0.0, min_seal_share=0.0)
        return check_seal(Integrity(40.0, 0.5, 0.2), seal, any_seal)

    with torch.no_grad():
        for image in secrets.images:
            stego = transmit(system.hider.hide(scaled(image[None], 64), scaled(dark, 64)))
            reply = transmit(system.analyzer(stego))
            again = system.analyzer(reply)
            whole.append(judged(reply, stego))
            stronger.append(judged(again, stego))
            damaged.append(judged(cut(reply, scaled(dark, 64)), stego))
            photos = [to_uint8(photo)[0].permute(1, 2, 0).numpy() for photo in (stego, reply, again)]
            once.append(similarity.low_change(photos[1], photos[0]))
            twice.append(similarity.low_change(photos[2], photos[0]))
    config = with_thresholds(system, model, secrets, dark)
    assert config.reply_max_low_change == low_limit(max(once), min(twice))
    shares = [[one.seal_share for one in kind] for kind in (whole, damaged)]
    assert config.reply_min_seal_share == seal_limit(min(shares[0]), max(shares[1]))
    strengths = [[one.seal_strength for one in kind] for kind in (whole, stronger)]
    assert max(strengths[0]) > 0
    assert config.reply_max_seal_strength == strength_limit(max(strengths[0]), min(strengths[1]))


def test_limits_set_anew(scans_folder: Path, covers_folder: Path, tmp_path: Path, capsys) -> None:
    """The command changes the configuration alone, and only what is measured in it."""
    model = micro_config(reply_min_psnr_db=99.0)
    weights = tmp_path / "weights"
    save_weights(micro_system(model), model, weights)
    before = {file.name: file.read_bytes() for file in weights.iterdir()}
    folders = ("--weights", weights, "--data", scans_folder, "--covers", covers_folder)
    assert main([*map(str, folders)]) == 0
    after = {file.name: file.read_bytes() for file in weights.iterdir()}
    assert [name for name in after if after[name] != before[name]] == ["config.json"]
    _, config = load_weights(weights)
    assert config.reply_min_psnr_db < 99
    assert f"reply_min_psnr_db: 99.0 -> {config.reply_min_psnr_db}" in capsys.readouterr().out
    kept = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    changed = {name for name, value in kept.items() if value != getattr(config, name)}
    assert changed <= {"mask_threshold"} | {name for name in kept if name.startswith("reply_")}


def test_under_a_veil_the_limits_are_of_what_is_under_it() -> None:
    """One level of blue at most is 52.90 dB, and 6 less is the limit at least; means of 2x2 px move by a level."""
    config = micro_config(veil_reach=1, veil_colours="blue")
    bare = dataclasses.replace(config, veil_reach=None)
    found, other = (
        with_thresholds(micro_system(model), model, scans(200, (1, 2, 3)), COVERS) for model in (config, bare)
    )
    assert found.reply_min_psnr_db >= 46.9 > other.reply_min_psnr_db
    assert found.reply_max_low_change <= 1.5 < other.reply_max_low_change
