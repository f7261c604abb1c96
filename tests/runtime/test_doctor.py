from __future__ import annotations

import json
import shutil

import msgspec
import onnxruntime
import pytest

from hidemia.runtime import cli, defaults, environment
from hidemia.runtime.nvidia import Gpu


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("hidemia.runtime.defaults.bundle", lambda role: tmp_path / "none" / role)

    def run(*arguments) -> tuple[int, list[str]]:
        code = cli.main(["doctor", *(str(argument) for argument in arguments)])
        return code, capsys.readouterr().out.splitlines()

    return run


def test_a_healthy_environment(run):
    code, lines = run()
    assert code == 0
    assert any(line.startswith("ok    onnxruntime ") and "CPUExecutionProvider" in line for line in lines)
    assert all(line.startswith("ok") for line in lines)


def test_bundles(run, model, tmp_path):
    code, lines = run("--client", model.client, "--server", model.server)
    assert code == 0
    assert any(line.startswith("ok    client bundle tiny (segmentation)") for line in lines)
    assert any(line.startswith("ok    server bundle tiny (segmentation)") for line in lines)


def test_a_client_bundle_that_others_can_read(run, model, tmp_path):
    folder = tmp_path / "client"
    shutil.copytree(model.client, folder)
    folder.chmod(0o755)
    line = (
        f"{folder / 'hide.fp32.onnx'}: expected a file that only its owner can read, since whoever reads it can "
        f"recover, got mode 0644; chmod -R go= {folder}, or pass --shared-ok (shared_ok=True)"
    )
    code, lines = run("--client", folder)
    assert code == 1
    assert f"FAIL  {line}" in lines
    code, lines = run("--client", folder, "--shared-ok")
    assert code == 0
    assert f"warn  {line}" in lines
    folder.chmod(0o700)
    code, lines = run("--client", folder)
    assert code == 0
    assert not any(line.startswith("warn") for line in lines)


def test_a_public_model_is_said_to_be_one(run, tiny, tmp_path):
    model = tiny.make_model(tmp_path / "m", public_key=True)
    code, lines = run("--client", model.client)
    assert code == 0
    assert any("its weights are published: anyone can recover" in line for line in lines)


def test_damage(run, model, tmp_path):
    shutil.copytree(model.server, tmp_path / "server")
    with (tmp_path / "server" / "analyze.fp32.onnx").open("ab") as file:
        file.write(b"x")
    code, lines = run("--server", tmp_path / "server", "--client", model.server)
    assert code == 1
    assert sum(line.startswith("FAIL") for line in lines) == 2


@pytest.mark.parametrize(
    ("installed", "grade", "text"),
    [
        (
            ("onnxruntime", "onnxruntime-gpu"),
            "FAIL",
            "overwrite each other: uninstall all of them, then install one",
        ),
        ((), "FAIL", "no ONNX Runtime: pip install 'hidemia[cpu]', or pass --engine openvino"),
        (("onnxruntime-gpu",), "ok", "onnxruntime-gpu 1.0 with "),
    ],
)
def test_engines(run, monkeypatch, installed, grade, text):
    real = environment.package_version
    monkeypatch.setattr(
        environment,
        "package_version",
        lambda name: ("1.0" if name in installed else None) if name.startswith("onnxruntime") else real(name),
    )
    code, lines = run()
    assert code == (1 if grade == "FAIL" else 0)
    assert any(line.startswith(grade) and text in line for line in lines)


def test_no_server_packages_is_a_warning(run, monkeypatch):
    real = environment.package_version
    monkeypatch.setattr(environment, "package_version", lambda name: None if name == "uvicorn" else real(name))
    code, lines = run()
    assert code == 0
    assert "warn  serve lacks uvicorn: pip install 'hidemia[server]'" in lines


@pytest.fixture
def here(monkeypatch):
    """Put this machine with some changes in its place."""

    def here(**changes):
        machine = msgspec.structs.replace(environment.gather(), **changes)
        monkeypatch.setattr(environment, "gather", lambda: machine)

    return here


