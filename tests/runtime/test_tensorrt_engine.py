"""The whole way from a plan to a result, against the real bindings' signatures (`tests/standins`)."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.standins.bundles import SIZE, make_bundle
from tests.standins.gpu import Gpu
from tests.standins.machine import VERSIONS

from hidemia.export.build import build_bundle
from hidemia.export.plan import PlanSettings
from hidemia.runtime import BundleError, Client, EngineError, Server
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.engine import EngineSettings, open_engine

CUDA = EngineSettings(backend="tensorrt", device="cuda")
PYCUDA = EngineSettings(backend="tensorrt", device="pycuda")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.fixture
def photos(rng):
    return lambda batch: rng.integers(0, 256, (batch, SIZE, SIZE, 3), np.uint8)


@pytest.fixture
def server(machine, tmp_path) -> Bundle:
    path = make_bundle(tmp_path / "server", "server")
    return built(path, "server", (1, 4, 4))


def built(path: Path, role: str, batch: tuple[int, int, int]) -> Bundle:
    bundle = Bundle.open(path, role)
    build_bundle(bundle, (), PlanSettings(batch=batch))
    return bundle


def graph(bundle: Bundle, form: str = "any"):
    return next(g for g in bundle.manifest.graphs if g.form in (form, None))


def expected(bundle: Bundle, form: str, photos: np.ndarray) -> np.ndarray:
    with open_engine(bundle, graph(bundle, form), EngineSettings(threads=1)) as engine:
        return engine.run({"stego": photos})["reply"]


def plan_file(bundle: Bundle, name: str = "analyze.fp32.any.plan") -> Path:
    (file,) = (bundle.path / "plans").glob(f"*/{name}")
    return file


@pytest.mark.parametrize("version", VERSIONS)
def test_the_client_makes_a_trip(machine, tmp_path, photos, version):
    machine.become(version)
    path = make_bundle(tmp_path / "client", "client")
    built(path, "client", (1, 1, 1))
    secret, cover = photos(1)[0], photos(1)[0]
    with Client.load(path, engine=CUDA) as ours, Client.load(path) as reference:
        stego = ours.hide(secret, cover)
        assert np.array_equal(stego, reference.hide(secret, cover))
        found = ours.probability(cover, sent=stego)
        assert np.array_equal(found, reference.probability(cover, sent=stego))
    assert not machine.gpu.leaks


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("batch", [1, 2, 4, 5, 11])
def test_batches(machine, tmp_path, photos, version, batch):
    machine.become(version)
    bundle = built(make_bundle(tmp_path / "server", "server"), "server", (1, 4, 4))
    stego = photos(batch)
    with open_engine(bundle, graph(bundle), CUDA) as engine:
        assert np.array_equal(engine.run({"stego": stego})["reply"], expected(bundle, "any", stego))
        assert np.array_equal(engine.run({"stego": stego[:1]})["reply"], expected(bundle, "any", stego[:1]))
        assert not engine.uses_cuda_graph


def test_the_server_takes_the_form_of_each_batch(server, photos):
    stego = photos(7)
    with Server.load(server.path, engine=CUDA) as ours, Server.load(server.path) as reference:
        assert np.array_equal(ours.analyze(stego), reference.analyze(stego))
        assert np.array_equal(ours.analyze(stego[0]), reference.analyze(stego[0]))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_fixed_batch_is_one_cuda_graph(machine, tmp_path, photos, version):
    machine.become(version)
    bundle = built(make_bundle(tmp_path / "server", "server"), "server", (1, 4, 4))
    machine.gpu.launches = 0
    with open_engine(bundle, graph(bundle, "one"), CUDA) as engine:
        assert engine.uses_cuda_graph
        for stego in (photos(1), photos(1)):
            assert np.array_equal(engine.run({"stego": stego})["reply"], expected(bundle, "one", stego))
    assert machine.gpu.launches == 2


def test_a_capture_that_is_refused_leaves_the_plain_way(machine, server, photos):
    machine.state.refuse_capture = True
    stego = photos(1)
    with open_engine(server, graph(server, "one"), CUDA) as engine:
        assert not engine.uses_cuda_graph
        assert np.array_equal(engine.run({"stego": stego})["reply"], expected(server, "one", stego))


def test_results_are_the_callers_own(server, photos):
    with open_engine(server, graph(server), CUDA) as engine:
        first = engine.run({"stego": photos(2)})["reply"]
        kept = first.copy()
        engine.run({"stego": photos(2)})
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("form", ["one", "any"])
def test_many_threads(server, photos, form):
    stegos = [photos(1) for _ in range(16)]
    answers = [expected(server, form, stego) for stego in stegos]
    with open_engine(server, graph(server, form), CUDA) as engine, ThreadPoolExecutor(8) as threads:
        got = list(threads.map(lambda stego: engine.run({"stego": stego})["reply"], stegos * 4))
    assert all(np.array_equal(a, b) for a, b in zip(got, answers * 4, strict=True))


def test_closed(machine, server, photos):
    engine = open_engine(server, graph(server), CUDA)
    engine.close()
    engine.close()
    assert not machine.gpu.leaks
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tensorrt-")]
    with pytest.raises(EngineError, match="expected an open engine, got a closed one"):
        engine.run({"stego": photos(1)})


def test_closed_while_others_run(machine, server, photos):
    stego = photos(1)
    engine = open_engine(server, graph(server), CUDA)
    with ThreadPoolExecutor(4) as threads:
        runs = [threads.submit(engine.run, {"stego": stego}) for _ in range(50)]
        engine.close()
    for run in runs:
        error = run.exception()
        assert error is None or (isinstance(error, EngineError) and "closed" in str(error))
    assert not machine.gpu.leaks


@pytest.mark.parametrize(("role", "broken"), [("client", "recover.fp32.plan"), ("server", "analyze.fp32.any.plan")])
def test_a_second_engine_that_fails_leaves_nothing_of_the_first(machine, tmp_path, role, broken):
    bundle = built(make_bundle(tmp_path / role, role), role, (1, 1, 1))
    file = plan_file(bundle, broken)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(EngineError, match=broken):
        {"client": Client, "server": Server}[role].load(bundle.path, engine=CUDA)
    assert not machine.gpu.leaks
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tensorrt-")]


def test_closing_goes_on_after_a_failure(machine, tmp_path):
    """The GPU takes nothing back of the first engine; the second one is closed all the same."""
    path = make_bundle(tmp_path / "client", "client")
    built(path, "client", (1, 1, 1))
    client = Client.load(path, engine=CUDA)
    (first, *_) = machine.gpu.device
    machine.gpu.free(first)  # what the engine will give back again, which CUDA refuses
    with pytest.raises(EngineError, match="cudaFree"):
        client.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tensorrt-")]


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"photo": np.zeros((1, SIZE, SIZE, 3), np.uint8)},
        {"stego": np.zeros((1, SIZE, SIZE, 3), np.float32)},
        {"stego": np.zeros((1, SIZE, SIZE + 1, 3), np.uint8)},
        {"stego": np.zeros((SIZE, SIZE, 3), np.uint8)},
        {"stego": np.zeros((0, SIZE, SIZE, 3), np.uint8)},
        {"stego": np.uint8(0)},
    ],
)
def test_wrong_inputs(server, inputs):
    with (
        open_engine(server, graph(server), CUDA) as engine,
        pytest.raises(EngineError, match=r"analyze\.fp32\.any\.onnx: expected stego uint8"),
    ):
        engine.run(inputs)


def test_a_batch_below_the_plans(machine, tmp_path, photos):
    bundle = built(make_bundle(tmp_path / "server", "server"), "server", (3, 4, 4))
    with open_engine(bundle, graph(bundle), CUDA) as engine:
        assert len(engine.run({"stego": photos(7)})["reply"]) == 7
        for batch in (2, 5, 6):
            with pytest.raises(EngineError, match="expected a batch that parts of 3 to 4 make up"):
                engine.run({"stego": photos(batch)})


# which plan


def refused(bundle: Bundle, settings: EngineSettings = CUDA) -> str:
    with pytest.raises(EngineError) as caught:
        open_engine(bundle, graph(bundle), settings)
    message = str(caught.value)
    assert message.endswith(f"make one here: hidemia build --server {bundle.path} --precision fp32")
    return message


def test_no_plan(machine, tmp_path):
    path = make_bundle(tmp_path / "server", "server")
    assert f"expected a TensorRT plan for this machine; got none in {path / 'plans'}; " in refused(
        Bundle.open(path, "server")
    )


@pytest.mark.parametrize(("version", "other"), [("8.6", "10.3"), ("10.3", "10.13"), ("10.13", "11.4"), ("11.4", "8.6")])
def test_another_version(machine, tmp_path, version, other):
    machine.become(version)
    built_by = machine.trt.__version__
    bundle = built(make_bundle(tmp_path / "server", "server"), "server", (1, 4, 4))
    machine.become(other)
    assert f"analyze.fp32.any.plan: expected TensorRT {built_by}, got {machine.trt.__version__}; " in refused(bundle)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_plan_that_tensorrt_itself_refuses(machine, tmp_path, version):
    """The receipt says that it fits, TensorRT says None: no `NoneType has no attribute`."""
    machine.become(version)
    bundle = built(make_bundle(tmp_path / "server", "server"), "server", (1, 4, 4))
    folder = plan_file(bundle).parent
    other = machine.trt.__version__[:-1] + "9"
    if other == machine.trt.__version__:
        other = other[:-1] + "8"
    forge(folder, plan_file(bundle).read_bytes().replace(machine.trt.__version__.encode(), other.encode(), 1))
    with pytest.raises(EngineError) as caught:
        open_engine(bundle, graph(bundle), CUDA)
    assert str(caught.value) == (
        f"analyze.fp32.any.onnx: expected a plan that TensorRT {machine.trt.__version__} loads, got one built by "
        f"{machine.trt.__version__}: The engine plan file is not compatible: built with {other}; make it again here: "
        f"hidemia build --server {bundle.path} --precision fp32"
    )


def forge(folder: Path, data: bytes) -> None:
    """Put another plan there with a receipt that speaks for it."""
    import hashlib

    from hidemia.runtime import receipt as receipts

    file = folder / "analyze.fp32.any.plan"
    file.write_bytes(data)
    receipt = receipts.load((folder / "receipt.json").read_bytes())
    plans = [
        msgspec.structs.replace(plan, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
        if plan.path == file.name
        else plan
        for plan in receipt.plans
    ]
    (folder / "receipt.json").write_bytes(receipts.dump(msgspec.structs.replace(receipt, plans=plans)))


def test_another_gpu(machine, server):
    machine.become("10.3", Gpu("NVIDIA Other", "8.9"))
    assert "analyze.fp32.any.plan: expected NVIDIA Test 4000, got NVIDIA Other; " in refused(server)
    machine.become("10.3", Gpu("NVIDIA Test 4000", "9.0"))
    assert "analyze.fp32.any.plan: expected compute capability 8.9, got 9.0 (NVIDIA Test 4000)" in refused(server)


def test_another_jetson_linux(machine, server):
    machine.l4t = "36.4.3"
    assert "expected no Jetson, got Jetson Linux 36.4.3" in refused(server)


def test_truncated(server):
    file = plan_file(server)
    data = file.read_bytes()
    file.write_bytes(data[:-7])
    assert f"expected {len(data)} bytes, got {len(data) - 7}" in refused(server)


def test_a_flipped_byte(server):
    file = plan_file(server)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert "analyze.fp32.any.plan: expected SHA-256 " in refused(server)


def test_a_plan_of_another_bundle(machine, server, tmp_path):
    """Plans copied beside a newer bundle: their receipt names another ONNX file."""
    changed = [msgspec.structs.replace(g, sha256="0" * 64) for g in server.manifest.graphs]
    other = Bundle(server.path, msgspec.structs.replace(server.manifest, graphs=changed))
    assert "analyze.fp32.any.plan: expected a plan of this ONNX file, got one of another" in refused(other)


@pytest.mark.parametrize("text", [b"", b"{}", b'{"schema_version": 2}', b"\xff"])
def test_a_receipt_that_is_none(server, text):
    (plan_file(server).parent / "receipt.json").write_bytes(text)
    assert "receipt.json: " in refused(server)


def test_plans_without_a_receipt(server):
    (plan_file(server).parent / "receipt.json").unlink()
    assert "got none in" in refused(server)


@pytest.mark.parametrize("what", ["plans", "folder", "receipt", "plan"])
@pytest.mark.parametrize("bit", [0o020, 0o002])
def test_plans_that_others_could_write(server, what, bit):
    file = plan_file(server)
    path = {"plans": file.parents[1], "folder": file.parent, "receipt": file.with_name("receipt.json"), "plan": file}
    path[what].chmod(path[what].stat().st_mode | bit)
    message = refused(server)
    assert f"{path[what]}: expected only its owner to be able to write it, since a plan is code, got mode" in message
    assert f"chown it to this account and chmod go-w {path[what]}" in message


def test_a_link_to_a_plan(server, tmp_path):
    file = plan_file(server)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert f"got a link to {tmp_path / 'elsewhere'}" in refused(server)


def test_a_good_folder_beside_bad_ones(machine, server, photos):
    (server.path / "plans" / "a").mkdir()
    (server.path / "plans" / "a" / "receipt.json").write_text("{}")
    with open_engine(server, graph(server), CUDA) as engine:
        assert len(engine.run({"stego": photos(1)})["reply"]) == 1


def test_a_plan_of_other_tensors(server):
    changed = msgspec.structs.replace(graph(server).inputs[0], name="photo")
    other = msgspec.structs.replace(graph(server), inputs=[changed])
    with pytest.raises(BundleError, match=r"expected a plan with in photo uint8 .*, got in stego uint8"):
        open_engine(server, other, CUDA)


# packages and GPUs that are not there


@pytest.mark.parametrize(
    ("module", "settings", "message"),
    [
        ("tensorrt", CUDA, "expected tensorrt, got no package tensorrt; pip install 'hidemia[tensorrt]'"),
        ("cuda", CUDA, "expected cuda-python, got no such package; pip install 'hidemia[tensorrt]'"),
        ("pycuda", PYCUDA, "expected pycuda, got no such package; pip install 'hidemia[pycuda]'"),
    ],
)
def test_a_package_that_is_missing(server, monkeypatch, module, settings, message):
    for name in list(sys.modules):
        if name.split(".")[0] == module:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EngineError) as caught:
        open_engine(server, graph(server), settings)
    assert str(caught.value) == f"engine: {message}"


def test_cuda_finds_no_gpu(machine, server, monkeypatch):
    environment = machine.environment
    monkeypatch.setattr("hidemia.runtime.environment.gather", lambda: environment)
    machine.gpu.present = False
    with pytest.raises(EngineError, match="cudaSetDevice: expected CUDA to do it, got cudaErrorNoDevice: description"):
        open_engine(server, graph(server), CUDA)


@pytest.mark.parametrize("settings", [CUDA, PYCUDA])
def test_too_little_memory(machine, server, settings):
    context = machine.pycuda["pycuda.driver"].Device(0).make_context()
    machine.gpu.free_bytes = 20_000  # the input's buffer fits, the output's does not
    with pytest.raises(EngineError, match="cudaErrorMemoryAllocation"):
        open_engine(server, graph(server), settings)
    assert not machine.gpu.leaks
    context.pop()


# pycuda


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("form", ["one", "any"])
def test_pycuda(machine, tmp_path, photos, version, form):
    machine.become(version)
    bundle = built(make_bundle(tmp_path / "server", "server"), "server", (1, 4, 4))
    driver = machine.pycuda["pycuda.driver"]
    context = driver.Device(0).make_context()
    stego = photos(3)
    with open_engine(bundle, graph(bundle, form), PYCUDA) as engine, ThreadPoolExecutor(2) as threads:
        assert not engine.uses_cuda_graph
        got = threads.submit(lambda: engine.run({"stego": stego})["reply"]).result()
        assert np.array_equal(got, np.concatenate([expected(bundle, form, stego[i : i + 1]) for i in range(3)]))
        assert driver.Context.get_current() is context
    assert driver.Context.get_current() is context
    assert not machine.gpu.leaks


def test_pycuda_without_a_context(server):
    with pytest.raises(EngineError, match="expected a current pycuda context, got none; load the bundle in the thread"):
        open_engine(server, graph(server), PYCUDA)


def test_devices_of_tensorrt():
    with pytest.raises(EngineError, match="device: expected one of cuda, pycuda with tensorrt, got 'cpu'"):
        EngineSettings(backend="tensorrt")
