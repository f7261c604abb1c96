"""Algorithm 1: its stages and mixed networks, and Eq. 7 against a second, slower way of writing it."""

import copy

import pytest
import torch
import torch.nn.functional as F

from hidemia.training.algorithm1 import STAGES, mixed_recovery, mixed_stegos, stages
from hidemia.training.analyzer import Analyzer, AnalyzerConfig
from hidemia.training.channel import transmit
from hidemia.training.data import Batch
from hidemia.training.heads import SegmentationHead
from hidemia.training.invertible import InvertibleHider
from hidemia.training.losses import mia_loss
from hidemia.training.objective import Aids, StageConfig
from hidemia.training.stages import OBJECTIVES
from hidemia.training.system import System
from hidemia.training.wavelet import dwt, iwt


@pytest.fixture
def batch() -> Batch:
    secrets, covers = torch.rand(2, 2, 3, 16, 16) * 0.6 + 0.2
    return Batch(secrets, covers, (torch.rand(2, 1, 16, 16) > 0.7).float(), torch.tensor([1, 0]))


@pytest.fixture
def make(shake):
    """A distilling objective: a shaken student of 4 blocks (or a copy of the teacher) and a teacher of 8."""

    def build(name: str = "distill_functions", *, copied: bool = False, form: str = "differential", **options):
        torch.manual_seed(1)
        teacher = shake(InvertibleHider(blocks=8, growth=4, slope=0.01), std=0.05, seed=2)
        student = copy.deepcopy(teacher) if copied else shake(InvertibleHider(blocks=4, growth=4), std=0.05, seed=3)
        analyzer = shake(Analyzer(AnalyzerConfig(width=8, levels=1, attention_levels=1)), std=0.05, seed=4)
        system = System(student, analyzer, SegmentationHead(form))
        config = StageConfig(name, steps=6, batch=2, size_px=16, hider_rate=1e-3, **options)
        objective = OBJECTIVES[name](system, Aids(8, None), config, teacher)
        analyzer.requires_grad_(False)
        return objective.train()

    return build


def as_printed(first: InvertibleHider, second: InvertibleHider, i: int) -> InvertibleHider:
    """A hider of its own: the first's stages 1 to i, then the second's."""
    blocks = [block for stage in stages(first)[:i] + stages(second)[i:] for block in stage]
    whole = InvertibleHider(blocks=0)
    for number, block in enumerate(blocks, start=1):
        whole.add_module(f"inv{number}", block)
    return whole


def touched(module: torch.nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.abs().max() > 0) for p in module.parameters())


def test_four_stages() -> None:
    assert [len(stage) for stage in stages(InvertibleHider(blocks=16, growth=4))] == [4, 4, 4, 4]
    with pytest.raises(ValueError, match="expected a multiple of 4 for distillation, got 6"):
        stages(InvertibleHider(blocks=6, growth=4))


def test_mixed_hiding(make, batch: Batch) -> None:
    objective = make()
    student, teacher = objective.system.hider, objective.teacher
    found = dict(mixed_stegos(student, teacher, batch.secrets, batch.covers, (1, 2, 3)))
    assert list(found) == [1, 2, 3, STAGES]
    for i, stego in found.items():
        expected = as_printed(student, teacher, i).hide_bands(dwt(batch.covers), dwt(batch.secrets))[0]
        torch.testing.assert_close(stego, iwt(expected))
    assert torch.equal(found[STAGES], student.hide(batch.secrets, batch.covers))
    assert len({stego.sum().item() for stego in found.values()}) == 4


def test_mixed_recovery_begins_with_the_student(make, batch: Batch) -> None:
    objective = make()
    student, teacher = objective.system.hider, objective.teacher
    for i in range(1, STAGES + 1):
        # What is executed first is the inverse of what hides last.
        whole = as_printed(teacher, student, STAGES - i)
        bands = dwt(batch.covers)
        expected = iwt(whole.reveal_bands(bands, torch.zeros_like(bands))[1])
        torch.testing.assert_close(mixed_recovery(student, teacher, batch.covers, i), expected)
    torch.testing.assert_close(mixed_recovery(student, teacher, batch.covers, STAGES), student.recover(batch.covers))


