from __future__ import annotations

import numpy as np
import pytest

from hidemia.runtime import EngineError, ImageError, Server
from hidemia.runtime.engine import EngineSettings, usable_threads
from hidemia.runtime.server import default_batching


def expected(photos):
    return photos // 4 * 4 + 3 * (photos % 2)


def test_one_and_many(server, rng):
    photos = rng.integers(0, 256, (5, 64, 64, 3), np.uint8)
    assert np.array_equal(server.analyze(photos), expected(photos))
    assert np.array_equal(server.analyze(photos[0]), expected(photos[0]))
    assert server.image_size_px == 64


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (EngineSettings(), (usable_threads(), 0.0)),
        (EngineSettings(threads=3), (3, 0.0)),  # a photo for each thread
        (EngineSettings(backend="openvino", threads=3), (1, 0.0)),  # which takes them in turn
        (EngineSettings(device="cuda", threads=3), (8, 2.0)),
        (EngineSettings(backend="tensorrt", device="cuda"), (8, 2.0)),
        (EngineSettings(backend="openvino", device="gpu"), (8, 2.0)),
    ],
)
def test_how_a_server_batches_unless_told(settings, expected):
    assert default_batching(settings) == expected


@pytest.mark.parametrize("shape", [(63, 64, 3), (64, 64), (0, 64, 64, 3), (2, 64, 64, 4), (2, 32, 32, 3)])
def test_other_shapes(server, shape):
    with pytest.raises(ImageError, match="stego: expected a uint8"):
        server.analyze(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("stego", [np.zeros((64, 64, 3)), np.zeros((1, 64, 64, 3), np.float32), None])
def test_other_types(server, stego):
    with pytest.raises(ImageError, match="stego: expected a uint8"):
        server.analyze(stego)


def test_several_graphs_share_the_work(tiny, tmp_path, rng):
    """A graph for one photo and one for two or three: five are split 3 + 2."""
    data = tiny.analyze_graph()
    tensors = [tiny.tensor("stego")], [tiny.tensor("reply")]
    graphs = [
        tiny.graph_entry("analyze", data, *tensors, path="one.onnx", batch=(1, 1), form="one"),
        tiny.graph_entry("analyze", data, *tensors, path="any.onnx", batch=(2, 3)),
    ]
    for graph in graphs:
        (tmp_path / graph.path).write_bytes(data)
    from hidemia.runtime import manifest as manifests

    (tmp_path / "manifest.json").write_bytes(manifests.dump(tiny.make_manifest("server", graphs)))
    photos = rng.integers(0, 256, (7, 64, 64, 3), np.uint8)
    with Server.load(tmp_path, engine=EngineSettings(threads=1)) as server:
        for count in range(1, 8):
            assert np.array_equal(server.analyze(photos[:count]), expected(photos[:count]))


def single_photos(tiny, folder):
    """A server bundle whose one graph takes single photos."""
    from hidemia.runtime import manifest as manifests

    data = tiny.analyze_graph()
    tensors = [tiny.tensor("stego")], [tiny.tensor("reply")]
    graph = tiny.graph_entry("analyze", data, *tensors, path="one.onnx", batch=(1, 1), form="one")
    (folder / graph.path).write_bytes(data)
    (folder / "manifest.json").write_bytes(manifests.dump(tiny.make_manifest("server", [graph])))
    return folder


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_photos_side_by_side_come_back_in_order(tiny, tmp_path, rng, threads):
    photos = rng.integers(0, 256, (7, 64, 64, 3), np.uint8)
    with Server.load(single_photos(tiny, tmp_path), engine=EngineSettings(threads=threads)) as server:
        for count in range(1, 8):
            assert np.array_equal(server.analyze(photos[:count]), expected(photos[:count]))
    for count in (1, 4):
        with pytest.raises(EngineError, match="closed"):
            server.analyze(photos[:count])


def test_an_engine_that_cannot_be_opened_leaves_none_open(tiny, tmp_path, monkeypatch):
    from hidemia.runtime import onnx_engine

    opened = []

    class Refused(onnx_engine.OnnxEngine):
        def __init__(self, *arguments, **settings):
            super().__init__(*arguments, **settings)
            opened.append(self)
            if len(opened) == 2:
                raise EngineError("no memory left")

    monkeypatch.setattr(onnx_engine, "OnnxEngine", Refused)
    with pytest.raises(EngineError, match="no memory left"):
        Server.load(single_photos(tiny, tmp_path), engine=EngineSettings(threads=2))
    with pytest.raises(EngineError, match="closed"):
        opened[0].run({})
