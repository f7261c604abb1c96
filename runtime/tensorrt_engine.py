"""TensorRT, natively: plans that `hidemia build` made, run without ONNX Runtime.

One thread owns an engine: it makes the context and all memory, runs every call in the order of arrival, and frees
all in `close`. Calls from other threads wait for it. Nothing depends on the garbage collector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidemia.runtime import device_memory, environment, plans, tensorrt_binding
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.device_memory import DeviceMemory, Launch
from hidemia.runtime.engine import Arrays, Engine, EngineSettings
from hidemia.runtime.errors import BundleError, EngineError
from hidemia.runtime.manifest import Graph, Tensor
from hidemia.runtime.plans import Found

__all__ = ["TensorrtEngine"]

_WARM_RUNS = 5


class TensorrtEngine(Engine):
    """A plan in TensorRT. A batch beyond the plan's goes through in parts.

    Args:
        bundle: Beside whose manifest the plan lies.
        graph: The graph that the plan was made from.
        settings: Device `cuda`, or `pycuda` for the context that is current in the calling thread.

    Raises:
        EngineError: TensorRT or CUDA is absent, no plan serves this machine, or it cannot be loaded.
        BundleError: The plan's tensors are not those of the manifest.
    """

    def __init__(self, bundle: Bundle, graph: Graph, settings: EngineSettings) -> None:
        trt = tensorrt_binding.load()
        found = plans.find(bundle, graph, environment.gather())
        make_memory = device_memory.opener(settings.device)
        self._graph = graph
        self._batch = found.plan.batch
        self._owner = ThreadPoolExecutor(1, thread_name_prefix=f"tensorrt-{graph.verb}")
        self._session: _Session | None = None
        try:
            self._session = self._owner.submit(
                _Session, trt, found, graph, make_memory, plans.rebuild_command(bundle, graph)
            ).result()
        except BaseException:
            self._owner.shutdown()
            raise

    @property
    def uses_cuda_graph(self) -> bool:
        """Whether a run is one launch of a captured graph: where the batch is fixed and CUDA could record it."""
        return self._session is not None and self._session.launch is not None

    def run(self, inputs: Arrays) -> Arrays:
        """Run the plan; see `Engine.run`."""
        session = self._session
        if session is None:
            raise _closed(self._graph)
        batch = _require_inputs(self._graph, inputs)
        fewest, _, most = self._batch
        if batch < fewest or (batch > most and batch % most and batch % most < fewest):
            raise EngineError(
                f"{self._graph.path}: expected a batch that parts of {fewest} to {most} make up, got {batch}; "
                "build the plan for more: hidemia build --batch"
            )
        parts = [{name: array[at : at + most] for name, array in inputs.items()} for at in range(0, batch, most)]
        try:
            done = [self._owner.submit(session.run, part).result() for part in parts]
        except RuntimeError as error:
            if self._session is None:  # closed by another thread in between
                raise _closed(self._graph) from None
            raise EngineError(f"{self._graph.path}: TensorRT failed: {error}; load it again") from error
        return done[0] if len(done) == 1 else {name: np.concatenate([part[name] for part in done]) for name in done[0]}

    def times_ms(self, batch: int, runs: int) -> dict[str, list[float]]:
        """Time what a run is made of, in the owning thread: for measurements.

        Args:
            batch: Images of one run, as the plan takes them.
            runs: Of each, after a few that do not count.

        Returns:
            Milliseconds of every run, of `without copies`, `with copies` and, where there is one, `CUDA graph`.

        Raises:
            EngineError: The engine is closed, or refuses the batch.
        """
        session = self._session
        if session is None:
            raise _closed(self._graph)
        return self._owner.submit(session.times_ms, batch, runs).result()

    def close(self) -> None:
        """Free context, engine and memory in the thread that made them, after what was asked for before."""
        session, self._session = self._session, None
        if session is not None:
            try:
                self._owner.submit(session.close).result()
            finally:
                self._owner.shutdown()


class _Session:
    """What the owning thread holds. Every method is called there."""

    def __init__(
        self, trt: Any, found: Found, graph: Graph, make_memory: Callable[[], DeviceMemory], rebuild: str
    ) -> None:
        self._graph = graph
        self._outputs = graph.outputs
        self._fewest, _, self._most = found.plan.batch
        self._log = tensorrt_binding.error_log(trt)
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._host: dict[str, NDArray[Any]] = {}
        self._device: dict[str, int] = {}
        self._batch = 0
        self._memory = make_memory()
        self.launch: Launch | None = None
        try:
            self._load(trt, found, rebuild)
            self._reserve()
            if self._fewest == self._most:
                self._capture()
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        if self._context is None:  # closed after this was asked for
            raise _closed(self._graph)
        batch = len(next(iter(inputs.values())))
        self._resize(batch)
        for name, array in inputs.items():
            np.copyto(self._host[name][:batch], array)
        if self.launch:
            self.launch()
        else:
            self._enqueue()
        self._memory.synchronize()
        return {tensor.name: self._host[tensor.name][:batch].copy() for tensor in self._outputs}

    def times_ms(self, batch: int, runs: int) -> dict[str, list[float]]:
        if self._context is None:
            raise _closed(self._graph)
        self._resize(batch)
        ways: dict[str, Launch] = {"without copies": self._execute, "with copies": self._enqueue}
        if self.launch:
            ways["CUDA graph"] = self.launch
        found = {}
        for name, way in ways.items():
            times = []
            for _ in range(runs + _WARM_RUNS):
                start = perf_counter()
                way()
                self._memory.synchronize()
                times.append((perf_counter() - start) * 1e3)
            found[name] = times[_WARM_RUNS:]
        return found

    def close(self) -> None:
        # TensorRT frees device memory of its own as these go, so they go while the context is still current.
        self._context = self._engine = self._runtime = None
        self.launch = None
        self._host = {}
        self._memory.close()

    @property
    def _tensors(self) -> list[Tensor]:
        return [*self._graph.inputs, *self._outputs]

    def _load(self, trt: Any, found: Found, rebuild: str) -> None:
        self._runtime = tensorrt_binding.create(trt.Runtime, self._log)
        if found.plan.version_compatible:
            self._runtime.engine_host_code_allowed = True  # such a plan brings its own runtime along
        self._engine = self._runtime.deserialize_cuda_engine(found.data)
        if self._engine is None:
            raise EngineError(
                f"{self._graph.path}: expected a plan that TensorRT {trt.__version__} loads, got one built by "
                f"{found.receipt.tensorrt}: {self._log.last or 'no reason given'}; make it again here: {rebuild}"
            )
        self._compare(trt)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise self._failed("gave no context, most likely for want of memory")

    def _reserve(self) -> None:
        """Buffers for the largest batch, on both sides, at addresses that never change."""
        for tensor in self._tensors:
            host = self._host[tensor.name] = self._memory.pinned(self._shape(tensor, self._most), tensor.dtype)
            address = self._device[tensor.name] = self._memory.allocate(host.nbytes)
            if not self._context.set_tensor_address(tensor.name, address):
                raise self._failed(f"refused the address of {tensor.name}")

    def _compare(self, trt: Any) -> None:
        """A plan of other tensors than the manifest's is an error before the first run, not at it."""
        engine = self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        got = {
            name: (
                engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT,
                np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name,
                [int(size) for size in engine.get_tensor_shape(name)][1:],
            )
            for name in names
        }
        want = {t.name: (t in self._graph.inputs, t.dtype, t.shape[1:]) for t in self._tensors}
        if got != want:
            raise BundleError(
                f"{self._graph.path}: expected a plan with {_list(want)}, got {_list(got)}; build the plans again"
            )

    def _resize(self, batch: int) -> None:
        if batch == self._batch:
            return
        for tensor in self._graph.inputs:
            if not self._context.set_input_shape(tensor.name, self._shape(tensor, batch)):
                raise self._failed(f"refused batch {batch}")
        self._batch = batch

    def _enqueue(self) -> None:
        for tensor in self._graph.inputs:
            self._memory.upload(self._host[tensor.name][: self._batch], self._device[tensor.name])
        self._execute()
        for tensor in self._outputs:
            self._memory.download(self._device[tensor.name], self._host[tensor.name][: self._batch])

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self._memory.stream):
            raise self._failed("did not start")

    def _capture(self) -> None:
        """Record copies and run as one graph. TensorRT wants a run of that shape before."""
        self._resize(self._most)
        for tensor in self._graph.inputs:
            self._host[tensor.name][...] = 0
        self._enqueue()
        self._memory.synchronize()
        try:
            self.launch = self._memory.capture(self._enqueue)
        except EngineError:  # a plan that cannot be recorded runs as well without; `uses_cuda_graph` says so
            self.launch = None

    def _failed(self, what: str) -> EngineError:
        return EngineError(f"{self._graph.path}: TensorRT {what}: {self._log.last or 'no reason given'}; load it again")

    @staticmethod
    def _shape(tensor: Tensor, batch: int) -> tuple[int, ...]:
        return (batch, *(int(size) for size in tensor.shape[1:]))


def _require_inputs(graph: Graph, inputs: Arrays) -> int:
    """The batch of inputs that are the manifest's in name, dtype and shape."""
    got = {name: (array.dtype.name, tuple(array.shape[1:])) for name, array in inputs.items()}
    want = {t.name: (t.dtype, tuple(t.shape[1:])) for t in graph.inputs}
    batches = {len(array) for array in inputs.values() if array.ndim}
    if got != want or len(batches) != 1 or 0 in batches:
        raise EngineError(
            f"{graph.path}: expected {', '.join(f'{t.name} {t.dtype} {t.shape}' for t in graph.inputs)}, got "
            f"{', '.join(f'{n} {a.dtype} {a.shape}' for n, a in inputs.items()) or 'nothing'}; pass what it takes"
        )
    return batches.pop()


def _closed(graph: Graph) -> EngineError:
    return EngineError(f"{graph.path}: expected an open engine, got a closed one; load it again")


def _list(tensors: Mapping[str, tuple[bool, str, Sequence[object]]]) -> str:
    return ", ".join(f"{'in' if is_input else 'out'} {n} {d} {s}" for n, (is_input, d, s) in tensors.items())
