"""What a bundle says about itself: `manifest.json`, typed, canonical and the same for the same bundle."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from hidemia.runtime import document
from hidemia.runtime.veil import Veil

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
SCHEMA_VERSION = 3

Role: TypeAlias = Literal["client", "server"]
Verb: TypeAlias = Literal["hide", "analyze", "recover"]
Precision: TypeAlias = Literal["fp32", "fp16", "int8"]

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]
GraphBytes = Annotated[int, Meta(ge=1, le=2**31)]  # the most that an ONNX file can have

VERBS: dict[Role, tuple[Verb, ...]] = {"client": ("hide", "recover"), "server": ("analyze",)}


class Tensor(Struct, frozen=True, kw_only=True):
    """One input or output of a graph: a MONAI Bundle's description of a tensor, and what pixels need beside it.

    Attributes:
        type: `image` for what has height and width, `probabilities` for one number a class.
        format: `magnitude` for pixels and for a map of probabilities, `classes` for one number a class.
        modality: `US`, `CT`, ... of a secret whose recipe says so, else `n/a`.
        num_channels: Length of C in the layout; 1 where the layout has no C.
        spatial_shape: Height and width in px; empty for classes.
        value_range: Least and greatest value.
        is_patch_data: Whether it is cut out of something larger; ours never are.
        channel_def: What each channel holds, by its index as text.
        shape: The whole shape in the order of the layout; a dimension that varies is given by name, `batch`.
        layout: A letter a dimension: `NHWC`, `NHW` or `NC`.
        colour_order: `RGB`; empty where channels are no colours.
    """

    name: Annotated[str, Meta(min_length=1)]
    type: Literal["image", "probabilities"]
    format: Literal["magnitude", "classes"]
    modality: str = "n/a"
    num_channels: Count
    spatial_shape: list[Count]
    dtype: Literal["uint8", "float32"]
    value_range: tuple[float, float]
    is_patch_data: bool = False
    channel_def: dict[str, str]
    shape: list[Count | Annotated[str, Meta(min_length=1)]]
    layout: Literal["NHWC", "NHW", "NC"]
    colour_order: Literal["RGB", ""]

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.layout):
            raise ValueError(f"Expected a shape of {len(self.layout)} dimensions for {self.layout}, got {self.shape}")
        size = dict(zip(self.layout, self.shape, strict=True))
        if self.spatial_shape != [size[axis] for axis in "HW" if axis in size]:
            raise ValueError(f"Expected the spatial_shape of {self.layout} {self.shape}, got {self.spatial_shape}")
        if self.num_channels != size.get("C", 1):
            raise ValueError(f"Expected the num_channels of {self.layout} {self.shape}, got {self.num_channels}")
        if set(self.channel_def) != {str(channel) for channel in range(self.num_channels)}:
            raise ValueError(f"Expected a channel_def for 0..{self.num_channels - 1}, got {list(self.channel_def)}")


class Graph(Struct, frozen=True, kw_only=True):
    """One file of a bundle. Of several that serve, the first in the manifest is taken.

    Attributes:
        batch: Fewest and most images of one run; no upper bound when None.
        backends: Engines it was checked with: `onnxruntime`, `openvino`, `tensorrt`. See `runs_on`.
        form: For analyze: `one` is the per-sample kernel of MoDC, `any` its form for every batch. For hide and recover:
            `tiled` has half the multiplications, for engines that gain by it; null is the form for every engine.
    """

    verb: Verb
    path: Annotated[str, Meta(min_length=1)]
    sha256: Sha256
    size_bytes: GraphBytes
    precision: Precision
    precision_achieved: str
    fp32_nodes: list[str]
    opset: int
    ir_version: int
    form: Literal["one", "any", "tiled"] | None
    batch: tuple[Count, Count | None]
    backends: list[str]
    inputs: list[Tensor]
    outputs: list[Tensor]

    def __post_init__(self) -> None:
        path = PurePosixPath(self.path)
        if (
            path.is_absolute()
            or not path.parts
            or ".." in path.parts
            or any(sign in "\\:" or not sign.isprintable() for sign in self.path)
        ):
            raise ValueError(f"Expected a path inside the bundle, got {self.path!r}")

    def serves(self, batch: int) -> bool:
        """Whether one run takes `batch` images."""
        fewest, most = self.batch
        return fewest <= batch and (most is None or batch <= most)

    def runs_on(self, backend: str) -> bool:
        """Whether an engine may be asked to run it.

        TensorRT may also where it is not named, for its plans are made and checked on the device. In INT8 it may not:
        it would take the codes of a graph for the CPU for others.
        """
        if backend != "tensorrt":
            return backend in self.backends
        return backend in self.backends or (self.form != "tiled" and self.precision != "int8")


class ReplyLimits(Struct, frozen=True, kw_only=True):
    """How a reply, its veil taken off, must relate to what was sent; beyond these it gives no result.

    Attributes:
        min_psnr_db: Reply against sent; below, it is not an answer to this photo.
        min_changed_share: Share of uint8 values that must differ; below, nobody analysed it.
        max_low_change: Root mean square change of the means of 2x2 px, in levels; above, it was altered, is another
            photo's, or was analysed more than once, where that shows there. None in bundles of older exports, and where
            replies hardly change anything.
        min_seal_share: Share of tiles that must carry the seal of this pair's analyzer; None where it writes none.
        max_seal_strength: Mean strength of that seal; above, it was written more than once. None where none is written,
            and in bundles of older exports.
    """

    min_psnr_db: float
    min_changed_share: Share
    max_low_change: Annotated[float, Meta(gt=0)] | None = None
    min_seal_share: Share | None = None
    max_seal_strength: Annotated[float, Meta(gt=0)] | None = None

    def __post_init__(self) -> None:
        if self.max_seal_strength is not None and self.min_seal_share is None:
            raise ValueError("Expected max_seal_strength only beside min_seal_share, got it alone")


class Manifest(Struct, frozen=True, kw_only=True):
    """The whole of `manifest.json`. It holds no time, machine, commit or latency.

    Attributes:
        pair_id: Shared by the client and the server bundle of one training.
        mask_threshold: Probability from which a pixel belongs to the mask; segmentation only.
        reply_limits: Client only.
        veil: What replies travel under; None sends them as they are.
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
    veil: Veil | None = None
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
        """The pair id as it travels, and of which veil: opaque, quoted, 16 hex digits."""
        pair = self.pair_id
        if self.veil is not None:
            pair = f"{pair} {self.veil.colours} {self.veil.reach} {self.veil.key}"
        return '"' + hashlib.sha256(pair.encode()).hexdigest()[:16] + '"'


def load(data: bytes, name: str = FILE_NAME) -> Manifest:
    """Parse and check a manifest.

    Args:
        data: The JSON text. Keys that are not known are allowed.
        name: Its path in errors.

    Raises:
        BundleError: Not JSON, a key missing, doubled or of another type, or written for a newer schema.
    """
    return document.decode(data, Manifest, schema_version=SCHEMA_VERSION, name=name, mend="export the bundle again")


def dump(manifest: Manifest) -> bytes:
    """Write a manifest canonically: keys sorted, two spaces, a newline at the end."""
    return document.encode(manifest)
