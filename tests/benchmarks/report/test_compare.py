import msgspec
import pytest
from tests.sample_report import sample, timing

from hidemia.benchmarks.report.compare import comparable, lost, moves

STEADY, *_ = sample().limits
STEADY = msgspec.structs.replace(STEADY, threads=2, unsteadiness=1.0)


def of(*rows, unsteadiness=1.0, **changes):
    limits = [msgspec.structs.replace(STEADY, unsteadiness=unsteadiness)]
    return sample(timings=list(rows), limits=limits, **changes)


BEFORE = timing(times_ms=(98.0, 99.0, 100.0, 101.0, 102.0))  # median 100, spread 1


@pytest.mark.parametrize(
    ("times", "moved", "regression"),
    [
        ((99.0, 100.0, 102.0, 102.0, 103.0), False, False),  # 2 ms with a noise of 1 + 1
        ((101.0, 102.0, 103.0, 104.0, 105.0), True, False),  # 3 ms: beyond the noise, within 10 %
        ((109.0, 110.0, 112.0, 112.0, 113.0), True, True),  # 12 ms
        ((50.0, 51.0, 52.0, 53.0, 54.0), True, False),  # faster
        ((60.0, 80.0, 115.0, 120.0, 140.0), False, False),  # 15 ms, but a noise of 1 + 20
    ],
)
def test_a_time_moves_beyond_its_noise(times, moved, regression):
    after = timing(times_ms=times)
    found = moves(of(BEFORE), of(after))
    assert len(found) == moved
    assert [move.regression for move in found] == [regression] * moved


def test_by_as_much_as_the_machine_strays_nothing_moved():
    after = timing(times_ms=(109.0, 110.0, 112.0, 112.0, 113.0))  # 12 ms with a noise of 1 + 1 and the machine's
    assert moves(of(BEFORE, unsteadiness=1.09), of(after))[0].noise == pytest.approx(11)
    assert not moves(of(BEFORE, unsteadiness=1.11), of(after))
    assert not moves(of(BEFORE), of(after, unsteadiness=1.11))
    assert moves(sample(timings=[BEFORE], limits=[]), of(after))


def test_a_move_in_one_line():
    (move,) = moves(of(BEFORE), of(timing(times_ms=(109.0, 110.0, 112.0, 112.0, 113.0))))
    assert move.line() == (
        "REGRESSION hide, hide.fp32.onnx, onnxruntime, batch 1, 2 threads: 100 -> 112 ms (+12.0 %), noise 2"
    )


def test_the_limit_is_the_callers():
    after = of(timing(times_ms=(109.0, 110.0, 112.0, 112.0, 113.0)))
    assert not any(move.regression for move in moves(of(BEFORE), after, limit=0.2))


def test_memory_and_costs_count_too():
    (peak,) = moves(of(BEFORE), of(msgspec.structs.replace(BEFORE, peak_mib=150.0)))
    assert (peak.before, peak.after, peak.regression) == (120, 150, True)
    assert not moves(of(BEFORE), of(msgspec.structs.replace(BEFORE, peak_mib=123.0)))
    eager = msgspec.structs.replace(BEFORE, backend="torch")
    assert not moves(of(eager), of(msgspec.structs.replace(eager, peak_mib=150.0)))
    graphs = [msgspec.structs.replace(graph, multiply_adds=graph.multiply_adds + 1) for graph in sample().graphs]
    found = moves(sample(), sample(graphs=graphs))
    assert [move.what for move in found] == [f"{graph.path}, multiply adds" for graph in graphs]
    assert not any(move.regression for move in found)


def test_a_target_that_is_missed_now_is_a_regression():
    before = sample()
    after = [msgspec.structs.replace(row, measured=1.4, holds=False) if row.holds else row for row in before.targets]
    found = moves(before, sample(targets=after))
    assert [(move.what, move.regression) for move in found] == [
        ("target hide_fp32_ort", True), ("target startup_mib", True),
    ]  # fmt: skip
    assert not any(move.regression for move in moves(sample(targets=after), before))


def test_within_its_spread_a_target_is_not_missed():
    row = next(row for row in sample().targets if row.holds)
    before, after = (
        msgspec.structs.replace(row, measured=1.55, holds=True, spread=0.06),
        msgspec.structs.replace(row, measured=1.45, holds=False, spread=0.06),
    )
    steady = [msgspec.structs.replace(STEADY, threads=sample().environment.threads)]
    assert not moves(sample(targets=[before], limits=steady), sample(targets=[after], limits=steady))
    worse = msgspec.structs.replace(after, measured=1.4)
    (move,) = moves(sample(targets=[before], limits=steady), sample(targets=[worse], limits=steady))
    assert (move.regression, move.noise) == (True, pytest.approx(0.12))
    restless = [msgspec.structs.replace(steady[0], unsteadiness=1.1)]  # 0.155 more
    assert not moves(sample(targets=[before], limits=steady), sample(targets=[worse], limits=restless))


def test_times_of_another_machine_are_not_compared():
    other = sample(environment=msgspec.structs.replace(sample().environment, processor="another"))
    slow = msgspec.structs.replace(other, timings=[timing(times_ms=(900.0, 901.0))])
    assert not comparable(sample(), slow)
    assert not moves(sample(), slow)


def test_a_row_that_is_gone_is_told():
    assert lost(sample(), of(timing())) == [row.key for row in sample().timings if row.times_ms][1:]
    assert not lost(sample(), sample())
