from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from hidemia.export.command import export
from hidemia.export.triton import write_repository
from hidemia.runtime import BundleError, defaults
from hidemia.runtime import receipt as receipts
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.errors import ExportError


def parsed(model):
    return text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


@pytest.fixture
def server():
    return Bundle.open(defaults.bundle("server"), "server")


@pytest.fixture
def plans(server, tmp_path):
    """A folder of plans, whose plan is no more than bytes here: Triton is what loads them."""
    graph = next(graph for graph in server.manifest.graphs if graph.form == "any")
    data = b"ftrt" + bytes(range(256))
    plan = receipts.Plan(
        path="analyze.fp16.any.plan",
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        verb="analyze",
        onnx_path=graph.path,
        onnx_sha256=graph.sha256,
        precision="fp16",
        precision_achieved={"fp16": 1},
        batch=(1, 4, 12),
        workspace_mib=1024,
    )
    receipt = receipts.Receipt(
        os="Linux 6.8.0", architecture="x86_64", tensorrt="10.3.0", cuda="12.5", driver="555.42.06", gpu="NVIDIA L4",
        compute_capability="8.9", l4t=None, timing_cache_sha256=None, hidemia="0.1.0", plans=[plan],
    )  # fmt: skip
    folder = tmp_path / "plans"
    folder.mkdir()
    (folder / plan.path).write_bytes(data)
    (folder / receipts.FILE_NAME).write_bytes(receipts.dump(receipt))
    return folder


def test_an_onnx_model(server, tmp_path):
    model = write_repository(server.path, tmp_path / "models")
    assert sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()) == [
        "models/photos/1/model.onnx",
        "models/photos/config.pbtxt",
    ]
    config = parsed(model)
    assert (config.name, config.backend, config.default_model_filename) == ("photos", "onnxruntime", "model.onnx")
    assert config.max_batch_size == 8
    assert [(t.name, t.data_type, list(t.dims)) for t in config.input] == [
        ("stego", model_config_pb2.TYPE_UINT8, [224, 224, 3])
    ]
    assert [(t.name, t.data_type, list(t.dims)) for t in config.output] == [
        ("reply", model_config_pb2.TYPE_UINT8, [224, 224, 3])
    ]
    assert list(config.dynamic_batching.preferred_batch_size) == [2, 4, 8]
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000


def test_the_model_is_the_bundles_graph_for_any_batch(server, tmp_path):
    model = write_repository(server.path, tmp_path)
    data = (model / "1" / "model.onnx").read_bytes()
    assert data == (server.path / "analyze.fp32.any.onnx").read_bytes()
    config = parsed(model)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    photos = np.zeros((2, *config.input[0].dims), np.uint8)
    (reply,) = session.run([config.output[0].name], {config.input[0].name: photos})
    assert reply.shape == (2, *config.output[0].dims)


def test_a_plan_stays_pure(server, plans, tmp_path):
    model = write_repository(server.path, tmp_path / "models", name="trt.v1", plans=plans)
    assert (model / "1" / "model.plan").read_bytes() == (plans / "analyze.fp16.any.plan").read_bytes()
    config = parsed(model)
    assert (config.name, config.backend, config.max_batch_size) == ("trt.v1", "tensorrt", 12)
    assert list(config.dynamic_batching.preferred_batch_size) == [2, 4, 8, 12]


def test_a_damaged_plan_is_not_served(server, plans, tmp_path):
    file = plans / "analyze.fp16.any.plan"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"analyze\.fp16\.any\.plan: expected 260 bytes, got 259"):
        write_repository(server.path, tmp_path / "models", plans=plans)
    assert list((tmp_path).glob("models/*")) == []


def test_a_plan_of_another_bundle(server, plans, tmp_path):
    with pytest.raises(BundleError, match=r"expected a plan of one of .* in fp32, got analyze\.fp16\.any\.plan of"):
        write_repository(server.path, tmp_path / "models", precision="fp32", plans=plans)
    with pytest.raises(BundleError, match=r"expected a folder of plans, got no receipt\.json"):
        write_repository(server.path, tmp_path / "models", plans=tmp_path)


def test_a_model_is_replaced_whole_and_its_neighbours_stay(server, tmp_path):
    (tmp_path / "photos" / "7").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    write_repository(server.path, tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["other", "photos"]
    assert sorted(entry.name for entry in (tmp_path / "photos").iterdir()) == ["1", "config.pbtxt"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", 'a"b'])
def test_names_that_suit_no_url(server, tmp_path, name):
    with pytest.raises(ExportError, match="expected letters, digits"):
        write_repository(server.path, tmp_path / "models", name=name)


def test_a_client_is_never_served(tmp_path):
    with pytest.raises(BundleError, match="expected a server bundle, got a client bundle"):
        write_repository(defaults.bundle("client"), tmp_path / "models")


def test_the_command_needs_no_torch(server, tmp_path):
    code = (
        "import sys\n"
        "from hidemia.runtime.cli import main\n"
        f"assert main(['export', '--server', {str(server.path)!r}, '--triton', '--out', {str(tmp_path)!r}]) == 0\n"
        "assert not {'torch', 'onnx', 'onnxruntime'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == f"{tmp_path / 'photos'}: for tritonserver --model-repository {tmp_path}\n"
    assert parsed(tmp_path / "photos").max_batch_size == 8


@pytest.mark.parametrize(
    "arguments", [["--server", "x"], ["--weights", "x", "--plans", "y"], ["--weights", "x", "--server", "y"], []]
)
def test_wrong_calls(arguments, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        export([*arguments, "--out", str(tmp_path)])
