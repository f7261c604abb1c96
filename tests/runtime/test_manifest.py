from __future__ import annotations

import contextlib
import json

import msgspec
import pytest

from hidemia.runtime import BundleError
from hidemia.runtime import manifest as manifests


@pytest.fixture
def manifest(model):
    return manifests.load((model.client / "manifest.json").read_bytes())


@pytest.fixture
def content(model):
    return json.loads((model.client / "manifest.json").read_bytes())


def encode(content) -> bytes:
    return json.dumps(content).encode()


def test_canonical_bytes(manifest):
    data = manifests.dump(manifest)
    assert manifests.load(data) == manifest
    assert manifests.dump(manifests.load(data)) == data
    content = json.loads(data)
    assert data == json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def test_unknown_keys_are_allowed(manifest, content):
    content["later"] = {"a": 1}
    content["graphs"][0]["later"] = 2
    assert manifests.load(encode(content)) == manifest


def change(content, path, value):
    *parents, last = path
    for key in parents:
        content = content[key]
    if value is None:
        del content[last]
    else:
        content[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["pair_id"], None, "Object missing required field `pair_id`"),
        (["graphs", 0, "sha256"], None, "Object missing required field `sha256` - at `$.graphs[0]`"),
        (["image_size_px"], "224", "Expected `int`, got `str` - at `$.image_size_px`"),
        (["role"], "both", "Invalid enum value 'both' - at `$.role`"),
        (
            ["graphs", 1, "sha256"],
            "XY",
            "Expected `str` matching regex '^[0-9a-f]{64}$' - at `$.graphs[1].sha256`",
        ),
        (
            ["graphs", 0, "path"],
            "../x.onnx",
            "Expected a path inside the bundle, got '../x.onnx' - at `$.graphs[0]`",
        ),
        (
            ["graphs", 0, "path"],
            "/x.onnx",
            "Expected a path inside the bundle, got '/x.onnx' - at `$.graphs[0]`",
        ),
        (
            ["graphs", 0, "path"],
            "a\u0000b",
            "Expected a path inside the bundle, got 'a\\x00b' - at `$.graphs[0]`",
        ),
        (["graphs", 0, "path"], ".", "Expected a path inside the bundle, got '.' - at `$.graphs[0]`"),
        (["graphs", 0, "path"], "C:x", "Expected a path inside the bundle, got 'C:x' - at `$.graphs[0]`"),
        (
            ["graphs", 0, "path"],
            "..\\x",
            "Expected a path inside the bundle, got '..\\\\x' - at `$.graphs[0]`",
        ),
        (["graphs", 0, "size_bytes"], -5, "Expected `int` >= 1 - at `$.graphs[0].size_bytes`"),
        (["graphs", 0, "size_bytes"], 2**70, "Expected `int` <= 2147483648 - at `$.graphs[0].size_bytes`"),
        (["graphs", 0, "batch"], [0, None], "Expected `int` >= 1 - at `$.graphs[0].batch[0]`"),
        (["mask_threshold"], 1.5, "Expected `float` <= 1.0 - at `$.mask_threshold`"),
    ],
)
def test_what_is_wrong_and_where(content, path, value, message):
    change(content, path, value)
    with pytest.raises(BundleError) as caught:
        manifests.load(encode(content), "m.json")
    assert str(caught.value) == f"m.json: not a valid manifest: {message}; export the bundle again"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spatial_shape": [64]}, "Expected the spatial_shape of NHWC ['batch', 64, 64, 3], got [64]"),
        ({"num_channels": 1}, "Expected the num_channels of NHWC ['batch', 64, 64, 3], got 1"),
        ({"channel_def": {"0": "red"}}, "Expected a channel_def for 0..2, got ['0']"),
        ({"layout": "NHW"}, "Expected a shape of 3 dimensions for NHW, got ['batch', 64, 64, 3]"),
        ({"shape": ["batch", -1, 64, 3]}, "Expected `int` >= 1 - at `$.graphs[0].inputs[0].shape[1]`"),
        ({"colour_order": "BGR"}, "Invalid enum value 'BGR' - at `$.graphs[0].inputs[0].colour_order`"),
        ({"type": "photo"}, "Invalid enum value 'photo' - at `$.graphs[0].inputs[0].type`"),
    ],
)
def test_a_tensor_that_contradicts_itself(content, changes, message):
    content["graphs"][0]["inputs"][0].update(changes)
    with pytest.raises(BundleError) as caught:
        manifests.load(encode(content), "m.json")
    place = "" if "$" in message else " - at `$.graphs[0].inputs[0]`"
    assert str(caught.value) == f"m.json: not a valid manifest: {message}{place}; export the bundle again"


