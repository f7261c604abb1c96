"""How often a device takes a wrong photo for a result, and how often it refuses a right one.

    python -m hidemia.benchmarks.integrity --client DIR --server DIR --data DIR --covers DIR [--split test]

Every image travels in several covers. Each honest reply must be accepted; beside it, on every trip, a few photos that
are no answer are offered, one kind after the other, and must be refused. Rates come with their exact 95 % bounds:
no error in 1,000 trials still allows 0.3 %.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy.stats import beta

from hidemia.benchmarks.evaluate import covers_of
from hidemia.benchmarks.pages import renewed
from hidemia.runtime import Client, Server, photo, png
from hidemia.runtime.engine import EngineSettings
from hidemia.runtime.errors import ReplyError
from hidemia.runtime.manifest import Precision
from hidemia.training.index import photo_rows, read_rows

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Visit:
    """One honest trip, and what an offender could have at hand; every image uint8 (S, S, 3).

    Attributes:
        other_reply: the honest reply to the trip before: another secret in another cover.
        model: the pair's own analyzer.
    """

    cover: Image
    stego: Image
    reply: Image
    other_reply: Image
    model: Server


def echo(visit: Visit) -> Image:
    """The server sends back what it got."""
    return visit.stego


def bare_cover(visit: Visit) -> Image:
    """The photo without anything in it."""
    return visit.cover


def other_client(visit: Visit) -> Image:
    """The reply to somebody else's photo."""
    return visit.other_reply


def nothing_hidden(visit: Visit) -> Image:
    """The right analyzer, but what it analysed was the photo without anything in it."""
    return visit.model.analyze(visit.cover)


def analysed_twice(visit: Visit) -> Image:
    """A proxy sent the reply through the analyzer again."""
    return visit.model.analyze(visit.reply)


def jpeg(visit: Visit) -> Image:
    """The reply went through JPEG of quality 95."""
    packed = cv2.imencode(".jpg", visit.reply, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), dtype=np.uint8)


def noisy(visit: Visit) -> Image:
    """Every value of the reply moved by 3 levels at random."""
    draw = np.random.default_rng(int(visit.reply.sum()))
    moved = visit.reply.astype(np.int16) + draw.choice([-3, 3], visit.reply.shape)
    return np.clip(moved, 0, 255).astype(np.uint8)


def shifted(visit: Visit) -> Image:
    """The reply moved to the right by one pixel."""
    return np.roll(visit.reply, 1, axis=1)


def half(visit: Visit) -> Image:
    """The lower half is the photo that was sent."""
    rows = len(visit.reply) // 2
    return np.concatenate([visit.reply[:rows], visit.stego[rows:]])


