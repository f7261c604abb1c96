import pytest

from hidemia.benchmarks.attacks.controls import controls, interval
from hidemia.benchmarks.attacks.detection import COVERS_APART
from hidemia.benchmarks.report.document import Detection


def row(target, *error):
    return Detection(
        detector="classical", knowledge="control", trained_on=target, target=target, pairs=9, error=list(error),
        auc=[], found=[],
    )  # fmt: skip


def rows(apart=0.5, strong=0.05, middle=0.2, weak=0.4):
    return [
        row(COVERS_APART, apart), row("LSB matching 0.1", weak), row("LSB matching 0.2", middle),
        row("LSB matching 0.4", strong),
    ]  # fmt: skip


def test_the_interval_of_guessing_by_hand():
    assert interval(100) == pytest.approx(0.098)  # 1.96 times 0.5 over 10


def test_controls_that_hold():
    assert all(control.held for control in controls(rows(), 100))
    assert [control.got for control in controls(rows(), 100)] == ["50.0%", "5.0%", "40.0%, 20.0%, 5.0%"]


@pytest.mark.parametrize(
    ("changes", "which"),
    [({"apart": 0.39}, 0), ({"apart": 0.61}, 0), ({"strong": 0.2, "middle": 0.3}, 1), ({"weak": 0.1}, 2)],
)
def test_controls_that_do_not_hold(changes, which):
    assert [control.held for control in controls(rows(**changes), 100)] == [n != which for n in range(3)]


def test_seeds_are_averaged():
    assert controls([row(COVERS_APART, 0.4, 0.6, 0.5)], 100)[0].held
