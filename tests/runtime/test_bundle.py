from __future__ import annotations

import hashlib
import json
import shutil

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hidemia.runtime import BundleError, Client, Server
from hidemia.runtime import manifest as manifests
from hidemia.runtime.bundle import Bundle


@pytest.fixture
def copy(model, tmp_path):
    shutil.copytree(model.client, tmp_path / "client")
    shutil.copytree(model.server, tmp_path / "server")
    return tmp_path


def test_open_and_read(model):
    bundle = Bundle.open(model.client, "client")
    graph = bundle.graph("recover")
    assert bundle.read(graph) == (model.client / graph.path).read_bytes()
    bundle.verify()


def test_another_role(model):
    with pytest.raises(BundleError) as caught:
        Server.load(model.client)
    assert str(caught.value) == (
        f"{model.client}: expected a server bundle, got a client bundle; name the server folder"
    )
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["nowhere", "client/hide.fp32.onnx"])
def test_no_bundle(copy, name):
    with pytest.raises(BundleError) as caught:
        Bundle.open(copy / name, "client")
    assert str(caught.value) == (
        f"{copy / name}: expected a client bundle, got no manifest.json; name the folder that holds it"
    )
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["hide.fp32.onnx", "recover.fp32.onnx"])
def test_one_flipped_byte(copy, name):
    file = copy / "client" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(BundleError) as caught:
        Client.load(copy / "client")
    assert str(caught.value).startswith(f"{file}: expected SHA-256 ")
    assert str(caught.value).endswith("the file was changed or damaged: install the bundle again")
    assert caught.value.exit_code == 1


def test_missing_and_cut_files(copy):
    file = copy / "server" / "analyze.fp32.onnx"
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BundleError, match=f"expected {size} bytes, got {size - 1}"):
        Bundle.open(copy / "server", "server")
    file.unlink()
    with pytest.raises(BundleError, match="expected a file of the bundle, got No such file or directory"):
        Bundle.open(copy / "server", "server")


def test_the_first_that_serves_is_taken(tiny, tmp_path, monkeypatch):
    entry = tiny.graph_entry
    graphs = [
        entry("analyze", b"x", [], [], path="a", batch=(1, 1), backends=["tensorrt"], form="one"),
        entry("analyze", b"x", [], [], path="b", batch=(1, 1), form="one"),
        entry("analyze", b"x", [], [], path="c", batch=(1, None)),
        entry("analyze", b"x", [], [], path="d", precision="int8"),
    ]
    bundle = Bundle(tmp_path, tiny.make_manifest("server", graphs))
    assert bundle.graph("analyze").path == "b"
    assert bundle.graph("analyze", batch=4).path == "c"
    assert bundle.graph("analyze", precision="int8").path == "d"
    assert bundle.graph("analyze", backend="tensorrt").path == "a"
    with pytest.raises(BundleError) as caught:
        bundle.graph("analyze", precision="fp16", batch=2)
    assert str(caught.value) == (
        f"{tmp_path}: expected a graph for analyze, fp16 on onnxruntime for batch 2, got "
        "fp32 on tensorrt for batch 1..1, fp32 on onnxruntime for batch 1..1, fp32 on onnxruntime for batch "
        "1.., int8 on onnxruntime for batch 1..; ask for one of these or export the bundle again"
    )
    assert caught.value.exit_code == 2


def test_links_out_of_the_folder(copy, tmp_path):
    file = copy / "client" / "hide.fp32.onnx"
    elsewhere = tmp_path / "elsewhere.onnx"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)  # the bytes are right, the place is not
    with pytest.raises(BundleError) as caught:
        Client.load(copy / "client")
    assert str(caught.value) == (
        f"{file}: expected a file inside {copy / 'client'}, got a link to {elsewhere}; copy the file itself"
    )
    (copy / "server" / "manifest.json").rename(tmp_path / "m.json")
    (copy / "server" / "manifest.json").symlink_to(tmp_path / "m.json")
    with pytest.raises(BundleError, match=r"manifest\.json: expected a file inside .*, got a link to"):
        Server.load(copy / "server")


PARTS = st.sampled_from(["..", ".", "", "in", "out", "loop", "graph.onnx", "..\\", "C:", "~", "%2e%2e", "\u2025", "/"])


@settings(max_examples=400, deadline=None)
@given(parts=st.lists(PARTS, min_size=1, max_size=7))
@example(parts=["..", "graph.onnx"])
@example(parts=["out", "graph.onnx"])
@example(parts=["in", "..", "..", "graph.onnx"])
@example(parts=["", "etc", "passwd"])
def test_no_path_of_a_manifest_leaves_the_bundle(tmp_path_factory, tiny, parts):
    """Files that a way out would reach lie all around, with the hash that the manifest asks for."""
    root = tmp_path_factory.getbasetemp() / "traversal"
    bundle = root / "bundle"
    if not root.exists():
        (bundle / "in").mkdir(parents=True)
        for place in (root, root.parent, bundle / "in"):
            (place / "graph.onnx").write_bytes(b"secret" if place != bundle / "in" else b"inside")
        (bundle / "out").symlink_to(root)
        (bundle / "loop").symlink_to(bundle / "in")
    for content in (b"secret", b"inside"):
        entry = tiny.graph_entry("analyze", content, [tiny.tensor("stego")], [tiny.tensor("reply")])
        data = manifests.dump(tiny.make_manifest("server", [entry]))
        path = json.dumps("/".join(parts)).encode()
        (bundle / "manifest.json").write_bytes(data.replace(b'"analyze.fp32.onnx"', path))
        try:
            opened = Bundle.open(bundle, "server")
            read = opened.read(opened.manifest.graphs[0])
        except BundleError:
            continue
        assert read == b"inside"


def test_a_link_to_a_bundle_is_a_bundle(copy, tmp_path):
    """As an update does it that points `current` at a version."""
    (tmp_path / "current").symlink_to(copy / "client")
    Client.load(tmp_path / "current").close()


def test_a_file_of_a_huge_size_costs_no_memory(copy):
    """A sparse file of a terabyte, once as the graph and once as the manifest."""
    file = copy / "server" / "analyze.fp32.onnx"
    size = file.stat().st_size
    with file.open("r+b") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(BundleError, match=f"expected {size} bytes, got {1 << 40}"):
        Server.load(copy / "server")
    with (copy / "client" / "manifest.json").open("r+b") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(BundleError, match="not a valid manifest"):
        Client.load(copy / "client")


def test_a_newer_schema(copy):
    file = copy / "client" / "manifest.json"
    file.write_bytes(file.read_bytes().replace(b'"schema_version": 3', b'"schema_version": 4'))
    with pytest.raises(BundleError) as caught:
        Client.load(copy / "client")
    assert str(caught.value) == f"{file}: expected schema version 3, got 4; update hidemia"


def test_the_hash_of_the_manifest_is_that_of_its_bytes(model):
    data = (model.client / "manifest.json").read_bytes()
    assert Bundle.open(model.client, "client").manifest_sha256 == hashlib.sha256(data).hexdigest()
