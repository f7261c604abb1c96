"""The stand-ins are as strict as what they stand in for; without that, the tests that use them prove nothing."""

from __future__ import annotations

import numpy as np
import pytest
from tests.standins import cuda_python, tensorrt
from tests.standins.gpu import Gpu

from hidemia.runtime import device_memory
from hidemia.runtime.errors import EngineError


def logger(trt):
    class Log(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)

        def log(self, severity, msg):
            pass

    return Log()


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("8.6", ["IProgressMonitor", "NetworkDefinitionCreationFlag.STRONGLY_TYPED", "BuilderFlag.STRIP_PLAN"]),
        ("10.3", ["ICudaEngine.num_bindings", "HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY"]),
        ("10.13", ["IBuilderConfig.max_workspace_size", "IExecutionContext.execute_async_v2"]),
        (
            "11.4",
            [
                "BuilderFlag.FP16", "BuilderFlag.INT8", "BuilderFlag.OBEY_PRECISION_CONSTRAINTS", "ILayer.precision",
                "NetworkDefinitionCreationFlag.EXPLICIT_BATCH", "IInt8Calibrator", "Builder.platform_has_fast_fp16",
                "TacticSource.CUDNN",
            ],
        ),
    ],
)  # fmt: skip
def test_names_that_a_version_lacks(version, names):
    trt = tensorrt.module(version, Gpu())
    for name in names:
        owner, _, last = f"tensorrt.{name}".rpartition(".")
        place = trt
        for part in owner.split(".")[1:]:
            place = getattr(place, part)
        assert not hasattr(place, last), name


@pytest.mark.parametrize("version", tensorrt.VERSIONS)
def test_arguments(version):
    trt = tensorrt.module(version, Gpu())
    builder = trt.Builder(logger(trt))
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    with pytest.raises(TypeError, match="incompatible function arguments"):
        profile.set_shape("x", minimum=(1,), opt=(1,), max=(1,))
    with pytest.raises(TypeError, match="incompatible function arguments"):
        profile.set_shape("x", (1.5,), (2,), (2,))
    with pytest.raises(TypeError, match="incompatible function arguments"):
        config.set_flag(1)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        config.create_timing_cache("text")
    with pytest.raises(AttributeError):
        config.workspace = 1
    with pytest.raises(TypeError):
        1 << trt.BuilderFlag.TF32
    with pytest.raises(TypeError, match="No constructor defined"):
        trt.IBuilderConfig()


def test_what_is_not_acted_out_is_no_missing_name():
    trt = tensorrt.module("11.4", Gpu())
    builder = trt.Builder(logger(trt))
    with pytest.raises(NotImplementedError):
        trt.Refitter  # noqa: B018
    with pytest.raises(NotImplementedError):
        builder.reset()


def test_a_logger_that_forgets_its_base():
    trt = tensorrt.module("10.3", Gpu())

    class Log(trt.ILogger):
        def __init__(self):
            pass

    with pytest.raises(TypeError):
        trt.Builder(Log())


@pytest.mark.parametrize("version", cuda_python.VERSIONS)
def test_cuda_python(version):
    cuda = cuda_python.Runtime(version, Gpu())
    with pytest.raises(AttributeError):
        cuda.cudaMallocAndHope  # noqa: B018
    with pytest.raises(NotImplementedError):
        cuda.cudaMemset(1, 2, 3)
    with pytest.raises(TypeError):
        cuda.cudaMalloc(1.5)
    with pytest.raises(TypeError):
        cuda.cudaMemcpyAsync(1, 2, 3, 1, 0)  # a number for an enumeration
    error, address = cuda.cudaMalloc(8)
    assert error == cuda.cudaError_t.cudaSuccess
    assert cuda.cudaFree(address) == (cuda.cudaError_t.cudaSuccess,)
    assert cuda.cudaFree(address) == (cuda.cudaError_t.cudaErrorInvalidValue,)
    assert cuda.cudaMalloc(1 << 40) == (cuda.cudaError_t.cudaErrorMemoryAllocation, None)


@pytest.fixture(params=["cuda", "pycuda"])
def memory(request, machine):
    context = machine.pycuda["pycuda.driver"].Device(0).make_context()
    made = device_memory.opener(request.param)()
    yield made
    made.close()
    context.pop()


def test_bytes_go_there_and_back_when_waited_for(memory):
    source, target = memory.pinned((2, 3), "float32"), memory.pinned((2, 3), "float32")
    source[...] = np.arange(6).reshape(2, 3)
    target[...] = -1
    address = memory.allocate(source.nbytes)
    memory.upload(source, address)
    memory.download(address, target)
    assert np.all(target == -1)
    memory.synchronize()
    assert np.array_equal(target, source)


def test_copies_beyond_a_buffer_are_refused(memory):
    source, address = memory.pinned((64,), "uint8"), memory.allocate(32)
    with pytest.raises(EngineError, match="cudaErrorIllegalAddress"):
        memory.upload(source, address)


def test_pageable_memory_is_refused(memory):
    address = memory.allocate(32)
    with pytest.raises(EngineError, match="cudaErrorInvalidValue"):
        memory.upload(np.zeros(32, np.uint8), address)


def test_closed_memory_is_gone(machine, memory):
    memory.allocate(32), memory.pinned((4,), "uint8")
    memory.close()
    memory.close()
    assert not machine.gpu.leaks


def test_a_capture_that_fails_leaves_the_stream_usable(machine):
    memory = device_memory.opener("cuda")()
    source, address = memory.pinned((4,), "uint8"), memory.allocate(4)
    with pytest.raises(EngineError, match="cudaErrorStreamCaptureUnsupported"):
        memory.capture(memory.synchronize)
    memory.upload(source, address)
    memory.synchronize()
    memory.close()


def test_a_graph_is_launched_again_and_again(machine):
    memory = device_memory.opener("cuda")()
    source, target, address = memory.pinned((1,), "uint8"), memory.pinned((1,), "uint8"), memory.allocate(1)
    launch = memory.capture(lambda: (memory.upload(source, address), memory.download(address, target)))
    for value in (3, 7):
        source[0] = value
        launch()
        memory.synchronize()
        assert target[0] == value
    memory.close()
