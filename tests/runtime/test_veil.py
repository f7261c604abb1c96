"""The veil: its arithmetic by hand, that it inverts, that it is even, and that nothing shows through it."""

import hashlib

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chisquare

from hidemia.runtime import Client, EngineError, ReplyError, Server, png, veil
from hidemia.runtime import manifest as manifests
from hidemia.runtime.app import PhotoService
from hidemia.runtime.engine import EngineSettings
from hidemia.runtime.veil import Veil

KEY = "00" * 31 + "01"
ONE = Veil(reach=1, key=KEY)
THREADS = EngineSettings(threads=1)
REACHES = st.integers(1, 16)


def near(sent: np.ndarray, reach: int, seed: int = 0) -> np.ndarray:
    """A reply that uses all of the reach."""
    moved = sent.astype(int) + np.random.default_rng(seed).integers(-reach, reach + 1, sent.shape)
    return np.clip(moved, 0, 255).astype(np.uint8)


def drawn(purpose: bytes, seed: bytes, sent: np.ndarray, reach: int, count: int) -> list[int]:
    """Levels of a window, a byte at a time."""
    stream = b"hidemia veil 1\0" + bytes.fromhex(KEY) + purpose + b"\0" + hashlib.sha256(sent.tobytes()).digest() + seed
    circle = 2 * reach + 1
    found = hashlib.shake_256(stream).digest(4 * count + 64)
    share = 256 // circle
    return [byte // share for byte in found if byte < share * circle][:count]


def test_windows_by_hand():
    sent = np.uint8([0, 1, 2, 100, 253, 254, 255])
    assert veil.lowest(sent, 1).tolist() == [0, 0, 1, 99, 252, 253, 253]
    assert veil.lowest(sent, 3).tolist() == [0, 0, 0, 97, 249, 249, 249]


@pytest.mark.parametrize(("reach", "length"), [(1, 81), (2, 56), (16, 26)])
def test_one_photo_by_hand(reach, length):
    """The mark is a hash of photo and reply, of at least 128 bits; the steps are drawn from it."""
    sent = np.random.default_rng(1).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    reply = near(sent, reach)
    reply.reshape(-1)[:length] = sent.reshape(-1)[:length]
    low = np.clip(sent.astype(int), reach, 255 - reach) - reach
    places = (reply - low).astype(np.uint8)
    mark = drawn(b"mark", hashlib.sha256(places.tobytes()).digest(), sent, reach, length)
    assert (2 * reach + 1) ** length >= 2**128
    moved = (places.ravel() + drawn(b"steps", bytes(mark), sent, reach, sent.size)) % (2 * reach + 1)
    moved[:length] = mark
    veiled = veil.put(reply, sent, Veil(reach=reach, key=KEY))
    assert veiled.tolist() == (low + moved.reshape(6, 6, 3)).tolist()


@given(sent=arrays(np.uint8, (8, 8, 3)), reach=REACHES, seed=st.integers(0, 9))
def test_what_is_put_on_comes_off(sent, reach, seed):
    """All but the first values, in which the mark travels."""
    pair, reply = Veil(reach=reach, key=KEY), near(sent, reach, seed)
    veiled = veil.put(reply, sent, pair)
    assert veiled.dtype == np.uint8
    assert veil.outside(veiled, sent, reach) == 0
    lifted = veil.lift(veiled, sent, pair)
    assert lifted.is_genuine
    assert np.array_equal(lifted.reply.ravel()[81:], reply.ravel()[81:])
    assert np.array_equal(lifted.reply.ravel()[:26], sent.ravel()[:26])


@given(place=st.integers(0, 191), by=st.integers(1, 4), reach=st.integers(2, 16))
def test_no_value_can_be_changed(place, by, reach):
    """Not even within its window, where it would read as another value; nor in the mark itself."""
    sent = np.random.default_rng(2).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    pair = Veil(reach=reach, key=KEY)
    veiled = veil.put(near(sent, reach), sent, pair)
    changed, low = veiled.reshape(-1).astype(int), veil.lowest(sent, reach).reshape(-1)
    changed[place] = low[place] + (changed[place] - low[place] + by) % (2 * reach + 1)
    changed = changed.astype(np.uint8).reshape(sent.shape)
    assert veil.outside(changed, sent, reach) == 0
    assert not veil.lift(changed, sent, pair).is_genuine


def test_two_replies_to_one_photo_share_no_steps():
    """Servers that round differently answer alike but in a few values; what travels differs in two of three."""
    sent = np.random.default_rng(3).integers(10, 240, (64, 64, 3), dtype=np.uint8)
    first = near(sent, 1)
    second = first.copy()
    second[40, 40, 1] = sent[40, 40, 1] + (1 if first[40, 40, 1] != sent[40, 40, 1] + 1 else 0)
    apart = veil.put(first, sent, ONE) != veil.put(second, sent, ONE)
    assert abs(apart.mean() - 2 / 3) < 4 * np.sqrt(2 / 9 / apart.size)
    assert np.array_equal(veil.put(first, sent, ONE), veil.put(first.copy(), sent, ONE))


def test_a_stream_that_is_read_too_short_is_read_further(monkeypatch):
    sent = np.zeros((40, 40, 3), np.uint8)
    expected = veil.put(sent, sent, ONE)
    monkeypatch.setattr(veil, "_SPARE", -80)  # of the mark a byte or two, of the steps a few too few
    assert np.array_equal(veil.put(sent, sent, ONE), expected)


@pytest.mark.parametrize("reach", [1, 2, 5])
@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_what_travels_is_even_whatever_the_reply_was(reach, level):
    """Chi-squared over the levels of a window; a reply of one level would fill one of them."""
    sent = np.full((224, 224, 3), level, np.uint8)
    veiled = veil.put(sent, sent, Veil(reach=reach, key=KEY))
    counts = np.bincount((veiled - veil.lowest(sent, reach)).ravel(), minlength=2 * reach + 1)
    assert len(counts) == 2 * reach + 1
    assert chisquare(counts).pvalue > 1e-4


def test_nothing_of_a_shape_shows_through():
    """A disc that is one level brighter: seen at once in the difference, and no longer in the veiled one."""
    y, x = np.mgrid[:224, :224]
    disc = (y - 100) ** 2 + (x - 120) ** 2 < 50**2
    sent = np.random.default_rng(0).integers(10, 240, (224, 224, 3), dtype=np.uint8)
    reply = (sent + disc[..., None]).astype(np.uint8)
    for seen, found in ((reply, True), (veil.put(reply, sent, ONE), False)):
        apart = (seen.astype(int) - sent).mean(axis=2)
        correlation = np.corrcoef(apart.ravel(), disc.ravel())[0, 1]
        assert (abs(correlation) > 0.9) == found
        assert found or abs(correlation) < 4 / 224  # four standard errors of 224 * 224 pixels that know nothing


def test_another_key_or_photo_opens_nothing():
    sent = np.full((32, 32, 3), 9, np.uint8)
    veiled, other = veil.put(sent, sent, ONE), sent.copy()
    other[0, 0, 0] = 8
    for photo, key in ((other, KEY), (sent, "ff" * 32)):
        lifted = veil.lift(veiled, photo, Veil(reach=1, key=key))
        assert not lifted.is_genuine
        assert 0.6 < np.mean(lifted.reply != sent) < 0.73  # two in three


def test_a_key_is_not_printed():
    assert KEY not in f"{ONE} {ONE!r}"


def test_a_reply_beyond_the_reach_is_never_sent():
    sent = np.full((4, 4, 3), 50, np.uint8)
    reply = sent.copy()
    reply[0, 0, 0] = 52
    with pytest.raises(EngineError) as caught:
        veil.put(reply, sent, ONE)
    assert str(caught.value) == (
        "analyze: expected replies within 1 of the photo's levels, as the manifest's veil reaches, "
        "got 1 of 48 values beyond; export the bundle again"
    )


@pytest.mark.parametrize(("reach", "key"), [(0, KEY), (17, KEY), (1, KEY[:-1]), (1, KEY.replace("0", "G"))])
def test_no_other_veil_is_read(reach, key):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"reach": reach, "key": key}, Veil)


