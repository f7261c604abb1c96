import numpy as np
import pytest

from hidemia.benchmarks.latency import rounds
from hidemia.benchmarks.latency.rival import Rival


def rival(**changes):
    settings = {"kind": "product", "name": "matrix product", "verb": "limit", "backend": "numpy", "batch": 1,
                "threads": 1}  # fmt: skip
    return Rival(**(settings | changes))


def test_every_run_is_kept_and_a_failure_is_a_row(tmp_path):
    rivals = [
        rival(),
        rival(kind="file", name="none", backend="onnxruntime", verb="analyze", source=str(tmp_path / "none.onnx")),
        rival(kind="torch", name="PyTorch compiled", reason="no compiler"),
    ]
    np.save(tmp_path / "stego.npy", np.zeros((1, 8, 8, 3), np.uint8))
    rows = rounds.measured(rivals, 2, inputs=tmp_path, expected={}, warm_up=1)
    product, missing, told = rows
    assert len(product.times_ms) == 2
    assert min(product.times_ms) > 0
    assert product.agreement is None
    assert product.peak_mib >= product.resident_mib > 10
    assert not missing.times_ms
    assert "none.onnx" in missing.reason
    assert told.reason == "no compiler"
    assert [file.name for file in tmp_path.iterdir()] == ["stego.npy"]


def test_agreement_of_photos_and_of_results():
    photos = np.full((1, 2, 2, 3), 40, np.uint8)
    other = photos.copy()
    other[0, 1, 1, 2] = 43  # one of four blue values: red and green are all the same
    found = rounds.agreement(other, photos, 0.5)
    assert (found.identical_share, found.largest) == (0.75, 3)
    result = np.array([[0.1, 0.39, 0.41, 0.9]], np.float32)
    found = rounds.agreement(result + np.float32(0.02), result, 0.4)
    assert found.identical_share == 0.75
    assert found.largest == pytest.approx(0.02, abs=1e-6)
