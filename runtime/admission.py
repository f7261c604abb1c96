"""What a request must be before its photo may wait for the engine, and how it is refused.

Nothing that refuses says what the service is for: the wire gets a neutral word, the log the reason.
"""

from __future__ import annotations

import asyncio
import hmac

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from hidemia.runtime import headers as image_headers
from hidemia.runtime import png
from hidemia.runtime.arrays import Image
from hidemia.runtime.errors import ImageError

__all__ = ["Refusal", "check_headers", "decode", "receive"]

_MAX_HEADERS = 64


class Refusal(HTTPException):
    """A neutral answer for the wire, with its reason for the log and, for 503, a label for the metrics."""

    def __init__(
        self, status: int, body: str, reason: str, response_headers: dict[str, str] | None = None, why: str = ""
    ) -> None:
        super().__init__(status, body, response_headers)
        self.reason = reason
        self.why = why


def check_headers(headers: Headers, *, token: str | None, max_body_bytes: int) -> None:
    """Refuse by its headers what need not be received.

    Args:
        headers: The request's.
        token: The bearer token that it must come with; any or none will do when None.
        max_body_bytes: The longest body that may be announced.

    Raises:
        Refusal: Too many headers, no or another token, no bare PNG, or too long.
    """
    if len(headers) > _MAX_HEADERS:
        raise Refusal(431, "too many headers", f"{len(headers)} headers")
    if token is not None:
        got = headers.get("authorization", "")
        if not hmac.compare_digest(got.encode(), f"Bearer {token}".encode()):
            raise Refusal(401, "unauthorized", "no or another token", {"WWW-Authenticate": "Bearer"})
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "image/png" or headers.get("content-encoding", "identity") != "identity":
        raise Refusal(415, "image/png only", "another content type or encoding")
    length = headers.get("content-length", "0")
    if length.isdecimal() and (len(length) > 18 or int(length) > max_body_bytes):
        raise Refusal(413, "too large", f"a body of more than {max_body_bytes} bytes was announced")


async def receive(request: Request, *, max_body_bytes: int, deadline_s: float) -> bytes:
    """Receive the body, within its size and its time, whatever its headers claim.

    Raises:
        Refusal: It is longer, or not all of it came in time.
        ClientDisconnect: The client went away.
    """

    async def parts() -> bytes:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > max_body_bytes:
                raise Refusal(413, "too large", f"more than {max_body_bytes} bytes")
        return bytes(body)

    try:
        return await asyncio.wait_for(parts(), deadline_s)
    except asyncio.TimeoutError:
        raise Refusal(408, "too slow", f"no whole body in {deadline_s:g} s") from None


def decode(body: bytes, size_px: int) -> Image:
    """Decode a photo of the network's size.

    Returns:
        uint8 (size_px, size_px, 3), RGB.

    Raises:
        Refusal: Not a PNG, of another size, damaged, or not 8-bit RGB.
    """
    try:
        header = image_headers.read(body, "photo")
        if header.format != "PNG":
            raise Refusal(415, "image/png only", f"a {header.format}")
        if (header.width, header.height) != (size_px, size_px):
            raise Refusal(400, "unsupported size", f"{header.width}x{header.height}, expected {size_px}x{size_px}")
        return png.decode(body, name="photo")
    except ImageError as error:
        raise Refusal(400, "unreadable image", str(error)) from None
