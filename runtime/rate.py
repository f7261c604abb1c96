"""How many photos a second one caller may send: a token bucket each."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

__all__ = ["RateLimit", "caller"]


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at_s: float


class RateLimit:
    """A bucket of one second's photos for each caller, filled at a steady rate.

    Args:
        rate_per_s: Photos a second; a caller that was idle may send as many at once, at least one.
        max_callers: Buckets kept. Beyond, the one unused for longest is forgotten: its caller starts anew.
    """

    def __init__(self, rate_per_s: float, max_callers: int = 4096) -> None:
        self.rate_per_s = rate_per_s
        self.max_callers = max_callers
        self._burst = max(rate_per_s, 1.0)
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, who: str, now_s: float) -> float:
        """Take one photo out of a caller's bucket.

        Args:
            who: The caller; see `caller`.
            now_s: A clock that never goes back.

        Returns:
            0.0, or the seconds until there is one to take; then nothing was taken.
        """
        bucket = self._buckets.setdefault(who, _Bucket(self._burst, now_s))
        self._buckets.move_to_end(who)
        if len(self._buckets) > self.max_callers:
            self._buckets.popitem(last=False)
        bucket.tokens = min(bucket.tokens + (now_s - bucket.filled_at_s) * self.rate_per_s, self._burst)
        bucket.filled_at_s = now_s
        if bucket.tokens < 1.0:
            return (1.0 - bucket.tokens) / self.rate_per_s
        bucket.tokens -= 1.0
        return 0.0


def caller(address: str) -> str:
    """Who is behind an address: itself, or its /64 for IPv6, of which one device has all."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is None:
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else str(ip)
