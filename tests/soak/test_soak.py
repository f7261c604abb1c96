"""A small sample of `make soak`, the same every time, and the mutations' own promises."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from tests.process import Process
from tests.runtime.conftest import SIZE, make_model
from tests.soak import progress
from tests.soak.__main__ import main
from tests.soak.fuzz import fuzz
from tests.soak.load import load
from tests.soak.manifests import mutate
from tests.soak.parts import PARTS
from tests.soak.pngs import MUTATIONS, mutant, seed, unfilter
from tests.soak.report import TITLES, markdown
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
        manifests=600,
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
    assert list(TITLES) == list(PARTS)


def part(figures, **changes):
    return {
        "code": "ab", "share": 1.0, "machine": "A CPU, 2 cores used", "took_s": 90, "figures": figures, "failures": [],
    } | changes  # fmt: skip


def test_a_page_by_hand():
    load = part({"clients": 8, "p99_ms": 1234, "photos_per_s": 10.75}, share=0.02, failures=["got 500", "it died"])
    run = {"photos": 1200, "answers": {"200": 1199, "500": 1}, "lost": 0}
    ray = part({"one_process": run, "killing": run | {"killed": 4}, "alike": True, "elsewhere": []})
    page = markdown({"ray": ray, "load": load})
    load_lines = [
        "## Load: clients that never pause",
        "",
        "A CPU, 2 cores used; 90 s. 0.02 of the counts and durations alone.",
        "",
        "| what | measured |",
        "| --- | --- |",
        "| clients | 8 |",
        "| p99, ms | 1,234 |",
        "| photos per s | 10.75 |",
        "| failures | got 500; it died |",
        "",
    ]
    ray_lines = [
        "## Ray: replicas that are killed under load",
        "",
        "A CPU, 2 cores used; 90 s.",
        "",
        "|  | one process | Ray, replicas killed |",
        "| --- | --- | --- |",
        "| photos | 1,200 | 1,200 |",
        "| answers | 1199 x 200, 1 x 500 | 1199 x 200, 1 x 500 |",
        "| lost | 0 | 0 |",
        "| killed |  | 4 |",
        "",
        "| what | measured |",
        "| --- | --- |",
        "| alike | yes |",
        "| elsewhere | none |",
        "| failures | none |",
    ]
    assert page.splitlines()[-len(load_lines) - len(ray_lines) :] == load_lines + ray_lines
    assert "Bad input" not in page


def test_a_run_goes_on_with_what_is_missing_failed_or_of_other_code(tmp_path):
    def good(share):
        return {"answered": round(100 * share), "failures": []}

    def bad(share):
        return good(share) | {"failures": ["got 500"]}

    report = {name: progress.entry(what, "ab", 0.5) for name, what in {"a": good, "b": bad, "c": good}.items()}
    report["c"]["code"] = "cd"
    progress.write(tmp_path, report)
    assert progress.read(tmp_path) == report
    assert report["a"]["figures"] == {"answered": 50}
    assert progress.remaining(progress.read(tmp_path), "abcd", "ab", 0.5) == ["b", "c", "d"]
    assert progress.remaining(report, "a", "ab", 1.0) == ["a"]
    assert progress.remaining(progress.read(tmp_path / "new"), "ab", "ab", 0.5) == ["a", "b"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["soak.json", "soak.md"]


def test_the_command_runs_nothing_twice(tmp_path, monkeypatch, capsys):
    done = part({"clients": 8}, code=progress.code_sha256())
    progress.write(tmp_path, dict.fromkeys(PARTS, done))
    monkeypatch.setattr("sys.argv", ["soak", "--out", str(tmp_path)])
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None, raising=False)  # this process runs other tests too
    assert main() == 0
    assert capsys.readouterr().out == "all holds\n"
    monkeypatch.setattr("sys.argv", ["soak", "--share", "0"])
    with pytest.raises(SystemExit):
        main()
    assert "expected a share above 0 and up to 1, got 0" in capsys.readouterr().err


def test_other_code_has_another_hash(tmp_path):
    found = [progress.code_sha256(tmp_path)]
    for name in ("runtime/app.py", "runtime/demo/a.py", "runtime/bundles/busi/server/manifest.json", "tests/soak/a.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
        found.append(progress.code_sha256(tmp_path))
    (tmp_path / "runtime" / "app.py").rename(tmp_path / "runtime" / "b.py")
    found.append(progress.code_sha256(tmp_path))
    (tmp_path / "README.md").write_text("not run by any part")
    assert progress.code_sha256(tmp_path) == found[-1]
    assert len(set(found)) == 6
