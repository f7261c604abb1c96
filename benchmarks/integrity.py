"""How often a device takes a wrong photo for a result, and how often it refuses a right one.

    python -m hidemia.benchmarks.integrity --client DIR --server DIR --data DIR --covers DIR [--split test]

Every image travels in several covers. Each honest reply must be accepted; beside it, on every trip, a few photos that
are no answer are offered, one kind after the other, and must be refused. Rates come with their exact 95 % bounds:
no error in 1,000 trials still allows 0.3 %. What would be read from each photo is measured too, refused or not: it
says what a wrong photo costs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy.stats import beta

from hidemia.benchmarks import metrics
from hidemia.benchmarks.evaluate import covers_of, truth_label, truth_mask
from hidemia.benchmarks.offences import OFFENCES, Image, Visit, other_model
from hidemia.benchmarks.pages import opened, renewed
from hidemia.runtime import Client, Server, photo, png, similarity, veil
from hidemia.runtime.arguments import positive
from hidemia.runtime.engine import EngineSettings
from hidemia.runtime.errors import DataError, ReplyError
from hidemia.runtime.manifest import Precision
from hidemia.training.errors import one_line
from hidemia.training.index import photo_rows, read_rows

PROG = "python -m hidemia.benchmarks.integrity"

Row = dict[str, float | int | None]


@dataclass
class Tally:
    """What became of the photos of one kind.

    Attributes:
        accepted: which were.
        low_changes: how far the low band of each lies from what was sent, in levels, its veil taken off.
        scores: how right what is read from each is, 0..1, refused or not; None where there is nothing to find.
        beyond: the share of each that lies beyond the reach of the pair's veil, 0..1; None where there is none.
    """

    accepted: list[bool] = field(default_factory=list)
    low_changes: list[float] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    beyond: list[float | None] = field(default_factory=list)

    def row(self, accepted_is_wrong: bool) -> Row:  # noqa: FBT001
        """The rate of errors, ranges of low changes and of what is beyond, mean scores of all and of the accepted."""
        errors = sum(accepted is accepted_is_wrong for accepted in self.accepted)
        taken = [score for score, accepted in zip(self.scores, self.accepted, strict=True) if accepted]
        return rate(errors, len(self.accepted)) | {
            "low_change_min": min(self.low_changes),
            "low_change_max": max(self.low_changes),
            "beyond_min": min((share for share in self.beyond if share is not None), default=None),
            "beyond_max": max((share for share in self.beyond if share is not None), default=None),
            "task": mean(self.scores),
            "task_accepted": mean(taken),
        }


def mean(scores: Sequence[float | None]) -> float | None:
    """Of those that there are; None where there are none."""
    known = [score for score in scores if score is not None]
    return float(np.mean(known)) if known else None


def visits(client: Client, server: Server, data: Path, covers: Path, split: str, count: int) -> Iterator[Visit]:
    """The honest trips of a split, ``count`` covers an image; all but the very first, which has none before it.

    Raises:
        DataError: fewer covers than that, or a single trip. DatasetError: no such split.
    """
    rows, photos = read_rows(data, split), photo_rows(covers, split)
    if len(photos) < count or len(rows) * count < 2:
        raise DataError(
            f"{covers}: expected {count} covers of split {split!r} for each image and two trips in all, got "
            f"{len(photos)} covers and {len(rows)} images; change --covers-per-image or add some"
        )
    size, before = client.image_size_px, None
    # Cover by cover, so that a trip and the one before it share neither secret nor cover.
    for turn in range(count):
        for row in rows:
            pick = covers_of(row["image"], len(photos), count)[turn]
            cover = photo.fit(photo.load(covers / photos[pick]["image"]), size)
            stego = png.decode(png.encode(client.hide(photo.load(data / row["image"]), cover)))
            reply = png.decode(png.encode(server.analyze(stego)))
            if before is not None:
                yield Visit(truth_of(client, data, row), cover, stego, reply, before, server)
            before = reply


def truth_of(client: Client, data: Path, row: dict[str, str]) -> NDArray[np.bool_] | int:
    """What must be found in an image: its mask (S, S), or the index of its class."""
    if client.manifest.mask_threshold is None:
        return truth_label(row, client.manifest.classes, data)
    return truth_mask(data, row, client.image_size_px)


def recovered(client: Client, reply: Image, sent: Image) -> NDArray[np.float32] | None:
    """What the device reads from a photo that it takes for the answer to what it sent; None when it refuses it."""
    try:
        return client.recover(reply, sent=sent).probability
    except ReplyError:
        return None


def score(probability: NDArray[np.float32], truth: NDArray[np.bool_] | int, threshold: float | None) -> float:
    """The Dice of a mask, or 1 for the right class and 0 for another."""
    if isinstance(truth, int):
        return float(probability.argmax() == truth)
    return metrics.dice(probability >= threshold, truth)


def rate(errors: int, trials: int) -> Row:
    """An error rate with its exact upper bound: Clopper and Pearson, one-sided, 95 %."""
    upper = 1.0 if errors == trials else float(beta.ppf(0.95, errors + 1, trials - errors))
    return {"errors": errors, "trials": trials, "rate": errors / trials, "upper_95": upper}


def measure(
    client: Client, trips: Iterator[Visit], offences: tuple[Callable[[Visit], Image], ...], per_trip: int
) -> dict[str, Row]:
    """False rejects of honest replies, and false accepts by kind and in all."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    kinds, pair = cycle(offences), client.manifest.veil

    def note(kind: str, reply: Image, sent: Image, truth: NDArray[np.bool_] | int | None) -> None:
        found = recovered(client, reply, sent)
        tallies[kind].accepted.append(found is not None)
        tallies[kind].low_changes.append(similarity.low_change(veil.bare(reply, sent, pair), sent))
        tallies[kind].beyond.append(None if pair is None else veil.outside(reply, sent, pair) / reply.size)
        if truth is not None:
            probability = client.probability(reply, sent=sent) if found is None else found
            tallies[kind].scores.append(score(probability, truth, client.manifest.mask_threshold))
        else:
            tallies[kind].scores.append(None)

    for visit in trips:
        note("honest", visit.reply, visit.stego, visit.truth)
        for offend in islice(kinds, per_trip):
            note(offend.__name__, offend(visit), visit.stego, visit.truth)
        # A client that sends a plain photo by mistake gets an answer to it, and must not find a result there.
        note("plain_photo_sent", visit.model.analyze(visit.cover), visit.cover, None)
    honest = tallies.pop("honest").row(accepted_is_wrong=False)
    every = Tally()
    for tally in tallies.values():
        for name, values in vars(every).items():
            values.extend(getattr(tally, name))
    found = {name: tally.row(accepted_is_wrong=True) for name, tally in tallies.items()}
    return {"false_reject": honest, "false_accept": every.row(accepted_is_wrong=True), **found}