def test_tensors_have_the_keys_of_a_monai_bundle(content):
    """What MONAI's bundle specification asks of a tensor in network_data_format."""
    for graph in content["graphs"]:
        for tensor in (*graph["inputs"], *graph["outputs"]):
            assert tensor.keys() >= {
                "type", "format", "modality", "num_channels", "spatial_shape", "dtype", "value_range",
                "is_patch_data", "channel_def",
            }  # fmt: skip


def test_keys_that_stand_twice(model):
    data = (model.client / "manifest.json").read_bytes()
    doubled = data.replace(b'"public_key": false', b'"public_key": true,\n  "public_key": false')
    assert doubled != data
    with pytest.raises(BundleError) as caught:
        manifests.load(doubled, "m.json")
    assert str(caught.value) == (
        "m.json: not a valid manifest: Expected every key once, got `public_key` twice; export the bundle again"
    )


def test_any_flipped_byte_is_an_error_or_another_manifest(model, manifest):
    """Never another exception; what still reads as a manifest is for the hashes and the signature to catch."""
    data = (model.client / "manifest.json").read_bytes()
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        with contextlib.suppress(BundleError):
            manifests.load(bytes(flipped))
    for length in range(0, len(data) - 2, 7):
        with pytest.raises(BundleError):
            manifests.load(data[:length])


def test_roles_and_verbs_belong_together(content):
    content["role"] = "server"
    with pytest.raises(BundleError, match="Expected reply_limits in a client's manifest and null in a server's"):
        manifests.load(encode(content))
    content["reply_limits"] = None
    with pytest.raises(BundleError, match=r"Expected graphs for \['analyze'\] in a server bundle"):
        manifests.load(encode(content))


def test_a_bundle_of_an_older_export_has_no_limit_on_low_changes(content):
    del content["reply_limits"]["max_low_change"]
    assert manifests.load(encode(content)).reply_limits.max_low_change is None
    content["reply_limits"]["max_low_change"] = 0.3
    assert manifests.load(encode(content)).reply_limits.max_low_change == 0.3
    content["reply_limits"]["max_low_change"] = 0
    with pytest.raises(BundleError, match=r"Expected `float` > 0"):
        manifests.load(encode(content))


def test_a_bundle_of_an_older_export_has_no_limit_on_the_seal_s_strength():
    limits = manifests.ReplyLimits(min_psnr_db=30.0, min_changed_share=0.01, min_seal_share=0.8, max_seal_strength=1.5)
    assert msgspec.convert(msgspec.to_builtins(limits), manifests.ReplyLimits) == limits
    older = msgspec.to_builtins(limits)
    del older["max_seal_strength"]
    assert msgspec.convert(older, manifests.ReplyLimits).max_seal_strength is None
    with pytest.raises(msgspec.ValidationError, match=r"Expected `float` > 0"):
        msgspec.convert(older | {"max_seal_strength": 0}, manifests.ReplyLimits)


def test_segmentation_needs_a_threshold(content):
    content["mask_threshold"] = None
    with pytest.raises(BundleError, match="Expected a mask_threshold for segmentation"):
        manifests.load(encode(content))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema_version": "1"}', b"null"])
def test_not_a_manifest(data):
    with pytest.raises(BundleError, match="not a valid manifest"):
        manifests.load(data)


def test_a_newer_schema_is_refused_before_anything_else():
    with pytest.raises(BundleError) as caught:
        manifests.load(b'{"schema_version": 4, "all": "else is different"}', "m.json")
    assert str(caught.value) == "m.json: expected schema version 3, got 4; update hidemia"


def test_etag_is_opaque_and_belongs_to_the_pair(model):
    client, server = (manifests.load((path / "manifest.json").read_bytes()) for path in (model.client, model.server))
    assert client.etag == server.etag
    assert len(client.etag) == 18
    assert client.etag.strip('"') not in client.pair_id


def test_serves(tiny):
    graph = tiny.graph_entry("hide", b"x", [], [], batch=(2, 8))
    assert [graph.serves(n) for n in (1, 2, 8, 9)] == [False, True, True, False]
    assert tiny.graph_entry("hide", b"x", [], [], batch=(1, None)).serves(1000)


@pytest.mark.parametrize("deep", [b"[", b'{"a":'])
def test_a_manifest_nested_too_deep(deep):
    with pytest.raises(BundleError, match="not a valid manifest"):
        manifests.load(b'{"schema_version": 1, "x": ' + deep * 100_000)
