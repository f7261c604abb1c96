import dataclasses
import json
from pathlib import Path

import pytest
import torch
from tests.training.test_command import MICRO

from hidemia.training import pool as pools
from hidemia.training.channel import transmit
from hidemia.training.data import Batch, generator
from hidemia.training.heads import ClassificationHead
from hidemia.training.objective import Aids, StageConfig
from hidemia.training.pool import PART, cuts, on_photos, pool_of
from hidemia.training.run import run
from hidemia.training.stages import OBJECTIVES


def batch_of(number: int) -> Batch:
    draw = torch.Generator().manual_seed(number)
    levels = [torch.randint(256, (PART, 3, 16, 16), generator=draw) / 255 for _ in range(2)]
    masks = torch.rand(PART, 1, 16, 16, generator=draw).round()
    return Batch(*levels, masks, torch.arange(PART) + PART * number)


@pytest.fixture
def hider(tiny_system, shake):
    return shake(tiny_system().hider, std=0.02)


def test_a_pool_holds_what_hiding_would_have_given(hider, tmp_path: Path) -> None:
    found = pool_of(hider, batch_of, 20, tmp_path)
    assert len(found) == 20
    seen = found.batch(20, seed=0, step=0)
    assert seen.labels.sort().values.tolist() == list(range(20))
    drawn = [batch_of(number) for number in range(20 // PART)]
    for i, label in enumerate(seen.labels.tolist()):
        source = Batch(*(value[label % PART] for value in drawn[label // PART][:4]))
        torch.testing.assert_close(seen.secrets[i], source.secrets, atol=1e-6, rtol=0)
        torch.testing.assert_close(seen.covers[i], source.covers, atol=1e-6, rtol=0)
        assert torch.equal(seen.masks[i], source.masks)
        with torch.no_grad():
            stego = transmit(hider.hide(source.secrets[None], source.covers[None]))[0]
        assert (seen.stegos[i] - stego).abs().max() < 1.01 / 255  # a tie of rounding at most
        assert (seen.stegos[i] - stego).abs().mean() < 1e-4


def test_steps_take_every_image_once_an_epoch(hider, tmp_path: Path) -> None:
    found = pool_of(hider, batch_of, 24, tmp_path)
    epoch = torch.cat([found.batch(8, seed=3, step=step).labels for step in range(3)])
    assert sorted(epoch.tolist()) == list(range(24))
    assert torch.equal(found.batch(8, 3, 1).stegos, found.batch(8, 3, 1).stegos)
    assert not torch.equal(found.batch(8, 3, 1).labels, found.batch(8, 3, 4).labels)


def test_what_hiding_changed_on_another_photo() -> None:
    """By hand: 100 became 103 and 50 became 49; on photos of 10 and 255, and clipped at either end."""
    levels = [torch.tensor(row, dtype=torch.uint8).view(1, 1, 1, 4) for row in ([10, 255, 254, 0], [103, 49, 103, 49])]
    photos, stegos = levels
    covers = torch.tensor([100, 50, 100, 50], dtype=torch.uint8).view(1, 1, 1, 4)
    assert on_photos(photos, stegos, covers).flatten().tolist() == [13, 254, 255, 0]


def test_a_batch_on_photos_of_others(hider, tmp_path: Path) -> None:
    found = pool_of(hider, batch_of, 24, tmp_path)
    own, moved = found.batch(8, 3, 1), found.batch(8, 3, 1, exchanged=True)
    for name in ("secrets", "masks", "labels"):
        assert torch.equal(getattr(own, name), getattr(moved, name))
    known = (found.images["covers"] / 255).unbind()
    for i in range(8):
        assert any(torch.equal(moved.covers[i], photo) for photo in known)
        change = (own.stegos - own.covers)[i]
        torch.testing.assert_close(moved.stegos[i], (moved.covers[i] + change).clamp(0, 1), atol=1e-6, rtol=0)
    assert sum(not torch.equal(own.covers[i], moved.covers[i]) for i in range(8)) >= 5
    assert torch.equal(moved.stegos, found.batch(8, 3, 1, exchanged=True).stegos)
    assert not torch.equal(moved.covers, found.batch(8, 3, 4, exchanged=True).covers)


def test_a_cut_keeps_haars_squares_whole() -> None:
    """Every other image is whole; of a cut one a quarter to three quarters are its own, at the left or above."""
    own = torch.cat([cuts(8, 32, generator(0, step)) for step in range(20)])[:, 0]
    whole, cut = own[::2], own[1::2]
    assert whole.all()
    ends = cut.sum(dim=(1, 2)) / 32
    assert ends.min() == 8
    assert ends.max() == 24
    assert (ends % 2 == 0).all()
    left = cut[:, 0, 0] & cut[:, -1, 0]  # the first column is all its own
    for is_left, mask, end in zip(left, cut, ends.int().tolist(), strict=True):
        part, rest = (mask[:, :end], mask[:, end:]) if is_left else (mask[:end], mask[end:])
        assert part.all()
        assert not rest.any()
    assert 20 < left.sum() < 60  # of 80


def test_two_images_side_by_side(hider, tmp_path: Path) -> None:
    """What is hidden, what it does to the photo, and the mask are cut alike."""
    found = pool_of(hider, batch_of, 24, tmp_path)
    own, joined = found.batch(8, 3, 1), found.batch(8, 3, 1, joined=True)
    assert torch.equal(own.labels, joined.labels)
    differs = 0
    for i in range(8):
        at = (joined.secrets[i] == own.secrets[i]).all(dim=0)  # where it is its own
        differs += not at.all()
        for name in ("secrets", "stegos", "covers", "masks"):
            whole, further, seen = (getattr(batch, name)[j] for batch, j in ((own, i), (own, i - 1), (joined, i)))
            assert torch.equal(torch.where(at, whole, further), seen)
    assert differs == 4
    moved = found.batch(8, 3, 1, exchanged=True, joined=True)
    assert torch.equal(moved.secrets, joined.secrets)
    assert torch.equal(moved.covers, found.batch(8, 3, 1, exchanged=True).covers)


def test_without_masks(hider, tmp_path: Path) -> None:
    found = pool_of(hider, lambda number: batch_of(number)._replace(masks=None), 4, tmp_path)
    assert found.batch(2, 0, 0).masks is None


def test_parts_that_are_there_are_not_made_again(hider, tmp_path: Path) -> None:
    pool_of(hider, batch_of, 2 * PART, tmp_path)
    first, second = sorted(tmp_path.iterdir())
    kept = first.read_bytes()
    whole = second.read_bytes()
    second.write_bytes(whole[: len(whole) // 2])  # the disk was full
    asked = []

    def counted(number: int) -> Batch:
        asked.append(number)
        return batch_of(number)

    pool_of(hider, counted, 2 * PART, tmp_path)
    assert asked == [1]
    assert (first.read_bytes(), second.read_bytes()) == (kept, whole)


def test_a_stage_on_a_pool_learns_from_its_stegos_alone(tiny_system, monkeypatch: pytest.MonkeyPatch) -> None:
    config = StageConfig("look", steps=1, batch=PART, size_px=16, pool=PART)
    look = OBJECTIVES["look"](tiny_system(), Aids(8, None), config)
    batch = batch_of(0)
    with torch.no_grad():
        stegos = transmit(look.system.hider.hide(batch.secrets, batch.covers))
    anew = look(batch, 0.5)
    monkeypatch.setattr(look.system.hider, "hide", None)
    known = look(batch._replace(stegos=stegos), 0.5)
    assert known.keys() == anew.keys()
    for name, value in known.items():
        assert torch.equal(value, anew[name])


def test_a_hider_that_learns_has_no_pool(tiny_system) -> None:
    config = StageConfig("joint", steps=1, batch=2, size_px=16, pool=8)
    with pytest.raises(ValueError, match="pool: expected 0 for 'joint', whose hider learns, got 8"):
        OBJECTIVES["joint"](tiny_system(), Aids(8, None), config)


def test_photos_are_exchanged_in_a_pool_only(tiny_system) -> None:
    config = StageConfig("look", steps=1, batch=2, size_px=16, exchanged=True)
    with pytest.raises(ValueError, match="exchanged: expected False without a pool of photos, got True"):
        OBJECTIVES["look"](tiny_system(), Aids(8, None), config)


@pytest.mark.parametrize(("classes", "pool"), [(2, 8), (None, 0)])
def test_images_are_joined_in_a_pool_where_no_label_is_the_truth(tiny_system, classes: int | None, pool: int) -> None:
    system = tiny_system()
    system.head = ClassificationHead(classes) if classes else system.head
    config = StageConfig("look", steps=1, batch=2, size_px=16, pool=pool, joined=True)
    with pytest.raises(ValueError, match="joined: expected False without a pool, and where one label is the truth"):
        OBJECTIVES["look"](system, Aids(8, classes), config)


@pytest.mark.parametrize("option", ["exchanged", "joined"])
def test_a_recipe_says_what_is_done_with_a_pool(
    option: str, scans_folder: Path, covers_folder: Path, tmp_path: Path
) -> None:
    """By the stage's first loss: the hider is the same, and what it hid too."""
    hide, *_ = MICRO.stages
    own = StageConfig("look", steps=1, batch=2, size_px=32, analyzer_rate=1e-3, pool=4 * PART)
    rows = {}
    for chosen in (False, True):
        out = tmp_path / str(chosen)
        stages = (hide, dataclasses.replace(own, **{option: chosen}))
        run(dataclasses.replace(MICRO, stages=stages), scans_folder, None, covers_folder, out, "cpu")
        rows[chosen] = [json.loads((out / name).read_text()) for name in ("1-hide.jsonl", "2-look.jsonl")]
    (hidden, looked), (same, moved) = rows.values()
    assert hidden == same
    assert looked["reconstruct"] != moved["reconstruct"]
    assert looked["reconstruct"] == pytest.approx(moved["reconstruct"], rel=0.5)


def test_killed_while_the_pool_is_made_and_resumed(
    scans_folder: Path, covers_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = (MICRO.stages[0], StageConfig("look", steps=3, batch=2, size_px=32, analyzer_rate=1e-3, pool=PART + 2))
    recipe = dataclasses.replace(MICRO, stages=stages)

    def go(out: str):
        return run(recipe, scans_folder, None, covers_folder, tmp_path / out, "cpu")

    whole = go("whole")
    real = pools._hidden
    with monkeypatch.context() as patch:

        def cut(hider, batch):
            if list((tmp_path / "cut" / "2-pool" / "0").iterdir()):
                raise KeyboardInterrupt
            return real(hider, batch)

        patch.setattr(pools, "_hidden", cut)
        with pytest.raises(KeyboardInterrupt):
            go("cut")
    assert len(list((tmp_path / "cut" / "2-pool" / "0").iterdir())) == 1
    again = go("cut")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    curves = [(tmp_path / out / "2-look.jsonl").read_text() for out in ("whole", "cut")]
    assert curves[0] == curves[1]


def test_stages_of_one_size_share_what_was_hidden_until_the_hider_learns_again(
    scans_folder: Path, covers_folder: Path, tmp_path: Path
) -> None:
    hide, _, joint, _ = MICRO.stages
    look = StageConfig("look", steps=1, batch=2, size_px=32, analyzer_rate=1e-3, pool=2 * PART)
    answer = dataclasses.replace(look, objective="answer", pool=PART)
    smaller = dataclasses.replace(look, size_px=16)
    recipe = dataclasses.replace(MICRO, stages=(hide, look, smaller, answer, joint, answer))
    run(recipe, scans_folder, None, covers_folder, tmp_path, "cpu")
    parts = {path.name: len(list((path / "0").iterdir())) for path in tmp_path.glob("*-pool")}
    assert parts == {"2-pool": 2, "3-pool": 2, "6-pool": 1}