def quarter(visit: Visit) -> Image:
    """A quarter of the reply, at its middle, is the bare cover."""
    side = len(visit.reply)
    mixed, middle = visit.reply.copy(), slice(side // 4, side // 4 + side // 2)
    mixed[middle, middle] = visit.cover[middle, middle]
    return mixed


def smoothed(visit: Visit) -> Image:
    """The reply went through a slight blur."""
    return np.asarray(cv2.GaussianBlur(visit.reply, (3, 3), 0.5), dtype=np.uint8)


OFFENCES: tuple[Callable[[Visit], Image], ...] = (
    echo, bare_cover, other_client, nothing_hidden, analysed_twice, jpeg, noisy, shifted, half, quarter, smoothed,
)  # fmt: skip


def other_model(server: Server) -> Callable[[Visit], Image]:
    """Another model's analyzer answered."""

    def other_model(visit: Visit) -> Image:
        return server.analyze(visit.stego)

    return other_model


def visits(client: Client, server: Server, data: Path, covers: Path, split: str, count: int) -> Iterator[Visit]:
    """The honest trips of a split, ``count`` covers an image; all but the very first, which has none before it."""
    rows, photos = read_rows(data, split), photo_rows(covers, split)
    size, before = client.image_size_px, None
    # Cover by cover, so that a trip and the one before it share neither secret nor cover.
    for turn in range(count):
        for row in rows:
            pick = covers_of(row["image"], len(photos), count)[turn]
            cover = photo.fit(photo.load(covers / photos[pick]["image"]), size)
            stego = png.decode(png.encode(client.hide(photo.load(data / row["image"]), cover)))
            reply = png.decode(png.encode(server.analyze(stego)))
            if before is not None:
                yield Visit(cover, stego, reply, before, server)
            before = reply


def accepted(client: Client, reply: Image, sent: Image) -> bool:
    """Whether the device takes a photo for the answer to what it sent."""
    try:
        client.recover(reply, sent=sent)
    except ReplyError:
        return False
    return True


def rate(errors: int, trials: int) -> dict[str, float | int]:
    """An error rate with its exact upper bound: Clopper and Pearson, one-sided, 95 %."""
    upper = 1.0 if errors == trials else float(beta.ppf(0.95, errors + 1, trials - errors))
    return {"errors": errors, "trials": trials, "rate": errors / trials, "upper_95": upper}


def measure(
    client: Client, trips: Iterator[Visit], offences: tuple[Callable[[Visit], Image], ...], per_trip: int
) -> dict[str, dict[str, float | int]]:
    """False rejects of honest replies, and false accepts by kind and in all."""
    wrong: dict[str, int] = defaultdict(int)
    trials: dict[str, int] = defaultdict(int)
    kinds = cycle(offences)
    for visit in trips:
        trials["honest"] += 1
        wrong["honest"] += not accepted(client, visit.reply, visit.stego)
        for offend in islice(kinds, per_trip):
            trials[offend.__name__] += 1
            wrong[offend.__name__] += accepted(client, offend(visit), visit.stego)
        # A client that sends a plain photo by mistake gets an answer to it, and must not find a result there.
        trials["plain_photo_sent"] += 1
        wrong["plain_photo_sent"] += accepted(client, visit.model.analyze(visit.cover), visit.cover)
    found = {name: rate(wrong[name], count) for name, count in trials.items()}
    bad = [name for name in trials if name != "honest"]
    total = rate(sum(wrong[name] for name in bad), sum(trials[name] for name in bad))
    return {"false_reject": found.pop("honest"), "false_accept": total, **found}


def table(found: dict[str, dict[str, float | int]]) -> str:
    """The rates as a Markdown table."""
    lines = ["| | errors | trials | rate | at most (95 %) |", "|---|---|---|---|---|"]
    for name, row in found.items():
        text = name.replace("_", " ")
        lines.append(f"| {text} | {row['errors']} | {row['trials']} | {row['rate']:.2%} | {row['upper_95']:.2%} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    for name in ("client", "server", "data", "covers"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--other-server", type=Path, help="a server bundle of another model, to answer in its place")
    parser.add_argument("--split", default="val", help="choose on val, report test once (default val)")
    parser.add_argument("--covers-per-image", type=int, default=16)
    parser.add_argument("--per-trip", type=int, default=2, help="offences offered on each trip (default 2)")
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--precision", choices=get_args(Precision), help="of both bundles (default: their first)")
    parser.add_argument("--json", type=Path, help="write the rates here as well")
    parser.add_argument("--page", type=Path, help="and their table into this page, such as docs/integrity.md")
    options = parser.parse_args()
    engine = EngineSettings(backend=options.engine)
    client = Client.load(options.client, precision=options.precision, engine=engine)
    server = Server.load(options.server, precision=options.precision, engine=engine)
    offences = OFFENCES
    if options.other_server:
        offences = (*OFFENCES, other_model(Server.load(options.other_server, engine=engine)))
    console = Console(stderr=True)
    trips = track(
        visits(client, server, options.data, options.covers, options.split, options.covers_per_image),
        "offending",
        total=len(read_rows(options.data, options.split)) * options.covers_per_image - 1,
        console=console,
        disable=not console.is_terminal,
    )
    found = measure(client, iter(trips), offences, options.per_trip)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    text = table(found)
    if options.page:
        shown = (
            f"Split `{options.split}`, {options.precision or client.manifest.graphs[0].precision}, {options.engine}:"
        )
        options.page.write_text(renewed(options.page.read_text(), "integrity", [shown, "", text]))
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
