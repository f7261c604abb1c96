from __future__ import annotations

import shutil

import numpy as np
import pytest

from hidemia.runtime import BundleError, Client, ImageError, ReplyError, similarity
from hidemia.runtime import manifest as manifests
from hidemia.runtime.engine import EngineSettings


@pytest.fixture
def trip(client, server, tiny, rng):
    """The sent photo and its reply."""
    sent = client.hide(tiny.secret(), tiny.photo(rng))
    return sent, server.analyze(sent)


def test_hide_recover(client, trip, tiny):
    sent, reply = trip
    result = client.recover(reply, sent=sent)
    assert result.task == "segmentation"
    assert result.classes == ("lesion",)
    assert result.label is None
    assert result.mask.dtype == np.uint8
    assert np.array_equal(result.mask == 255, tiny.secret()[..., 0] > 128)
    assert set(np.unique(result.mask)) == {0, 255}
    assert result.probability.shape == (64, 64)
    assert result.probability.dtype == np.float32
    assert 0 < result.integrity.changed_share < 1
    assert result.integrity.psnr_db > 40
    assert result.timings_ms["recover"] > 0


@pytest.mark.parametrize("size", [(32, 32), (91, 57), (300, 64)])
def test_any_size_goes_in_and_the_mask_comes_back_in_it(client, server, tiny, rng, size):
    sent = client.hide(tiny.secret(*size), tiny.photo(rng, 33, 400))
    assert sent.shape == (64, 64, 3)
    result = client.recover(server.analyze(sent), sent=sent, size=size)
    truth = tiny.secret(*size)[..., 0] > 128
    assert result.mask.shape == size
    assert np.mean((result.mask > 0) == truth) > 0.95


def test_same_input_same_output(client, tiny, rng):
    secret, cover = tiny.secret(), tiny.photo(rng)
    again = client.hide(secret.copy(), np.ascontiguousarray(cover[:, ::-1])[:, ::-1])  # other strides
    assert np.array_equal(client.hide(secret, cover), again)


@pytest.mark.parametrize(
    ("secret", "got"),
    [
        (np.zeros((64, 64), np.uint8), "uint8 (64, 64)"),
        (np.zeros((64, 64, 4), np.uint8), "uint8 (64, 64, 4)"),
        (np.zeros((64, 64, 3), np.float32), "float32 (64, 64, 3)"),
        ([[0]], "list"),
        ("scan.png", "str"),
    ],
)
def test_wrong_arrays(client, tiny, rng, secret, got):
    with pytest.raises(ImageError) as caught:
        client.hide(secret, tiny.photo(rng))
    assert str(caught.value) == (f"secret: expected a uint8 array (H, W, 3) in RGB, got {got}; convert it first")


def test_too_small(client, tiny):
    with pytest.raises(ImageError) as caught:
        client.hide(tiny.secret(), np.zeros((31, 200, 3), np.uint8))
    assert str(caught.value) == "cover: expected at least 32 px a side, got 200x31; use a larger image"


def test_a_reply_that_equals_what_was_sent(client, trip):
    sent, _ = trip
    with pytest.raises(ReplyError) as caught:
        client.recover(sent.copy(), sent=sent)
    assert str(caught.value) == (
        "reply: expected a photo that differs from the one sent, got the same photo; "
        "the server did not analyse it: check the address"
    )


def test_a_reply_to_another_photo(client, server, tiny, trip):
    sent, _ = trip
    other = client.hide(tiny.secret(), tiny.photo(np.random.default_rng(9)))
    with pytest.raises(ReplyError, match=r"expected at least 30\.0 dB against the photo sent, got \d+\.\d dB"):
        client.recover(server.analyze(other), sent=sent)


def test_a_reply_that_hardly_differs(client, trip):
    sent, _ = trip
    reply = sent.copy()
    reply[0, 0, 0] ^= 1
    with pytest.raises(ReplyError, match=r"expected at least 1\.0% of values to differ .* got 0\.0%"):
        client.recover(reply, sent=sent)


