import pytest
from tests.sample_report import sample, timing

from hidemia.benchmarks.report import costs, tables, times
from hidemia.benchmarks.report.measurements import NetworkCost


def row(table, name):
    return dict(zip(table.head, next(cells for cells in table.rows if cells[0] == name), strict=True))


def test_a_time_stands_beside_its_accuracy_and_its_share_of_the_machine():
    found = row(times.latency(sample(), "hide"), "hide.fp32.onnx")
    assert found["equal to PyTorch FP32"] == "99.990 %, largest 1 of 255"
    assert (found["p50 ms"], found["max"], found["mean"], found["runs"]) == ("102.0", "104.0", "102.0", "5")
    assert found["p90 ms"] == "103.6"  # between the fourth and the fifth of five
    assert found["spread %"] == "1.0"  # quartiles 101 and 103
    assert found["images/s"] == "9.80"  # 5 in 510 ms
    assert found["% of product"] == "98"  # 20 GFLOP in 102 ms are 196 of 200 GFLOP/s
    assert found["% of copy"] == "98"  # 1 GB in 102 ms are 9.8 of 10 GB/s


def test_a_failure_is_a_row_with_its_reason():
    report = sample()
    assert row(times.latency(report, "hide"), "PyTorch compiled")["equal to PyTorch FP32"] == "there is | no compiler"
    reasons = dict(tables.failures(report).rows)
    assert reasons["target trt_fp16"] == "needs a GPU"
    assert reasons["hide, PyTorch compiled fp32, torch, batch 1, 2 threads"] == "there is | no compiler"
    assert reasons["HiNet, one direction, whole"] == "left out by --quick"
    assert reasons["attacks"] == "no attacks yet"


def test_targets_have_a_verdict():
    verdicts = {cells[0]: cells[1] for cells in tables.targets(sample()).rows}
    assert verdicts == {
        "hide_fp32_ort": "holds", "trip_overhead": "missed", "startup_mib": "holds",
        "trt_fp16": "not measured: needs a GPU",
    }  # fmt: skip


def test_table_7_is_three_times_a_forward_pass():
    found = row(costs.table7(sample()), "LightIH")
    assert (found["paper, G"], found["G"], found["G times 3"]) == ("38.04", "12.680", "38.04")
    assert (found["hide, G"], found["recover, G"], found["both, G"]) == ("10.572", "11.627", "22.199")
    assert found["against the paper"] == "the same"


@pytest.mark.parametrize(
    ("name", "part", "multiply_adds", "others"),
    [
        ("HiNet", "one direction, whole", 50_721_914_880, 0),
        ("HiDDeN", "hide + recover", 50_176 * 579_072, 50_176 * 2_176),  # with the norms, and only so
    ],
)
def test_the_papers_other_rows(name, part, multiply_adds, others):
    cost = NetworkCost(network=name, part=part, parameters=1, multiply_adds=multiply_adds,
                       graph_multiply_adds=multiply_adds, others=others, activation_bytes=1)  # fmt: skip
    assert row(costs.table7(sample(networks=[cost])), name)["against the paper"] == "the same"


def test_what_is_not_counted_has_a_reason_in_table_7():
    assert row(costs.table7(sample()), "DeepStega")["against the paper"] == "not counted in this run"
    assert row(costs.table7(sample()), "HiNet")["against the paper"] == "left out by --quick"


def test_counts_that_differ_are_shown():
    cost = NetworkCost(network="n", part="p", parameters=1, multiply_adds=100, graph_multiply_adds=90, others=0,
                       activation_bytes=1)  # fmt: skip
    assert row(costs.networks(sample(networks=[cost])), "n")["agree"] == "-10"


def test_the_trip_adds_up():
    found = times.trip(sample())
    assert row(found, "sum of medians")["median ms"] == "358.00"
    assert row(found, "hide")["share %"] == "30.7"


def test_values_by_their_distance():
    found = row(tables.visibility(sample()), "stego")
    assert (found["unchanged %"], found["within 1 %"], found["2 %"], found["largest"]) == ("50.0", "80.0", "95.0", "3")
    assert (found["dB"], found["worst"]) == ("45.0", "44.0")


def test_a_rival_that_computes_something_else_is_marked():
    report = sample(timings=[timing(rival="plain convolutions", graph="", agreement=None)])
    assert (
        "computes something else" in row(times.latency(report, "hide"), "plain convolutions")["equal to PyTorch FP32"]
    )


def test_networks_of_the_papers_have_a_table_of_their_own():
    report = sample(timings=[timing(rival="HiNet", graph="", agreement=None, paper=True)])
    assert not times.latency(report, "hide").rows
    assert row(times.papers(report), "HiNet")["verb"] == "hide"
    broken = timing(rival="XNet", graph="", agreement=None, paper=True, times_ms=[], reason="out of memory")
    assert row(times.papers(sample(timings=[broken])), "XNet")["peak MiB"] == "out of memory"
