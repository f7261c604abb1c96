"""A small sample of `make soak`, the same every time, and the mutations' own promises."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from tests.process import Process
from tests.runtime.conftest import SIZE, make_model
from tests.soak.fuzz import fuzz
from tests.soak.load import load
from tests.soak.manifests import mutate
from tests.soak.pngs import MUTATIONS, mutant, seed, unfilter
from tests.soak.report import markdown
from tests.soak.requests import request

from hidemia.runtime import ImageError, png


@pytest.fixture(scope="module")
def seeds():
    return [seed(number, 24) for number in range(3)]


@pytest.fixture
def serving(tmp_path):
    process = Process("--server", str(make_model(tmp_path).server), "--threads", "1")
    yield process
    process.kill()


def analyzed(stream: bytes) -> np.ndarray:
    """What the tiny model makes of a photo."""
    sent = unfilter(stream, SIZE)
    return sent // 4 * 4 + 3 * (sent % 2)


def test_a_sample_against_a_server(serving, tmp_path):
    def is_right(one, reply):
        return one.stream is None or np.array_equal(png.decode(reply), analyzed(one.stream))

    manifest = (tmp_path / "server" / "manifest.json").read_bytes()
    result = fuzz(
        serving,
        size=SIZE,
        pngs=250,
        requests=150,
        readings=600,
        manifest=manifest,
        accepted_share=0.18,
        check=is_right,
    )
    assert result["failures"] == []
    assert result["pngs_repaired"] >= 125
    assert result["pngs_that_reached_the_engine"] >= 25
    assert sum(result["outcomes"].values()) == 1000


def test_load(serving):
    photos = []
    for number in range(3):
        one = seed(number, SIZE)
        photos.append((one.data, png.encode(analyzed(one.stream))))
    result = load(serving, photos, clients=4, seconds=2.5)
    assert result["failures"] == []
    assert result["accepted"] == result["answered_200"] > 0
    wrong = load(serving, [(photos[0][0], photos[1][1])], clients=1, seconds=1.2)
    assert "got another reply" in wrong["failures"]


def test_the_reference_agrees_with_the_decoder(seeds):
    for one in seeds:
        assert np.array_equal(png.decode(one.data), unfilter(one.stream, one.size))


@pytest.mark.parametrize("group", MUTATIONS)
def test_verdicts_hold_for_the_decoder(seeds, group, capfd):
    """Without a server: most of the time goes into the decoder."""
    accepted = refused = 0
    for mutation in MUTATIONS[group]:
        for number in range(60):
            one = mutation(random.Random(number), seeds[number % len(seeds)])
            try:
                # As the service does it: the size is compared with the network's first.
                pixels = png.decode(one.data)
                is_accepted = pixels.shape == (24, 24, 3)
            except ImageError:
                is_accepted = False
            assert one.verdict in ("either", "accept" if is_accepted else "refuse"), (one.kind, number)
            if is_accepted and one.stream is not None:
                assert np.array_equal(pixels, unfilter(one.stream, 24))
            accepted, refused = accepted + is_accepted, refused + (not is_accepted)
    assert {"broken": refused > accepted, "repaired": refused > accepted, "accepted": refused == 0}[group]
    assert capfd.readouterr() == ("", "")


def test_the_same_seed_gives_the_same_bytes(seeds):
    for number in range(50):
        assert mutant(number, seeds, 0.2) == mutant(number, seeds, 0.2)
        assert request(number, b"photo") == request(number, b"photo")
        assert mutate(number, b'{"a": [1, {"b": 2}]}') == mutate(number, b'{"a": [1, {"b": 2}]}')


def test_the_page_is_the_report():
    folder = Path(__file__).parents[2] / "docs"
    report = json.loads((folder / "soak.json").read_text(encoding="utf-8"))
    assert markdown(report) == (folder / "soak.md").read_text(encoding="utf-8")
