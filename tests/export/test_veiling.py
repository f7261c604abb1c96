"""Bundles under a veil: graphs that stay within its reach, and the key that both halves share."""

import stat

import numpy as np
import pytest
import torch
from tests.micro import micro_config, micro_system

from hidemia.export import veiling
from hidemia.export.bundles import export_model
from hidemia.export.command import export
from hidemia.export.graphs import pixels_in, pixels_out
from hidemia.export.probes import simulated
from hidemia.export.veiling import pair_veil
from hidemia.runtime import Client, Server, veil
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.errors import ExportError
from hidemia.training.channel import Reach, held
from hidemia.training.weights import load_weights, save_weights

COLOURS = {"blue": [0, 0, 1], "all": [1, 1, 1]}
"""And how far a reply may differ from the stego in red, green and blue."""


@pytest.fixture
def colours(request):
    """Of the veil; a test may ask for others."""
    return getattr(request, "param", "blue")


@pytest.fixture
def veiled_weights(tmp_path, colours):
    """Micro networks whose replies travel under a veil; untrained, they would reach much further than it does."""
    config = micro_config(veil_reach=1, veil_colours=colours)
    save_weights(micro_system(config), config, tmp_path / "weights", bits=16)
    return tmp_path / "weights"


def veils(out):
    return [Bundle.open(out / role, role).manifest.veil for role in ("client", "server")]


@pytest.mark.parametrize("colours", COLOURS, indirect=True)
def test_every_graph_stays_within_the_reach_of_its_veil(veiled_weights, tmp_path, colours):
    """In every precision and form, also where the network would write ten times as much."""
    out = tmp_path / "out"
    export_model(veiled_weights, out, simulated(2, 64), public_key=True)
    probe = simulated(1, 64)[0]
    with Client.load(out / "client") as client:
        for precision in ("fp32", "fp16"):
            with Server.load(out / "server", precision=precision) as server:
                stego = client.hide(probe.secret, probe.cover)
                for reply in (server.analyze(stego), *server.analyze(np.stack([stego, stego]))):
                    lifted = veil.lift(reply, stego, server.manifest.veil).reply
                    assert np.abs(lifted.astype(int) - stego).max(axis=(0, 1)).tolist() == COLOURS[colours]
                    assert client.recover(reply, sent=stego).mask is not None
    kept, _ = load_weights(veiled_weights)
    with torch.no_grad():
        free = kept.analyzer(pixels_in(torch.from_numpy(stego)[None]))
    assert (pixels_out(free)[0].numpy().astype(int) - stego).max() > 10
    expected = pixels_out(held(free, pixels_in(torch.from_numpy(stego)[None]), kept.reach))[0].numpy()
    with Server.load(out / "server") as server:
        got = veil.lift(server.analyze(stego), stego, server.manifest.veil).reply
    assert (got[2:] == expected[2:]).mean(axis=(0, 1)).min() > 0.995  # the mark is in the first two rows


def test_both_halves_share_a_veil_and_public_weights_a_public_one(veiled_weights, tmp_path):
    for name in ("first", "second"):
        export_model(veiled_weights, tmp_path / name, simulated(1, 64), public_key=True, precisions=["fp32"])
    client, server = veils(tmp_path / "first")
    assert client == server
    assert (client.reach, client.colours) == (1, "blue")
    assert veils(tmp_path / "second") == [client, server]
    assert not (veiled_weights / "veil.key").exists()


def test_a_private_veil_has_a_key_that_is_kept(veiled_weights, tmp_path, capsys):
    """The same in every export, known to its owner alone, and a new one once the file is gone."""
    arguments = ["--weights", str(veiled_weights), "--precision", "fp32", "--private", "--out"]
    assert export([*arguments, str(tmp_path / "first")]) == 0
    assert export([*arguments, str(tmp_path / "first")]) == 0
    assert "up to date" in capsys.readouterr().out
    key = (veiled_weights / "veil.key").read_text()
    assert stat.S_IMODE((veiled_weights / "veil.key").stat().st_mode) == 0o600
    assert [found.key for found in veils(tmp_path / "first")] == 2 * [key.strip()]
    for role in ("client", "server"):
        assert stat.S_IMODE((tmp_path / "first" / role).stat().st_mode) == 0o700
    assert export([*arguments, str(tmp_path / "second")]) == 0
    assert veils(tmp_path / "second") == veils(tmp_path / "first")
    (veiled_weights / "veil.key").unlink()
    assert export([*arguments, str(tmp_path / "second")]) == 0
    assert veils(tmp_path / "second")[0] != veils(tmp_path / "first")[0]
    assert veils(tmp_path / "second")[0].key != veils(tmp_path / "first")[0].key


@pytest.mark.parametrize(
    ("written", "got"), [("", "got 0 characters"), ("00" * 31, "got 62 characters"), ("é", "got: no text")]
)
def test_what_is_no_key_is_refused(veiled_weights, tmp_path, written, got):
    (veiled_weights / "veil.key").write_text(written, encoding="utf-8")
    (veiled_weights / "veil.key").chmod(0o600)
    with pytest.raises(ExportError) as caught:
        export(["--weights", str(veiled_weights), "--out", str(tmp_path / "out"), "--precision", "fp32", "--private"])
    assert str(caught.value).startswith(f"{veiled_weights / 'veil.key'}: expected ")
    assert got in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_key_that_others_can_read_is_refused(veiled_weights):
    (veiled_weights / "veil.key").write_text("ab" * 32)
    (veiled_weights / "veil.key").chmod(0o640)
    with pytest.raises(ExportError, match="expected a key that only its owner can read, got mode 0640; chmod go="):
        pair_veil(veiled_weights, Reach(1), "ab" * 8, public_key=False)


def test_of_two_exports_at_once_the_first_key_counts(veiled_weights, monkeypatch):
    """The second finds no key, makes one, and is too late with it."""
    made = veiling._make
    monkeypatch.setattr(veiling, "_make", lambda file: (made(file), made(file)))
    first = pair_veil(veiled_weights, Reach(1), "ab" * 8, public_key=False)
    assert pair_veil(veiled_weights, Reach(1), "ab" * 8, public_key=False) == first
    assert [file.name for file in veiled_weights.iterdir() if "veil" in file.name] == ["veil.key"]


def test_weights_that_cannot_be_written_to_give_no_private_veil(veiled_weights, tmp_path):
    with pytest.raises(ExportError, match="expected the key of the veil, or a folder to make one in, got: "):
        pair_veil(veiled_weights / "config.json", Reach(1), "ab" * 8, public_key=False)
    assert pair_veil(veiled_weights, None, "ab" * 8, public_key=False) is None
