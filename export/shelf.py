"""Where the plans of one bundle and one machine lie: plans, then the receipt that makes them count."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import msgspec

from hidemia.export.plan import Built, PlanSettings
from hidemia.runtime import plans
from hidemia.runtime import receipt as receipts
from hidemia.runtime.arguments import write
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.environment import Environment
from hidemia.runtime.errors import BundleError, EngineError
from hidemia.runtime.manifest import Graph
from hidemia.runtime.receipt import Plan, Receipt

__all__ = ["Shelf"]


class Shelf:
    """`<bundle>/plans/<environment>/`. A plan is written first and its receipt last, each whole or not at all, so
    that whatever is cut short leaves nothing that loads.

    Args:
        bundle: Whose plans these are.
        environment: The machine that builds, with TensorRT and a GPU.

    Raises:
        EngineError: The folder cannot be made.
    """  # noqa: D205

    def __init__(self, bundle: Bundle, environment: Environment) -> None:
        root = bundle.path / plans.FOLDER
        self.path = root / plans.environment_name(environment)
        self._file = self.path / receipts.FILE_NAME
        self._now = _receipt(environment)
        with _one_line(self.path):
            # As open as the bundle itself, for a plan holds its weights; but its owner alone may write.
            mode = bundle.path.stat().st_mode & 0o755
            for folder in (root, self.path):
                folder.mkdir(exist_ok=True)
                folder.chmod(mode | 0o700)
        self._before = self._read()

    def holds(self, path: str, graph: Graph, settings: PlanSettings) -> bool:
        """Whether the very plan is there: same ONNX file, settings, machine, and undamaged."""
        for plan in self._before.plans:
            if plan.path == path and plan.onnx_sha256 == graph.sha256 and _settings(plan) == settings:
                with _one_line(self.path):
                    file = self.path / path
                    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == plan.sha256
        return False

    @contextmanager
    def adding(self, path: str, graph: Graph, settings: PlanSettings, built: Built) -> Iterator[None]:
        """Put a plan there; taken out of the receipt again when the body, which tries it, fails.

        Raises:
            EngineError: It cannot be written.
        """
        plan = Plan(
            path=path,
            sha256=hashlib.sha256(built.data).hexdigest(),
            size_bytes=len(built.data),
            verb=graph.verb,
            onnx_path=graph.path,
            onnx_sha256=graph.sha256,
            precision=graph.precision,
            precision_achieved=built.types,
            batch=settings.batch,
            hardware_compatibility=settings.hardware_compatibility,
            version_compatible=settings.version_compatible,
            flags=built.flags,
            workspace_mib=settings.workspace_mib,
        )
        others = [other for other in self._before.plans if other.path != path]
        self._write(others)  # while the file is replaced, no receipt speaks of it
        with _one_line(self.path):
            write(self.path / path, built.data)
            (self.path / path).chmod(self.path.stat().st_mode & 0o644)
        cache = hashlib.sha256(built.timing_cache).hexdigest()
        self._now = msgspec.structs.replace(self._now, timing_cache_sha256=cache)
        self._write([*others, plan])
        try:
            yield
        except BaseException:
            self._write(others)
            raise

    def _read(self) -> Receipt:
        """The receipt that is there, if it is of this very machine; else one without plans."""
        try:
            with _one_line(self.path):
                found = receipts.load(self._file.read_bytes(), str(self._file)) if self._file.exists() else self._now
        except BundleError:
            return self._now  # damaged: its plans are built again
        same = msgspec.structs.replace(found, plans=[], timing_cache_sha256=None) == self._now
        return found if same else self._now

    def _write(self, found: list[Plan]) -> None:
        receipt = msgspec.structs.replace(self._now, plans=sorted(found, key=lambda plan: plan.path))
        with _one_line(self.path):
            if found:
                write(self._file, receipts.dump(receipt))
                self._file.chmod(self.path.stat().st_mode & 0o644)
            else:
                self._file.unlink(missing_ok=True)
        self._before = receipt


def _receipt(environment: Environment) -> Receipt:
    """Of a machine, without plans yet."""
    gpu = environment.gpu
    if gpu is None or environment.tensorrt is None:
        raise EngineError("plans: expected a GPU and TensorRT, got none; see hidemia doctor")
    return Receipt(
        os=environment.os,
        architecture=environment.architecture,
        tensorrt=environment.tensorrt,
        cuda=environment.cuda_runtime or environment.cuda_driver or "unknown",
        driver=environment.driver,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability or "unknown",
        l4t=environment.l4t,
        timing_cache_sha256=None,
        hidemia=metadata.version("hidemia"),
        plans=[],
    )


def _settings(plan: Plan) -> PlanSettings:
    return PlanSettings(
        batch=plan.batch,
        workspace_mib=plan.workspace_mib,
        hardware_compatibility=plan.hardware_compatibility,
        version_compatible=plan.version_compatible,
    )


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineError(
            f"{error.filename or path}: expected to write plans there, got {error.strerror}; "
            "make room or mend its permissions, then build again"
        ) from None
