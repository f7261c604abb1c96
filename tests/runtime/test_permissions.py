from __future__ import annotations

import os

import pytest

from hidemia.runtime import BundleError, Client, Server, permissions


@pytest.mark.parametrize(
    ("folder", "file", "exposed"),
    [
        (0o700, 0o644, False),
        (0o755, 0o600, False),
        (0o755, 0o644, True),
        (0o750, 0o640, True),
        (0o750, 0o604, False),  # others cannot enter, the group cannot read
        (0o711, 0o644, True),  # its name is known from the manifest
        (0o744, 0o644, False),  # a folder that others can list but not enter
    ],
)
def test_shared(tmp_path, folder, file, exposed):
    place = tmp_path / "bundle"
    place.mkdir()
    (place / "graph").write_bytes(b"x")
    (place / "graph").chmod(file)
    place.chmod(folder)
    assert permissions.shared(place, [place / "graph"]) == (place / "graph" if exposed else None)


@pytest.mark.parametrize(("mode", "open_to_others"), [(0o644, False), (0o755, False), (0o664, True), (0o646, True)])
def test_writable(tmp_path, mode, open_to_others):
    file = tmp_path / "x.plan"
    file.write_bytes(b"x")
    file.chmod(mode)
    tmp_path.chmod(0o700)
    if not open_to_others:
        permissions.check_unwritable([tmp_path, file])
        return
    with pytest.raises(BundleError) as caught:
        permissions.check_unwritable([tmp_path, file])
    assert str(caught.value) == (
        f"{file}: expected only its owner to be able to write it, since a plan is code, got mode {mode:04o}; "
        f"chown it to this account and chmod go-w {file}"
    )


def test_another_owner(tmp_path, monkeypatch):
    """The file stays; this account becomes another one, which no test may really do."""
    file = tmp_path / "x.plan"
    file.write_bytes(b"x")
    if os.geteuid() == 0:
        os.chown(file, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(BundleError, match=r"got one that belongs to user \d+"):
        permissions.check_unwritable([file])


def test_a_private_client_bundle(tiny, tmp_path):
    model = tiny.make_model(tmp_path)
    model.client.chmod(0o755)
    with pytest.raises(BundleError) as caught:
        Client.load(model.client)
    assert str(caught.value) == (
        f"{model.client / 'hide.fp32.onnx'}: expected a file that only its owner can read, since whoever reads it can "
        f"recover, got mode 0644; chmod -R go= {model.client}, or pass --shared-ok (shared_ok=True)"
    )
    Client.load(model.client, shared_ok=True).close()
    (model.client).chmod(0o700)
    Client.load(model.client).close()


def test_public_weights_and_servers_are_no_secret(tiny, tmp_path):
    model = tiny.make_model(tmp_path, public_key=True)
    model.client.chmod(0o755)
    model.server.chmod(0o755)
    Client.load(model.client).close()
    Server.load(model.server).close()
