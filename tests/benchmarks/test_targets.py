import msgspec
import pytest

from hidemia.benchmarks import targets
from hidemia.benchmarks.timing import best, bests, interleaved, medians, product_gflops, unsteadiness

HIDE = {"plain onnxruntime": 180.0, "fp32 onnxruntime": 120.0, "fp32 openvino": 90.0, "matrix product": 40.0}


def test_hide_rows_by_hand():
    assert msgspec.to_builtins(targets.hide_fp32_ort(HIDE)) == {
        "id": "hide_fp32_ort", "target": 1.5, "measured": 1.5, "unit": "x", "holds": True,
    }  # fmt: skip
    assert targets.hide_fp32_best(HIDE).measured == 2.0
    row = targets.hide_int8_best(HIDE)
    assert (row.measured, row.holds, row.reason) == (None, None, "the bundle has no int8 graph")
    row = targets.hide_int8_best(HIDE | {"int8 onnxruntime": 60.0, "int8 openvino": 50.0})
    assert (row.measured, row.holds) == (3.6, True)


def test_modc_rows_take_the_best_engine_of_each_side():
    ms = {
        "branches onnxruntime": 100.0, "branches openvino": 90.0, "vanilla onnxruntime": 20.0,
        "vanilla openvino": 30.0, "modc onnxruntime": 40.0, "modc openvino": 30.0,
    }  # fmt: skip
    assert targets.modc_vs_branches(ms).measured == 3.0
    row = targets.modc_vs_plain(ms)
    assert (row.measured, row.holds) == (1.5, False)


def test_peak_share_by_hand():
    # 4.5e9 multiply-adds are 9e9 operations; in 90 ms that is 100 GFLOP/s.
    assert targets.peak_share(HIDE, 4_500_000_000, 200.0).measured == 50.0


def test_other_rows():
    assert targets.trip_overhead(112.0, 100.0).measured == 12.0
    assert targets.trip_overhead(112.0, 100.0).holds is True
    assert targets.trip_overhead(116.0, 100.0).holds is False
    assert targets.batch8(10.0, 160.0).measured == 0.5
    assert [row.holds for row in targets.startup([0.4, 0.3, 0.6], [201.0] * 3)] == [True, False]


def test_the_spread_of_a_row_is_that_of_its_rounds_drawn_anew():
    def row(times: targets.Times) -> targets.Target:
        return targets.batch8(*medians(times).values())

    drifting = {"batch 1": [10.0, 20.0, 30.0], "batch 8": [80.0, 160.0, 240.0]}  # twice as slow, both at once
    assert targets.with_spread(row, drifting).spread == 0
    # Of three rounds drawn from these, the median ratio is 1 or 2, each far more often than 5 % of the time.
    scattered = {"batch 1": [10.0, 10.0, 20.0], "batch 8": [80.0, 80.0, 80.0]}
    found = targets.with_spread(row, scattered)
    assert (found.measured, found.spread) == (1.0, 0.5)
    assert targets.with_spread(row, scattered) == found  # the draws are always the same


def test_best_and_medians():
    assert bests({"a": [3.0, 1.0, 2.0]}) == {"a": 1.0}
    assert best({"a x": 3.0, "a y": 2.0, "b": 1.0}, "a") == ("a y", 2.0)
    assert medians({"a": [1.0, 9.0, 2.0]}) == {"a": 2.0}
    with pytest.raises(ValueError, match="empty"):
        best({}, "a")


def test_rivals_take_turns_and_the_warm_up_is_not_counted():
    calls = []
    times = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2, warm_up=1)
    assert calls == ["a", "b"] * 3
    assert {name: len(values) for name, values in times.items()} == {"a": 2, "b": 2}


def test_the_best_product_counts():
    assert product_gflops([100.0, 50.0]) == pytest.approx(2 * 1536**3 / 0.05 / 1e9)


def test_unsteadiness():
    assert unsteadiness([10.0, 10.0, 10.0]) == 1.0
    assert unsteadiness([10.0, 30.0, 20.0]) == 2.0
