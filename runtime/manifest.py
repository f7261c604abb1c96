"""What a bundle says about itself: `manifest.json`, typed, canonical and the same for the same bundle."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from hidemia.runtime.errors import BundleError

__all__ = [
    "FILE_NAME",
    "SCHEMA_VERSION",
    "Graph",
    "Manifest",
    "Precision",
    "ReplyLimits",
    "Role",
    "Tensor",
    "Verb",
    "dump",
    "load",
]

FILE_NAME = "manifest.json"
SCHEMA_VERSION = 1

Role: TypeAlias = Literal["client", "server"]
Verb: TypeAlias = Literal["hide", "analyze", "recover"]
Precision: TypeAlias = Literal["fp32", "fp16", "int8"]

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]

VERBS: dict[Role, tuple[Verb, ...]] = {"client": ("hide", "recover"), "server": ("analyze",)}


class Tensor(Struct, frozen=True, kw_only=True):
    """One input or output of a graph; a dimension that varies is given by name, `batch`."""

    name: str
    dtype: Literal["uint8", "float32"]
    shape: list[int | str]
    layout: str
    colour: str
    value_range: tuple[float, float]
    meaning: str


class Graph(Struct, frozen=True, kw_only=True):
    """One file of a bundle. Of several that serve, the first in the manifest is taken.

    Attributes:
        batch: Fewest and most images of one run; no upper bound when None.
        backends: Engines it was checked with: `onnxruntime`, `openvino`, `tensorrt`.
        form: For analyze: `one` is the per-sample kernel of MoDC, `any` its form for every batch.
    """

    verb: Verb
    path: Annotated[str, Meta(min_length=1)]
    sha256: Sha256
    size_bytes: Count
    precision: Precision
    precision_achieved: str
    fp32_nodes: list[str]
    opset: int
    ir_version: int
    form: Literal["one", "any"] | None
    batch: tuple[Count, Count | None]
    backends: list[str]
    inputs: list[Tensor]
    outputs: list[Tensor]

    def __post_init__(self) -> None:
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts or "\\" in self.path or ":" in self.path:
            raise ValueError(f"Expected a path inside the bundle, got {self.path!r}")

    def serves(self, batch: int) -> bool:
        """Whether one run takes `batch` images."""
        fewest, most = self.batch
        return fewest <= batch and (most is None or batch <= most)


class ReplyLimits(Struct, frozen=True, kw_only=True):
    """How a reply must relate to what was sent; beyond these it gives no result.

    Attributes:
        min_psnr_db: Reply against sent; below, it is not an answer to this photo.
        min_changed_share: Share of uint8 values that must differ; below, nobody analysed it.
        min_seal_share: Share of tiles that must carry the seal of this pair's analyzer; None where it writes none.
    """

    min_psnr_db: float
    min_changed_share: Share
    min_seal_share: Share | None = None


class Manifest(Struct, frozen=True, kw_only=True):
    """The whole of `manifest.json`. It holds no time, machine, commit or latency.

    Attributes:
        pair_id: Shared by the client and the server bundle of one training.
        mask_threshold: Probability from which a pixel belongs to the mask; segmentation only.
        reply_limits: Client only.
        public_key: Its weights are published, so anyone can recover: a public demonstration.
    """

    schema_version: int
    name: Annotated[str, Meta(min_length=1)]
    role: Role
    pair_id: Annotated[str, Meta(pattern="^[0-9a-f]{16,128}$")]
    task: Literal["segmentation", "classification"]
    classes: Annotated[list[str], Meta(min_length=1)]
    image_size_px: Annotated[int, Meta(ge=32, le=4096)]
    mask_threshold: Share | None
    reply_limits: ReplyLimits | None
    graphs: Annotated[list[Graph], Meta(min_length=1)]
    weights_sha256: dict[str, Sha256]
    exporter: dict[str, str]
    licence: str
    intended_use: str
    public_key: bool

    def __post_init__(self) -> None:
        if self.task == "segmentation" and self.mask_threshold is None:
            raise ValueError("Expected a mask_threshold for segmentation, got null")
        if (self.role == "client") != (self.reply_limits is not None):
            raise ValueError("Expected reply_limits in a client's manifest and null in a server's")
        sealed = self.reply_limits is not None and self.reply_limits.min_seal_share is not None
        for graph in self.graphs:
            if graph.verb == "recover" and sealed != ("seal" in {tensor.name for tensor in graph.outputs}):
                raise ValueError("Expected min_seal_share where recover gives a seal, and only there")
        verbs = {graph.verb for graph in self.graphs}
        if verbs != set(VERBS[self.role]):
            raise ValueError(
                f"Expected graphs for {list(VERBS[self.role])} in a {self.role} bundle, got {sorted(verbs)}"
            )

    @property
    def etag(self) -> str:
        """The pair id as it travels: opaque, quoted, 16 hex digits."""
        return '"' + hashlib.sha256(self.pair_id.encode()).hexdigest()[:16] + '"'


class _Version(Struct):
    schema_version: int


def load(data: bytes, name: str = FILE_NAME) -> Manifest:
    """Parse and check a manifest.

    Args:
        data: The JSON text. Keys that are not known are allowed.
        name: Its path in errors.

    Raises:
        BundleError: Not JSON, a key missing or of another type, or written for a newer schema.
    """
    try:
        version = msgspec.json.decode(data, type=_Version).schema_version
        if version != SCHEMA_VERSION:
            raise BundleError(
                f"{name}: expected schema version {SCHEMA_VERSION}, got {version}; "
                + ("update hidemia" if version > SCHEMA_VERSION else "export the bundle again")
            )
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{name}: not a valid manifest: {error}; export the bundle again") from None


def dump(manifest: Manifest) -> bytes:
    """Write a manifest canonically: keys sorted, two spaces, a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2) + b"\n"