@pytest.fixture(scope="module")
def veiled(tiny, tmp_path_factory):
    """The tiny model, whose replies change values by 2 levels at most, under a veil of that reach."""
    return tiny.make_model(tmp_path_factory.mktemp("veiled"), veil=Veil(reach=2, key=KEY))


@pytest.fixture(scope="module")
def pair(veiled):
    with Client.load(veiled.client, engine=THREADS) as device, Server.load(veiled.server, engine=THREADS) as analyzer:
        yield device, analyzer


def test_a_trip_under_the_veil(pair, server, client, tiny, rng):
    """The result is that of the same model without one; the photo that travels is not the reply."""
    device, analyzer = pair
    sent = device.hide(tiny.secret(), tiny.photo(rng))
    veiled, bare = analyzer.analyze(sent), server.analyze(sent)
    lifted = veil.lift(veiled, sent, analyzer.manifest.veil).reply
    assert np.array_equal(lifted.ravel()[56:], bare.ravel()[56:])
    assert np.mean(veiled != bare) > 0.7
    result, expected = device.recover(veiled, sent=sent), client.recover(lifted, sent=sent)
    assert np.array_equal(result.probability, expected.probability)
    assert result.integrity == expected.integrity
    assert np.array_equal(device.probability(veiled, sent=sent), expected.probability)
    assert np.array_equal(result.probability[1:], client.recover(bare, sent=sent).probability[1:])


