import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from torch import nn

from hidemia.training import loop
from hidemia.training.data import Batch, Scans, training_batch
from hidemia.training.errors import TrainingError
from hidemia.training.guard import DivergenceGuard
from hidemia.training.loop import WARM_UP_STEPS, Checkpoint, learning_rate, run_stage, save_atomically
from hidemia.training.modc import MoDC
from hidemia.training.objective import Aids, StageConfig
from hidemia.training.run import Machines
from hidemia.training.stages import OBJECTIVES


class Run:
    """A stage of a tiny system on made-up scans; keeps the loss of every step that was computed."""

    def __init__(self, system: nn.Module, folder: Path, steps: int, objective: str = "joint", every: int = 4) -> None:
        config = StageConfig(objective, steps, batch=2, size_px=32, hider_rate=1e-3, analyzer_rate=1e-3)
        torch.manual_seed(2)
        self.objective = OBJECTIVES[objective](system, Aids(8, None), config)
        self.checkpoint = Checkpoint(folder / "1-stage.pt", every)
        self.losses: list[float] = []
        self.steps: list[int] = []
        self.validated = 0
        draw = torch.Generator().manual_seed(3)
        images = torch.randint(256, (5, 3, 256, 256), generator=draw, dtype=torch.uint8)
        masks = torch.zeros(5, 1, 256, 256, dtype=torch.uint8)
        masks[:, :, 60:160, 90:170] = 255
        self.scans = Scans(images, masks, torch.zeros(5, dtype=torch.int64), ("",))
        self.photos = torch.randint(256, (3, 3, 40, 40), generator=draw, dtype=torch.uint8)
        self.objective.register_forward_hook(self._record)

    def _record(self, module: nn.Module, arguments: object, losses: dict[str, torch.Tensor]) -> None:
        self.losses.append(torch.stack(list(losses.values())).sum().item())

    def batch(self, step: int) -> Batch:
        self.steps.append(step)
        return training_batch(self.scans, self.photos, 32, 2, 0, step)

    def validate(self, system: nn.Module) -> dict[str, float]:
        self.validated += 1
        return {"figure": 0.5}

    def go(self, batch_of: Callable[[int], Batch] | None = None, precision: str = "32-true") -> nn.Module:
        fabric = Machines(precision=precision).fabric("cpu")
        return run_stage(
            self.objective,
            batch_of or self.batch,
            self.validate,
            fabric,
            self.checkpoint,
            seed=0,
            validate_every=6,
        )

    def curve(self) -> list[dict[str, float]]:
        text = self.checkpoint.path.with_suffix(".jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def saved(self) -> dict[str, object]:
        return torch.load(self.checkpoint.path, weights_only=True)


def equal(a: nn.Module, b: nn.Module) -> bool:
    states = a.state_dict(), b.state_dict()
    return all(torch.equal(x, y) for x, y in zip(states[0].values(), states[1].values(), strict=True))


@pytest.fixture
def start(tiny_system, tmp_path: Path):
    def build(name: str = "run", **options) -> Run:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return Run(tiny_system(levels=1), folder, **({"steps": 13} | options))

    return build


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


def guarded(monkeypatch: pytest.MonkeyPatch, **options) -> None:
    monkeypatch.setattr(loop, "DivergenceGuard", functools.partial(DivergenceGuard, **options))


def test_exploding_batch_is_rolled_back(start, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded(monkeypatch, every=10)
    run, bad = start(steps=27), [23]

    def batch_of(step: int) -> Batch:
        batch = run.batch(step)
        if step in bad:
            bad.remove(step)
            return batch._replace(secrets=batch.secrets * 1e4)
        return batch

    result = run.go(batch_of)
    assert run.steps == [*range(24), *range(20, 27)]
    clean = run.losses[:23] + run.losses[24:]
    assert all(map(math.isfinite, clean))
    assert run.losses[23] > 5 * max(clean)
    assert max(clean[23:]) < 2 * max(clean[:23])
    assert run.saved()["guard"]["rollbacks"] == 1
    assert run.saved()["slower"] == 0.5
    assert run.curve()[-1]["rollbacks"] == 1
    assert all(tensor.isfinite().all() for tensor in result.state_dict().values())


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_rollback_takes_everything_back(start, monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    guarded(monkeypatch, every=3)
    run, bad = start(steps=8), [5]

    def batch_of(step: int) -> Batch:
        batch = run.batch(step)
        if step in bad:
            bad.remove(step)
            return batch._replace(covers=batch.covers * factor)
        return batch

    run.go(batch_of)
    assert run.steps == [0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7]
    assert not math.isfinite(run.losses[5])
    assert run.losses[6] == run.losses[3]  # from the good copy, the same loss to the last bit
    assert run.losses[7] != run.losses[4]  # and from there on half the step


def test_rollback_survives_a_kill(start, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded(monkeypatch, every=4)

    def spoiled(run: Run, last: int = 99) -> Callable[[int], Batch]:
        def batch_of(step: int) -> Batch:
            if step == last:
                raise InterruptedError
            batch = run.batch(step)
            spoil = step == 3 and run.steps.count(3) == 1
            return batch._replace(covers=batch.covers * math.nan) if spoil else batch

        return batch_of

    whole = start("whole", steps=10)
    whole.go(spoiled(whole))
    cut = start("cut", steps=10)
    with pytest.raises(InterruptedError):
        cut.go(spoiled(cut, last=7))
    rest = start("cut", steps=10)
    rest.go()
    assert rest.steps == [4, 5, 6, 7, 8, 9]
    assert rest.losses == whole.losses[-6:]
    for key in ("step", "slower"):
        assert rest.saved()[key] == whole.saved()[key]
    assert rest.saved()["slower"] == 0.5
    kept, expected = rest.saved()["guard"], whole.saved()["guard"]
    assert kept["rollbacks"] == expected["rollbacks"] == 1
    assert torch.equal(kept["losses"], expected["losses"])
    assert len(kept["losses"]) == 13  # ten steps, and three that were taken back


def test_spike_of_the_learning_rate_is_rolled_back(start, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded(monkeypatch, every=10)
    spikes = [21]

    def rate(step: int, steps: int) -> float:
        if step in spikes:
            spikes.remove(step)
            return 1e6
        return learning_rate(step, steps)

    monkeypatch.setattr(loop, "learning_rate", rate)
    run = start(steps=26)
    result = run.go()
    assert run.steps == [*range(23), *range(20, 26)]
    assert run.saved()["guard"]["rollbacks"] == 1
    assert run.losses[-1] < 2 * run.losses[0]
    assert all(tensor.isfinite().all() for tensor in result.state_dict().values())


def test_spike_just_before_the_good_copy(start, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded(monkeypatch, every=10)
    spikes = [29]

    def rate(step: int, steps: int) -> float:
        if step in spikes:
            spikes.remove(step)
            return 1e6
        return learning_rate(step, steps)

    monkeypatch.setattr(loop, "learning_rate", rate)
    run = start(steps=33)
    run.go()
    assert run.steps == [*range(31), 30, *range(20, 33)]  # what step 30 kept was spoiled already
    assert run.saved()["guard"]["rollbacks"] == 2
    assert run.losses[-1] < 2 * run.losses[0]


def test_gradient_that_is_not_finite_is_rolled_back(start, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded(monkeypatch, every=3)
    run, bad = start(steps=7, objective="hide"), [4]

    def spoil(gradient: torch.Tensor) -> torch.Tensor | None:
        if run.steps[-1] not in bad:
            return None
        bad.clear()
        return gradient * math.nan

    run.objective.system.hider.inv1.f.conv1.weight.register_hook(spoil)
    run.go()
    assert run.steps == [0, 1, 2, 3, 4, 3, 4, 5, 6]


def test_spike_in_the_last_step_is_no_model(start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "learning_rate", lambda step, steps: math.nan if step == 5 else 1e-3)
    with pytest.raises(TrainingError, match="the last step diverged"):
        start(steps=6, objective="hide").go()


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


def test_explosion_soon_after_resuming(start, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded(monkeypatch, every=10)
    first = start("cut", steps=9, objective="hide")

    def cut(step: int) -> Batch:
        if step == 5:
            raise InterruptedError
        return first.batch(step)

    with pytest.raises(InterruptedError):
        first.go(cut)
    second, bad = start("cut", steps=9, objective="hide"), [6]

    def batch_of(step: int) -> Batch:
        batch = second.batch(step)
        if step in bad:
            bad.remove(step)
            return batch._replace(covers=batch.covers * math.nan)
        return batch

    second.go(batch_of)
    assert second.steps == [4, 5, 6, 4, 5, 6, 7, 8]


def test_gives_up(start, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded(monkeypatch, patience=3)
    run = start(steps=9)

    def batch_of(step: int) -> Batch:
        batch = run.batch(step)
        return batch._replace(covers=batch.covers * math.nan) if step == 5 else batch

    with pytest.raises(TrainingError, match="diverged 4 times, expected at most 3; lower the learning rate"):
        run.go(batch_of)
    assert run.steps.count(5) == 4


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
