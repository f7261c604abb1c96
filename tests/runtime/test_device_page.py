"""The code of docs/device.md runs, as it stands there, against a real server."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from hidemia.runtime import HidemiaError, errors
from hidemia.runtime import manifest as manifests
from hidemia.runtime.app import PhotoService, Settings
from hidemia.runtime.signing import sign

PAGE = (Path(__file__).parents[2] / "docs" / "device.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def device(tmp_path, tiny, rng, monkeypatch):
    """A device's working folder: two versions of a bundle, and photos."""
    monkeypatch.chdir(tmp_path)
    bundles = tmp_path / "bundles"
    for name in ("busi", "busi-1", "busi-2"):
        model = tiny.make_model(bundles / name)
        file = model.client / manifests.FILE_NAME
        manifest = manifests.load(file.read_bytes())
        graphs = [msgspec.structs.replace(graph, backends=["onnxruntime", "openvino"]) for graph in manifest.graphs]
        file.write_bytes(manifests.dump(msgspec.structs.replace(manifest, graphs=graphs)))
    key = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "site.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "site.key").chmod(0o600)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "site.pub").write_bytes(public)
    assert sign(["--bundle", "bundles/busi/client", "--key", "site.key"]) == 0
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "a.png"), tiny.photo(rng, 400, 400))
    (bundles / "current").symlink_to("busi-1")
    return tmp_path


def test_every_block_runs(device, server, tiny):
    shown = []
    camera = [np.roll(tiny.secret(90, 120), 2 * index, axis=1) for index in range(6)]
    names = {
        "bundles": device / "bundles",
        "camera": camera,
        "carry": server.analyze,
        "log": logging.getLogger("device"),
        "raw": (tiny.secret()[..., 0].astype(np.uint16) - 20) * 17,
        "scan": tiny.secret(90, 120),
        "show": lambda index, mask: shown.append((index, mask)),
        "token": "s3cret",
    }
    masks = []
    with tiny.running(PhotoService(server, Settings(token="s3cret")).photos) as url:
        names["url"] = url
        for block in BLOCKS:
            if 'backend="tensorrt"' in block:
                with pytest.raises(HidemiaError, match="tensorrt"):  # the tiny model has no plans
                    exec(compile(block, "device.md", "exec"), names)
                continue
            exec(compile(block, "device.md", "exec"), names)  # the page's own code
            if "result" in names:
                masks.append(names.pop("result").mask)
        asyncio.run(names["watch"](camera))
        names["client"].close()
    assert [mask.shape for mask in masks] == [(90, 120), (64, 64), (90, 120), (90, 120)]
    assert np.mean((masks[3] > 0) == (names["scan"][..., 0] > 128)) > 0.95
    assert [index for index, _ in shown] == [*range(6)] * 2
    for (_, streamed), (_, watched) in zip(shown[:6], shown[6:], strict=True):
        assert np.array_equal(streamed, watched)  # frames that were sent before: the identical photos
    assert (device / "bundles" / "current").readlink() == Path("busi-2")


def test_the_page_has_its_blocks():
    assert len(BLOCKS) >= 7


def test_every_kind_of_error_is_in_the_table():
    for name in errors.__all__:
        assert f"`{name}`" in PAGE


def test_the_settings_are_those_that_exist():
    from hidemia.runtime.engine import DEVICES, EngineSettings

    assert all(f"`{name}`" in PAGE for name in EngineSettings.__dataclass_fields__)
    assert all(f"`{name}`" in PAGE for backend, devices in DEVICES.items() for name in (backend, *devices))
