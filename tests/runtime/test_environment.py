from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import msgspec
import pytest

from hidemia.runtime import environment, nvidia
from hidemia.runtime.nvidia import Gpu


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Files of a made-up machine; its tools are not on the path, its driver does not answer."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(nvidia, "gpus_of_driver", lambda: ([], None))

    def write(path: str, text: str, mode: int = 0o644) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(mode)

    return tmp_path, write


def test_this_machine():
    here = environment.gather()
    assert here.cores >= 1
    assert here.engines["onnxruntime"] == version("onnxruntime")
    assert msgspec.json.decode(msgspec.json.encode(here), type=environment.Environment) == here
    assert "CPUExecutionProvider" in environment.providers()


def test_it_imports_no_engine():
    code = (
        "import sys\n"
        "from hidemia.runtime import environment\n"
        "environment.gather()\n"
        "heavy = {'onnxruntime', 'openvino', 'tensorrt', 'cuda', 'pycuda', 'torch', 'onnx'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_machine_that_lacks_everything(machine):
    found = environment.gather(machine[0])
    assert (found.driver, found.gpus, found.gpu, found.l4t, found.board, found.cuda_runtime) == (
        None, [], None, None, None, None,
    )  # fmt: skip
    assert (found.nvinfer_loaded, found.nvinfer_found) == ([], [])
    assert found.cpu


def test_a_server_with_a_gpu(machine):
    root, write = machine
    write("proc/cpuinfo", "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Gold 6338N CPU @ 2.20GHz\n")
    write("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19\n")
    write("usr/local/cuda/version.json", '{"cuda": {"name": "CUDA SDK", "version": "12.2.1"}}')
    write("bin/nvidia-smi", "#!/bin/sh\necho 'NVIDIA L4, 8.9, 535.129.03'\n", 0o755)
    write("usr/lib/x86_64-linux-gnu/libnvinfer.so.8.6.1", "")
    (root / "usr/lib/x86_64-linux-gnu/libnvinfer.so.8").symlink_to("libnvinfer.so.8.6.1")
    found = environment.gather(root)
    assert found.cpu == "Intel(R) Xeon(R) Gold 6338N CPU @ 2.20GHz"
    assert found.driver == "535.129.03"
    assert found.gpu == Gpu(name="NVIDIA L4", compute_capability="8.9")
    assert found.cuda_runtime == "12.2"
    assert found.nvinfer_found == [str(root / "usr/lib/x86_64-linux-gnu/libnvinfer.so.8.6.1")]


def test_a_jetson(machine, monkeypatch):
    root, write = machine
    orin = Gpu(name="Orin", compute_capability="8.7")
    monkeypatch.setattr(nvidia, "gpus_of_driver", lambda: ([orin], "12.6"))
    write("etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n")
    write("proc/device-tree/model", "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0")
    found = environment.gather(root)
    assert (found.l4t, found.jetpack) == ("36.4.3", "6.2")
    assert found.board == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert (found.gpu, found.cuda_driver) == (orin, "12.6")


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 9\n", "#!/bin/sh\nprintf '\\377\\376'\n", "not a program"])
def test_a_broken_tool_is_no_tool(machine, script):
    root, write = machine
    write("bin/nvidia-smi", script, 0o755)
    found = environment.gather(root)
    assert (found.gpus, found.driver) == ([], None)


def test_libraries_of_another_folder(machine, monkeypatch):
    root, write = machine
    write("opt/trt/lib/libnvinfer.so.10", "")
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{root / 'opt/trt/lib'}:{root / 'nowhere'}")
    assert environment.gather(root).nvinfer_found == [str(root / "opt/trt/lib/libnvinfer.so.10")]


def test_unreadable_files_are_absent_ones(machine):
    root, _ = machine
    (root / "etc/nv_tegra_release").mkdir(parents=True)
    assert environment.gather(root).l4t is None