def test_json(run, model):
    code, lines = run("--client", model.client, "--json")
    document = json.loads("\n".join(lines))
    assert code == 0
    assert document["healthy"] is True
    assert document["environment"]["engines"]["onnxruntime"] == onnxruntime.__version__
    assert {finding["grade"] for finding in document["findings"]} == {"ok"}
    assert any(finding["kind"] == "bundle" for finding in document["findings"])
    code, lines = run("--client", model.server, "--json")
    document = json.loads("\n".join(lines))
    assert code == 1
    assert document["healthy"] is False
    assert [finding["kind"] for finding in document["findings"] if finding["grade"] == "FAIL"] == ["manifest"]


def test_a_machine_with_a_gpu(run, here):
    here(
        gpus=[Gpu(name="Orin", compute_capability="8.7")],
        driver="540.4.0",
        cuda_driver="12.6",
        cuda_runtime="12.6",
        tensorrt="10.3.0",
        l4t="36.4.3",
        jetpack="6.2",
        board="NVIDIA Jetson Orin Nano",
        nvinfer_found=["/usr/lib/aarch64-linux-gnu/libnvinfer.so.10.3.0"],
    )
    code, lines = run()
    assert code == 0
    assert [line for line in lines if any(word in line for word in ("Orin", "CUDA", "tensorrt", "nvinfer"))] == [
        "ok    Orin, compute capability 8.7",
        "ok    NVIDIA driver 540.4.0, speaks CUDA 12.6, CUDA runtime 12.6",
        "ok    Jetson Linux 36.4.3 (JetPack 6.2), NVIDIA Jetson Orin Nano",
        "ok    tensorrt 10.3.0",
        "ok    /usr/lib/aarch64-linux-gnu/libnvinfer.so.10.3.0",
    ]


def test_several_tensorrts(run, here):
    two = ["/opt/site/tensorrt_libs/libnvinfer.so.10", "/usr/lib/x86_64-linux-gnu/libnvinfer.so.8.6.1"]
    here(nvinfer_found=two)
    code, lines = run()
    assert code == 0
    assert f"warn  several TensorRT: {', '.join(two)}: a plan of one does not load in another; keep one" in lines
    here(nvinfer_loaded=two)
    code, lines = run()
    assert code == 1
    assert f"FAIL  one process has loaded {' and '.join(two)}: uninstall all but one TensorRT" in lines


def test_a_driver_without_a_gpu(run, here):
    here(driver="535.129.03")
    assert "warn  the NVIDIA driver is there, but no GPU answers: nvidia-smi says why" in run()[1]


def test_a_session_that_falls_back_to_the_cpu(run, here, model, monkeypatch):
    """onnxruntime-gpu without CUDA's libraries: CUDA is listed, the session is made, and runs on the CPU."""
    here(gpus=[Gpu(name="NVIDIA L4", compute_capability="8.9")])
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda data, options, providers, **_: real(data, options, ["CPUExecutionProvider"]),
    )
    line = (
        "onnxruntime lists CUDAExecutionProvider, but a session that asks for it gets CPUExecutionProvider: "
        "install the libraries it needs, of the versions that onnxruntime names"
    )
    code, lines = run("--client", model.client)
    assert code == 0
    assert f"warn  {line}" in lines
    code, lines = run("--client", model.client, "--device", "cuda")
    assert code == 1
    assert f"FAIL  {line}" in lines
    assert any(line.startswith("FAIL  hide.fp32.onnx: expected CUDAExecutionProvider, got") for line in lines)


def test_what_both_bundles_lack_is_said_once(run, model):
    code, lines = run("--client", model.client, "--server", model.server, "--device", "cuda")
    assert code == 1
    assert sum("expected an NVIDIA GPU" in line for line in lines) == 1
    assert sum("expected CUDAExecutionProvider" in line for line in lines) == 1


def test_the_packaged_bundles_count_where_none_is_given(capsys, model):
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(f"bundle {defaults.MODEL} (segmentation)" in line for line in lines) == 2
    assert cli.main(["doctor", "--server", str(model.server)]) == 0
    assert "busi" not in capsys.readouterr().out