@pytest.mark.parametrize("form", ["printed", "differential"])
def test_eq7_by_hand(make, batch: Batch, form: str) -> None:
    objective = make(form=form)
    student, teacher, system = objective.system.hider, objective.teacher, objective.system
    target = transmit(teacher.hide(batch.secrets, batch.covers))
    expected = {"hide": 0.0, "mia": 0.0, "task": 0.0}
    for i in range(1, STAGES + 1):
        stego = transmit(as_printed(student, teacher, i).hide(batch.secrets, batch.covers))
        reply = transmit(system.analyzer(stego))
        recovering = as_printed(teacher, student, STAGES - i)
        logits = system.head(recovering.recover(reply), recovering.recover(stego))
        expected["hide"] += 800 * F.mse_loss(stego, target)
        expected["mia"] += 800 * F.mse_loss(reply, transmit(system.analyzer(target)))
        expected["task"] += 4 * mia_loss(logits, batch.masks)
    losses = objective(batch, 0.0)
    assert set(losses) == set(expected)
    for name, value in losses.items():
        torch.testing.assert_close(value, expected[name])


def test_a_copy_of_the_teacher_has_nothing_to_learn(make, batch: Batch) -> None:
    losses = make(copied=True)(batch, 0.0)
    assert losses["hide"] == losses["mia"] == 0
    assert losses["task"] > 0
    assert make("distill_features", copied=True)(batch, 0.0)["features"] == 0
    assert make()(batch, 0.0)["hide"] > 0
    assert make("distill_features")(batch, 0.0)["features"] > 0


@pytest.mark.parametrize("i", [1, 2, 3])
def test_a_mixed_stego_teaches_the_stages_it_passed(make, batch: Batch, i: int) -> None:
    objective = make()
    student = objective.system.hider
    (found, stego), *_ = mixed_stegos(student, objective.teacher, batch.secrets, batch.covers, (i,))
    assert found == i
    F.mse_loss(stego, batch.covers).backward()
    assert [touched(block) for block in student.blocks()] == [number < i for number in range(4)]


@pytest.mark.parametrize("name", ["distill_functions", "distill_features"])
def test_only_the_student_learns(make, batch: Batch, name: str) -> None:
    objective = make(name)
    before = {key: value.clone() for key, value in objective.system.analyzer.state_dict().items()}
    torch.stack(list(objective(batch, 0.0).values())).sum().backward()
    assert all(touched(block) for block in objective.system.hider.blocks())
    for module in (objective.teacher, objective.system.analyzer):
        assert all(parameter.grad is None for parameter in module.parameters())
    for key, value in objective.system.analyzer.state_dict().items():
        assert torch.equal(value, before[key]), key  # the statistics of its batch norms, too
    assert [rate for _, rate in objective.trained()] == [1e-3]


def test_mixed_networks_by_turns(make, batch: Batch) -> None:
    single, whole = make(mixed=1), make()
    assert [single._chosen(step / 6) for step in range(6)] == [(1,), (2,), (3,)] * 2
    assert [make(mixed=2)._chosen(step / 6) for step in range(3)] == [(1, 2), (2, 3), (1, 3)]
    turns = [single(batch, step / 6) for step in range(3)]
    for name, value in whole(batch, 0.0).items():
        torch.testing.assert_close(torch.stack([turn[name] for turn in turns]).mean(), value)


def test_without_a_teacher(make) -> None:
    objective = make()
    with pytest.raises(ValueError, match="expected one for the stage distill_functions, got none"):
        type(objective)(objective.system, objective.aids, objective.config)


@pytest.mark.parametrize(("name", "hider"), [("analyze_frozen", False), ("fine_tune", True)])
def test_total_loss(make, batch: Batch, name: str, hider: bool) -> None:
    system = make().system
    system.analyzer.requires_grad_(True)
    config = StageConfig(name, 1, 2, 16, reply_weight=200.0, stego_weight=0.0)
    objective = OBJECTIVES[name](system, Aids(8, None), config).train()
    system.hider.requires_grad_(hider)
    trip = system(batch.secrets, batch.covers)
    losses = objective(batch, 0.3)
    torch.testing.assert_close(losses["task"], mia_loss(trip.logits, batch.masks))
    torch.testing.assert_close(losses["reply"], 200 * (trip.reply - batch.covers).square().mean())
    assert losses.get("stego", 0) == 0
    torch.stack(list(losses.values())).sum().backward()
    assert touched(system.hider) == hider
    assert touched(system.analyzer)
