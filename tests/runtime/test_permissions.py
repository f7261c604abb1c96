from __future__ import annotations

import os

import pytest

from hidemia.runtime import BundleError, Client, Server, permissions
from hidemia.runtime.veil import Veil


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


@pytest.mark.parametrize(("role", "half"), [("client", Client), ("server", Server)])
def test_the_key_of_a_private_veil(tiny, tmp_path, role, half):
    """It lies in the manifest of either half; without a veil a manifest is no secret."""
    for name, changes, is_secret in (
        ("veiled", {"veil": Veil(reach=2, colours="blue", key="ab" * 32)}, True),
        ("bare", {}, False),
    ):
        folder = getattr(tiny.make_model(tmp_path / name, **changes), role)
        folder.chmod(0o755)
        for file in folder.iterdir():
            file.chmod(0o644 if file.name == "manifest.json" else 0o600)
        if is_secret:
            with pytest.raises(BundleError) as caught:
                half.load(folder)
            assert str(caught.value) == (
                f"{folder / 'manifest.json'}: expected a file that only its owner can read, since whoever reads it has "
                f"the key of the veil, got mode 0644; chmod -R go= {folder}, or pass --shared-ok (shared_ok=True)"
            )
        half.load(folder, shared_ok=is_secret).close()


def test_public_weights_and_bare_servers_are_no_secret(tiny, tmp_path):
    model = tiny.make_model(tmp_path, public_key=True)
    model.client.chmod(0o755)
    model.server.chmod(0o755)
    Client.load(model.client).close()
    Server.load(model.server).close()