def test_a_reply_whose_low_band_moved_too_far(tiny, model, trip, tmp_path):
    sent, reply = trip
    low = similarity.low_change(reply, sent)
    graphs = manifests.load((model.client / "manifest.json").read_bytes()).graphs
    for most, accepted in ((1.01 * low, True), (0.99 * low, False)):
        folder = shutil.copytree(model.client, tmp_path / str(accepted))
        limits = manifests.ReplyLimits(min_psnr_db=30.0, min_changed_share=0.01, max_low_change=most)
        (folder / "manifest.json").write_bytes(
            manifests.dump(tiny.make_manifest("client", graphs, reply_limits=limits))
        )
        with Client.load(folder, engine=EngineSettings(threads=1)) as client:
            if accepted:
                assert client.recover(reply, sent=sent).integrity.low_change == low
            else:
                with pytest.raises(ReplyError, match=rf"within {most:.2f} levels .* got {low:.2f}; it was analysed"):
                    client.recover(reply, sent=sent)


@pytest.mark.parametrize("which", ["reply", "sent"])
def test_photos_are_never_scaled(client, trip, which):
    sent, reply = trip
    photos = {"sent": sent, "reply": reply, which: np.zeros((65, 64, 3), np.uint8)}
    with pytest.raises(ImageError) as caught:
        client.recover(**photos)
    assert str(caught.value) == (
        f"{which}: expected a uint8 array (64, 64, 3) in RGB, got uint8 (65, 64, 3); pass it exactly as it was made"
    )


def test_an_impossible_size(client, trip):
    sent, reply = trip
    with pytest.raises(ImageError, match="expected a height and width of at least 1"):
        client.recover(reply, sent=sent, size=(0, 5))


def test_classification(tiny, tmp_path, server, trip):
    sent, reply = trip
    with Client.load(tiny.make_model(tmp_path / "m", classes=2).client, engine=EngineSettings(threads=1)) as classifier:
        result = classifier.recover(reply, sent=sent)
    assert result.mask is None
    assert result.classes == ("benign", "malignant")
    assert result.probability.shape == (2,)
    assert result.probability.sum() == pytest.approx(1)
    assert result.label == "benign"


def test_a_sealed_reply_says_how_much_of_it_is(tiny, model, server, tmp_path, rng):
    with Client.load(tiny.seal(model, tmp_path, 0.1), engine=EngineSettings(threads=1)) as client:
        stego = client.hide(tiny.secret(), tiny.photo(rng))
        result = client.recover(server.analyze(stego), sent=stego)
    tiles = (result.mask > 0).reshape(8, 8, 8, 8).mean(axis=(1, 3))
    assert result.integrity.seal_share == (tiles >= 0.5).mean()
    assert 0.1 < result.integrity.seal_share < 0.5
    assert result.integrity.seal_strength == pytest.approx(result.probability.mean(), abs=1e-5)


def test_a_reply_without_the_seal_is_refused(tiny, model, server, tmp_path, rng):
    with Client.load(tiny.seal(model, tmp_path, 0.9), engine=EngineSettings(threads=1)) as client:
        stego = client.hide(tiny.secret(), tiny.photo(rng))
        with pytest.raises(ReplyError, match=r"expected the seal of this model's analyzer in at least 90\.0% of it"):
            client.recover(server.analyze(stego), sent=stego)


def test_a_reply_with_too_strong_a_seal_is_refused(tiny, model, server, tmp_path, rng):
    with Client.load(tiny.seal(model, tmp_path, 0.1, 0.15), engine=EngineSettings(threads=1)) as client:
        stego = client.hide(tiny.secret(), tiny.photo(rng))
        with pytest.raises(ReplyError, match=r"with a strength of 0\.150 at most, got 0\.\d{3}; it was analysed more"):
            client.recover(server.analyze(stego), sent=stego)


def test_a_limit_without_a_seal_is_no_manifest(tiny, model):
    graphs = manifests.load((model.client / "manifest.json").read_bytes()).graphs
    data = manifests.dump(tiny.make_manifest("client", graphs))
    text = data.replace(b'"min_seal_share": null', b'"min_seal_share": 0.5')
    with pytest.raises(BundleError, match="Expected min_seal_share where recover gives a seal, and only there"):
        manifests.load(text)
    text = data.replace(b'"max_seal_strength": null', b'"max_seal_strength": 1.5')
    with pytest.raises(BundleError, match="Expected max_seal_strength only beside min_seal_share, got it alone"):
        manifests.load(text)
