"""The device's and the server's side: numpy, OpenCV and one inference engine; no torch, no onnx."""

from hidemia.runtime.client import Client
from hidemia.runtime.covers import CoverPool
from hidemia.runtime.errors import (
    BundleError,
    CoverError,
    DataError,
    EngineError,
    ExportError,
    HidemiaError,
    ImageError,
    ReplyError,
    TransportError,
)
from hidemia.runtime.intensity import Window, to_image
from hidemia.runtime.result import Integrity, Result
from hidemia.runtime.scaling import Scaling
from hidemia.runtime.server import Server

__all__ = [
    "BundleError",
    "Client",
    "CoverError",
    "CoverPool",
    "DataError",
    "EngineError",
    "ExportError",
    "HidemiaError",
    "ImageError",
    "Integrity",
    "ReplyError",
    "Result",
    "Scaling",
    "Server",
    "TransportError",
    "Window",
    "to_image",
]