def test_a_batch_is_veiled_photo_by_photo(pair, tiny, rng):
    _, analyzer = pair
    photos = np.stack([tiny.photo(rng), tiny.photo(rng)])
    assert np.array_equal(analyzer.analyze(photos), np.stack([analyzer.analyze(photo) for photo in photos]))


def test_over_the_wire(pair, tiny, rng):
    device, analyzer = pair
    with tiny.running(PhotoService(analyzer).photos) as url:
        result = device.send(tiny.secret(), url, cover=tiny.photo(rng), allow_reuse=True)
    assert np.array_equal(result.mask[1:] == 255, (tiny.secret()[..., 0] > 128)[1:])  # the mark is in the first row


def test_a_reply_that_was_touched_is_refused(pair, tiny, rng):
    device, analyzer = pair
    sent = device.hide(tiny.secret(), tiny.photo(rng))
    reply = analyzer.analyze(sent)
    reply[5, 5, 1] = veil.lowest(sent, 2)[5, 5, 1] - 1
    with pytest.raises(ReplyError) as caught:
        device.recover(reply, sent=sent)
    assert str(caught.value) == (
        "reply: expected every value within the veil's 5 levels around that of the photo sent, got 1 of 12288 "
        "beyond; it answers another photo or was altered on the way: send again"
    )


def test_a_reply_that_was_touched_within_its_windows_is_refused(pair, tiny, rng):
    """And one that another server made, or that was drawn by chance."""
    device, analyzer = pair
    sent = device.hide(tiny.secret(), tiny.photo(rng))
    reply, low = analyzer.analyze(sent), veil.lowest(sent, 2)
    touched = reply.copy()
    touched[30, 30, 1] = low[30, 30, 1] + (reply[30, 30, 1] - low[30, 30, 1] + 1) % 5
    other = veil.put(veil.lift(reply, sent, device.manifest.veil).reply, sent, Veil(reach=2, key="11" * 32))
    chance = low + rng.integers(0, 5, low.shape, dtype=np.uint8)
    for wrong in (touched, other, chance, analyzer.analyze(reply)):
        with pytest.raises(ReplyError, match=r"mark of this pair's server on this very reply|of 12288 beyond"):
            device.recover(wrong, sent=sent)


def test_halves_of_which_one_has_no_veil_get_no_result(pair, client, server, tiny, rng):
    device, analyzer = pair
    sent = device.hide(tiny.secret(), tiny.photo(rng))
    with pytest.raises(ReplyError, match="mark of this pair's server"):
        device.recover(server.analyze(sent), sent=sent)
    assert client.manifest.etag != analyzer.manifest.etag  # by which it is refused on the wire


def test_an_echo_is_called_one(pair, tiny, rng):
    device, _ = pair
    sent = device.hide(tiny.secret(), tiny.photo(rng))
    with pytest.raises(ReplyError, match="got the same photo; the server did not analyse it"):
        device.recover(png.decode(png.encode(sent)), sent=sent)


def test_a_server_that_reaches_too_far_says_so(tiny, tmp_path, rng):
    model = tiny.make_model(tmp_path / "m", veil=ONE)
    with (
        Server.load(model.server, engine=THREADS) as analyzer,
        pytest.raises(EngineError, match="within 1 of the photo's levels"),
    ):
        analyzer.analyze(tiny.photo(rng))


def test_a_server_of_another_key_is_another_server(veiled, model):
    """The tag by which a client knows its server changes with the key, and does not give it away."""
    manifest = manifests.load((veiled.client / manifests.FILE_NAME).read_bytes())
    bare = manifests.load((model.client / manifests.FILE_NAME).read_bytes())
    other = msgspec.structs.replace(manifest, veil=Veil(reach=2, key="11" * 32))
    further = msgspec.structs.replace(manifest, veil=Veil(reach=3, key=KEY))
    assert len({found.etag for found in (manifest, bare, other, further)}) == 4
    assert all(len(found.etag) == 18 for found in (manifest, bare, other, further))
