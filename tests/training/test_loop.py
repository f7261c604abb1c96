"""The loop: what it computes, keeps, averages and writes; what it takes back is in test_rollback.py."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from tests.training.tiny_run import Run
from torch import nn

from hidemia.training import loop
from hidemia.training.data import Batch
from hidemia.training.loop import WARM_UP_STEPS, learning_rate, save_atomically
from hidemia.training.modc import MoDC


def equal(a: nn.Module, b: nn.Module) -> bool:
    states = a.state_dict(), b.state_dict()
    return all(torch.equal(x, y) for x, y in zip(states[0].values(), states[1].values(), strict=True))


@pytest.mark.parametrize(("objective", "precision"), [("joint", "bf16-mixed"), ("answer", "32-true")])
def test_killed_and_resumed_is_undisturbed(start, objective: str, precision: str) -> None:
    whole = start("whole", objective=objective)
    expected = whole.go(precision=precision)
    assert whole.steps == list(range(13))
    assert len(set(whole.losses)) == 13

    class PowerCut(Exception):  # noqa: N818
        pass

    first = start("cut", objective=objective)

    def until(last: int, run: Run) -> Callable[[int], Batch]:
        def batch_of(step: int) -> Batch:
            if step == last:
                raise PowerCut
            return run.batch(step)

        return batch_of

    with pytest.raises(PowerCut):
        first.go(until(7, first), precision)
    second = start("cut", objective=objective)
    with pytest.raises(PowerCut):
        second.go(until(10, second), precision)
    third = start("cut", objective=objective)
    torch.rand(17)  # the global generator may be anywhere
    result = third.go(precision=precision)

    assert (second.steps[0], third.steps[0]) == (4, 8)
    assert first.losses == whole.losses[:7]
    assert second.losses == whole.losses[4:10]
    assert third.losses == whole.losses[8:]
    assert equal(result, expected)
    assert equal(third.objective, whole.objective)


def test_finished_stage_is_not_run_again(start) -> None:
    done = start(steps=5)
    expected = done.go()
    again = start(steps=5)
    assert equal(again.go(), expected)
    assert again.steps == []
    assert equal(again.objective, done.objective)


def test_averaged_weights_trail_the_trained_ones(start) -> None:
    run = start(steps=6)
    before = {key: value.clone() for key, value in run.objective.system.state_dict().items()}
    averaged = run.go()
    name = "hider.inv1.f.conv1.weight"
    moved = run.objective.system.state_dict()[name] - before[name]
    trailing = averaged.state_dict()[name] - before[name]
    assert 0 < trailing.norm() < moved.norm()
    assert averaged is not run.objective.system


def test_average_by_hand(start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "EMA_DECAY", 0.2)
    run, seen = start(steps=4), []
    names = ("hider.inv1.f.conv1.weight", "analyzer.unets.ll.down.0.norm1.running_mean")

    def look() -> list[torch.Tensor]:
        return [run.objective.system.state_dict()[name].double() for name in names]

    def batch_of(step: int) -> Batch:
        seen.append(look())
        return run.batch(step)

    averaged = run.go(batch_of)
    _, *steps = [*seen, look()]
    for name, (first, *later) in zip(names, zip(*steps, strict=True), strict=True):
        expected = first  # the first step is taken whole; then the decay rises to what it was set to
        for value, decay in zip(later, (2 / 11, 0.2, 0.2), strict=True):
            expected = decay * expected + (1 - decay) * value
        torch.testing.assert_close(averaged.state_dict()[name].double(), expected, check_dtype=False)
        assert not torch.equal(expected, later[-1])


@pytest.mark.parametrize(("objective", "frozen"), [("hide", "analyzer"), ("answer", "hider")])
def test_what_is_frozen_stays(start, objective: str, frozen: str) -> None:
    run = start(objective=objective, steps=3)
    part = getattr(run.objective.system, frozen)
    before = {key: value.clone() for key, value in part.state_dict().items()}
    averaged = run.go()
    for key, value in part.state_dict().items():
        assert torch.equal(value, before[key]), key
        assert torch.equal(getattr(averaged, frozen).state_dict()[key], before[key]), key
    assert all(parameter.grad is None for parameter in part.parameters())


def test_training_lowers_the_loss(start) -> None:
    run = start(objective="hide", steps=40)
    run.go(lambda step: run.batch(0))
    assert run.losses[-1] < 0.8 * run.losses[0]


def test_curve_of_a_resumed_run_has_each_step_once(start) -> None:
    first = start("cut", steps=45, every=15, objective="hide")

    def batch_of(step: int) -> Batch:
        if step == 44:
            raise InterruptedError
        return first.batch(step)

    with pytest.raises(InterruptedError):
        first.go(batch_of)
    second = start("cut", steps=45, every=15, objective="hide")
    second.go()
    assert [row["step"] for row in second.curve()] == [20, 40, 45]


def test_what_is_written(start) -> None:
    run = start(steps=43, every=1000, objective="hide")
    run.go()
    rows = run.curve()
    assert [row["step"] for row in rows] == [20, 40, 43]
    assert set(rows[0]) == {"step", "stego", "low", "recover", "rollbacks"}
    assert rows[-1]["figure"] == 0.5
    assert run.validated == 8  # every six steps and at the end
    terms = sum(value for name, value in rows[0].items() if name not in ("step", "rollbacks"))
    assert terms == pytest.approx(run.losses[19], abs=1e-5)
    assert {path.name for path in run.checkpoint.path.parent.iterdir()} == {"1-stage.pt", "1-stage.jsonl"}
    assert run.saved()["step"] == 43


def test_rate_of_each_part(start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "learning_rate", lambda step, steps: 0.5)
    run = start(steps=1)
    object.__setattr__(run.objective.config, "hider_rate", 4e-3)
    run.go()
    rates = [group["lr"] for group in run.saved()["optimizer"]["param_groups"]]
    assert rates == pytest.approx([2e-3, 5e-4])


def test_learning_rate() -> None:
    steps = 2000
    curve = [learning_rate(step, steps) for step in range(steps)]
    assert curve[0] == pytest.approx(1 / WARM_UP_STEPS)
    assert max(curve) == curve[WARM_UP_STEPS - 1] == pytest.approx(1, abs=0.01)
    assert curve[:WARM_UP_STEPS] == sorted(curve[:WARM_UP_STEPS])
    assert curve[WARM_UP_STEPS:] == sorted(curve[WARM_UP_STEPS:], reverse=True)
    assert curve[1000] == pytest.approx(0.02 + 0.98 / 2)
    assert curve[-1] == pytest.approx(0.02, abs=1e-3)
    assert learning_rate(0, 1) == learning_rate(0, 19) == 1  # too short to warm up
    assert learning_rate(0, 50) == 0.2


def test_now_and_then_every_expert_is_active(start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "ALL_EXPERTS", 0.4)
    run = start(steps=12)
    layers = [module for module in run.objective.system.analyzer.modules() if isinstance(module, MoDC)]
    explored = []

    def batch_of(step: int) -> Batch:
        active = {layer.active for layer in layers}
        assert active in ({2}, {5})
        explored.append(active == {5})
        return run.batch(step)

    averaged = run.go(batch_of)
    assert 1 <= sum(explored) <= 9
    assert {layer.active for layer in layers} == {2}  # and none when it is over
    assert {module.active for module in averaged.modules() if isinstance(module, MoDC)} == {2}


def test_exploring_ends_with_the_stage(start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "ALL_EXPERTS", 1.0)
    run = start(steps=1)
    run.go()
    layers = [module for module in run.objective.system.modules() if isinstance(module, MoDC)]
    assert {layer.active for layer in layers} == {2}


def test_saving_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stage.pt"
    save_atomically({"step": 1}, path)
    assert list(tmp_path.iterdir()) == [path]

    def cut(state: object, target: BinaryIO) -> None:
        target.write(b"half a fi")
        raise InterruptedError

    monkeypatch.setattr(torch, "save", cut)
    with pytest.raises(InterruptedError):
        save_atomically({"step": 2}, path)
    monkeypatch.undo()
    assert torch.load(path, weights_only=True) == {"step": 1}
    save_atomically({"step": 3}, path)  # what the cut left behind is no obstacle
    assert torch.load(path, weights_only=True) == {"step": 3}
