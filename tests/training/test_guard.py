import math

import pytest
import torch

from hidemia.training.errors import TrainingError
from hidemia.training.guard import CROSS_ENTROPY, DivergenceGuard


def fed(losses: list[float], **options) -> DivergenceGuard:
    guard = DivergenceGuard(**options)
    for loss in losses:
        guard.accept(loss)
    return guard


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_not_finite_is_an_explosion_from_the_start(loss: float) -> None:
    assert fed([]).exploded(loss)


def test_factor_over_the_median() -> None:
    guard = fed([1.0] * 15 + [2.0] * 16, factor=5)
    assert not guard.exploded(10.0)
    assert guard.exploded(10.1)


def test_one_high_loss_does_not_move_the_median() -> None:
    guard = fed([1.0] * 30 + [4.9] * 10, factor=5)
    assert guard.exploded(5.1)


def test_first_steps_may_be_wild() -> None:
    guard = fed([1.0] * 19)
    assert not guard.exploded(1e9)
    guard.accept(1.0)
    assert guard.exploded(1e9)


def test_median_runs() -> None:
    guard = fed([1.0] * 50 + [100.0] * 20, window=20, factor=5)
    assert len(guard.losses) == 20
    assert not guard.exploded(499.0)
    assert guard.exploded(501.0)


def test_what_is_learned_by_heart_may_be_as_wrong_as_at_first() -> None:
    guard = fed([1.4] * 20 + [0.01] * 100)  # cross entropy: an image that is not known yet costs a hundred medians
    assert not guard.exploded(1.4)
    assert guard.exploded(1.5)
    again = DivergenceGuard()
    again.restore(guard.state())
    assert not again.exploded(1.4)
    assert again.exploded(1.5)


def test_one_image_of_four_may_be_told_wrong_for_certain() -> None:
    """Known by heart from the first step on, as where only writing is learned: then one cross entropy of 9."""
    guard = fed([0.01] * 120, plausible=CROSS_ENTROPY)
    assert not guard.exploded(2 * 9 / 4)  # as the task and directly
    assert guard.exploded(10.1)
    assert fed([0.01] * 120).exploded(2 * 9 / 4)  # no cross entropy of classes


def test_good_state_is_a_copy_each_time() -> None:
    guard = DivergenceGuard()
    state = {"weight": torch.ones(3), "optimizer": {"state": {0: torch.zeros(2)}}}
    guard.keep(state)
    state["weight"].fill_(math.nan)
    first = guard.roll_back()
    assert first["weight"].tolist() == [1, 1, 1]
    first["weight"].fill_(7)
    first["optimizer"]["state"][0].fill_(7)
    second = guard.roll_back()
    assert second["weight"].tolist() == [1, 1, 1]
    assert second["optimizer"]["state"][0].tolist() == [0, 0]
    assert guard.rollbacks == 2


def test_copy_that_explodes_itself_is_given_up() -> None:
    guard = DivergenceGuard()
    for step in (0, 100, 200, 300):
        guard.keep({"step": step})
    assert guard.roll_back() == {"step": 300}
    assert guard.roll_back() == {"step": 200}  # exploded again, no new copy since
    assert guard.roll_back() == {"step": 100}
    assert guard.roll_back() == {"step": 100}  # three are kept, and the last is never given up


def test_new_copy_is_trusted_again() -> None:
    guard = DivergenceGuard()
    guard.keep({"step": 0})
    guard.keep({"step": 100})
    assert guard.roll_back() == {"step": 100}
    guard.keep({"step": 200})
    assert guard.roll_back() == {"step": 200}


def test_rising_loss_is_not_kept() -> None:
    guard = fed([1.0] * 30)
    guard.keep({"step": 0})
    guard.accept(2.1)
    assert not guard.healthy()
    guard.keep({"step": 100})
    assert guard.roll_back() == {"step": 0}
    guard.accept(2.0)
    assert guard.healthy()
    assert DivergenceGuard().healthy()


def test_gives_up() -> None:
    guard = DivergenceGuard(patience=2)
    guard.keep({})
    guard.roll_back()
    guard.roll_back()
    with pytest.raises(TrainingError, match="diverged 3 times, expected at most 2; lower the learning rate"):
        guard.roll_back()


def test_nothing_to_go_back_to() -> None:
    with pytest.raises(TrainingError, match="diverged 1 times"):
        DivergenceGuard().roll_back()


def test_state_survives_a_checkpoint(tmp_path) -> None:
    guard = fed([0.1, 1 / 3, 2.7e-9] * 10)
    guard.keep({})
    guard.roll_back()
    torch.save(guard.state(), tmp_path / "guard.pt")
    other = fed([9.0] * 40)
    other.restore(torch.load(tmp_path / "guard.pt", weights_only=True))
    assert list(other.losses) == list(guard.losses)  # to the last bit
    assert other.rollbacks == 1
    assert other.losses.maxlen == guard.losses.maxlen