def table(found: dict[str, Row]) -> str:
    """The rates as a Markdown table."""
    heads = (
        "", "errors", "trials", "rate", "at most (95 %)", "low change", "beyond the veil", "read",
        "read where accepted",
    )  # fmt: skip
    lines = ["| " + " | ".join(heads).lstrip() + " |", "|---" * len(heads) + "|"]
    for name, row in found.items():
        read, accepted = ("-" if row[key] is None else f"{row[key]:.3f}" for key in ("task", "task_accepted"))
        low = f"{row['low_change_min']:.2f} to {row['low_change_max']:.2f}"
        beyond = "-" if row["beyond_min"] is None else f"{row['beyond_min']:.1%} to {row['beyond_max']:.1%}"
        rates = f"{row['errors']} | {row['trials']} | {row['rate']:.2%} | {row['upper_95']:.2%}"
        lines.append(f"| {name.replace('_', ' ')} | {rates} | {low} | {beyond} | {read} | {accepted} |")
    return "\n".join(lines)


@one_line(PROG)
def main(arguments: list[str]) -> int:
    """Measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(prog=PROG, description=main.__doc__)
    parser.add_argument("--client", type=Path, required=True, help="client bundle, such as OUT/client of an export")
    parser.add_argument("--server", type=Path, required=True, help="server bundle, such as OUT/server of an export")
    parser.add_argument("--data", type=Path, required=True, help="medical images: index.csv, or as downloaded")
    parser.add_argument("--covers", type=Path, required=True, help="any folder of photos")
    parser.add_argument("--other-server", type=Path, help="a server bundle of another model, to answer in its place")
    parser.add_argument("--split", default="val", help="choose on val, report test once (default val)")
    parser.add_argument("--covers-per-image", type=positive, default=16, help="(default 16)")
    parser.add_argument("--per-trip", type=positive, default=2, help="offences offered on each trip (default 2)")
    parser.add_argument("--engine", default="onnxruntime", help="(default onnxruntime)")
    parser.add_argument("--precision", choices=get_args(Precision), help="of both bundles (default: their first)")
    parser.add_argument("--json", type=Path, help="write the rates here as well")
    parser.add_argument("--page", type=Path, help="and their table into this page, such as docs/integrity.md")
    options = parser.parse_args(arguments)
    page = opened(options.page, "integrity") if options.page else ""
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
        options.page.write_text(renewed(page, "integrity", [shown, "", text]), encoding="utf-8")
    sys.stdout.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
