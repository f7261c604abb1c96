import json

import msgspec
import numpy as np
import pytest
from tests.micro import micro_config, micro_system
from tests.tiny import tiny

from hidemia.export import calibration
from hidemia.export.calibration import Calibration, Effect, GraphCalibration, clipped, collect, rounding_error
from hidemia.export.variants import chosen, convolution_groups
from hidemia.runtime.errors import ExportError
from hidemia.training.weights import save_weights


@pytest.fixture
def weights(tmp_path):
    config = micro_config()
    save_weights(micro_system(config), config, tmp_path, bits=16)
    return tmp_path


def made(weights):
    effect = Effect(
        group="net", convolutions=2, noise=0.5, stego_psnr_db=0.1, reply_psnr_db=0.0, task_points=-0.1
    )  # fmt: skip
    graph = GraphCalibration(ranges={"b": (-1.5, 2.0), "a": (0.0, 1.0)}, fp32=["net"], effects=[effect])
    return Calibration(
        data={"secrets": "busi"}, weights_sha256=calibration.weights_sha256(weights), graphs={"hide": graph}
    )  # fmt: skip


def test_round_trip(weights):
    calibration.save(made(weights), weights)
    assert calibration.load(weights) == made(weights)
    first = (weights / "calibration.json").read_bytes()
    calibration.save(calibration.load(weights), weights)
    assert (weights / "calibration.json").read_bytes() == first
    assert list(json.loads(first)["graphs"]["hide"]["ranges"]) == ["a", "b"]
    assert not list(weights.glob(".*"))


def test_none_damaged_or_of_other_weights(weights):
    with pytest.raises(ExportError, match=r"got no such file; run python -m hidemia\.export\.sensitivity"):
        calibration.load(weights)
    calibration.save(made(weights), weights)
    file = weights / "calibration.json"
    text = file.read_text()
    file.write_text(text[:-40])
    with pytest.raises(ExportError, match="not a valid calibration"):
        calibration.load(weights)
    file.write_text(text.replace('"weights_sha256"', '"weights"'))
    with pytest.raises(ExportError, match="not a valid calibration"):
        calibration.load(weights)
    file.write_text(text)
    save_weights(micro_system(micro_config(), seed=1), micro_config(), weights, bits=16)
    with pytest.raises(ExportError, match=r"expected a calibration of the hider .* got one of "):
        calibration.load(weights)


def test_collect_by_hand():
    feeds = [{"x": np.array([[[[0.5, v, 0]], [[0.25, -0.4, 0]]]], np.float32)} for v in (0.1, -0.3)]
    ranges = collect(tiny(), feeds, "cpu")
    assert list(ranges) == sorted(ranges)
    assert ranges["bands"] == ranges["a1"] == ranges["cat"]  # one scale
    low, high = ranges["cat"]
    # bands lie in [-0.8, 1]; a1 reaches 1 - 2 * -0.8 + 0.5 above; both ends may be clipped a little, never widened.
    assert -0.8 <= low < 0
    assert 0 < high <= 2.3
    assert all(low <= 0 <= high for low, high in ranges.values())


def test_the_range_is_cut_where_that_costs_least():
    bulk = np.linspace(0, 1, 10_000, dtype=np.float32)
    assert clipped(bulk, (0.0, 1.0), "cpu") == (0.0, 1.0)
    outlier = np.append(bulk, np.float32(20))
    low, high = clipped(np.tile(outlier, 1), (0.0, 20.0), "cpu")
    assert low == 0.0
    assert high == 20.0  # one value in ten thousand, but 19 levels away: keeping it costs less
    tail = np.append(np.repeat(bulk, 100), np.float32(3))
    low, high = clipped(tail, (0.0, 3.0), "cpu")
    assert high < 3.0
    assert rounding_error(tail, (low, high), "cpu") < rounding_error(tail, (0.0, 3.0), "cpu")


def test_rounding_error_by_hand():
    assert rounding_error(np.array([0, 0.01, 2.55], np.float32), (0.0, 2.55), "cpu") == pytest.approx(0, abs=1e-12)
    assert rounding_error(np.array([0.004], np.float32), (0.0, 2.55), "cpu") == pytest.approx(1.6e-5, rel=1e-3)
    assert rounding_error(np.array([3.0], np.float32), (0.0, 2.0), "cpu") == pytest.approx(1.0, rel=1e-3)
    # Symmetric: a step of 0.02 for 2.54, and one code more below than above.
    assert rounding_error(np.array([0.008], np.float32), (0.0, 2.54), "tensorrt") == pytest.approx(6.4e-5, rel=1e-3)
    assert rounding_error(np.array([-2.56], np.float32), (0.0, 2.54), "tensorrt") == pytest.approx(0, abs=1e-12)


def test_tensorrt_has_ranges_of_its_own(weights):
    feeds = [{"x": np.array([[[[0.5, v, 0]], [[0.25, -0.4, 0]]]], np.float32)} for v in (0.1, -0.3)]
    assert collect(tiny(), feeds, "tensorrt").keys() == {"a1", "bands", "cat"}


def test_what_was_measured_for_the_cpu_stands_in_for_tensorrt(weights):
    old = made(weights)
    calibration.save(old, weights)
    file = weights / "calibration.json"
    text = json.loads(file.read_text())
    del text["tensorrt"]  # as files were before there was a graph for TensorRT
    file.write_text(json.dumps(text))
    assert calibration.load(weights) == old
    assert calibration.load(weights).of("tensorrt") == old.graphs
    own = {"hide": msgspec.structs.replace(old.graphs["hide"], fp32=[])}
    calibration.save(msgspec.structs.replace(old, tensorrt=own), weights)
    assert calibration.load(weights).of("tensorrt") == own
    assert calibration.load(weights).of("cpu") == old.graphs


def test_groups_are_named_by_their_weights():
    assert convolution_groups(tiny()) == {"net": ["conv1", "conv2"]}
    kept = GraphCalibration(ranges={}, fp32=["net"], effects=[])
    assert chosen(tiny(), kept) == set()
    assert chosen(tiny(), msgspec.structs.replace(kept, fp32=[])) == {"conv1", "conv2"}
