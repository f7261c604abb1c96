"""What the loop takes back when training diverges, and that it goes on from there."""

import functools
import math
from collections.abc import Callable

import pytest
import torch
from tests.training.tiny_run import Run

from hidemia.training import loop
from hidemia.training.data import Batch
from hidemia.training.errors import TrainingError
from hidemia.training.guard import DivergenceGuard
from hidemia.training.loop import learning_rate


def guarded(monkeypatch: pytest.MonkeyPatch, **options) -> None:
    monkeypatch.setattr(loop, "DivergenceGuard", functools.partial(DivergenceGuard, **options))


def spike(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """A learning rate of a million in one step, the first time that it is made."""
    spikes = [at]

    def rate(step: int, steps: int) -> float:
        if step in spikes:
            spikes.remove(step)
            return 1e6
        return learning_rate(step, steps)

    monkeypatch.setattr(loop, "learning_rate", rate)


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
    spike(monkeypatch, 21)
    run = start(steps=26)
    result = run.go()
    assert run.steps == [*range(23), *range(20, 26)]
    assert run.saved()["guard"]["rollbacks"] == 1
    assert run.losses[-1] < 2 * run.losses[0]
    assert all(tensor.isfinite().all() for tensor in result.state_dict().values())


def test_spike_just_before_the_good_copy(start, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded(monkeypatch, every=10)
    spike(monkeypatch, 29)
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
