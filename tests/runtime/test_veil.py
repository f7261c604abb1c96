"""The veil: its arithmetic by hand, that it inverts, that it is even, and that nothing shows through it."""

import hashlib
import shutil

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
THREADS = EngineSettings(threads=1)
REACHES = st.integers(1, 16)


def blue(reach: int, key: str = KEY) -> Veil:
    return Veil(reach=reach, colours="blue", key=key)


ONE = blue(1)


def near(sent: np.ndarray, reach: int, seed: int = 0) -> np.ndarray:
    """A reply that uses all of the reach."""
    moved = sent.astype(int)
    moved[..., 2] += np.random.default_rng(seed).integers(-reach, reach + 1, sent.shape[:2])
    return np.clip(moved, 0, 255).astype(np.uint8)


def drawn(purpose: bytes, seed: bytes, sent: np.ndarray, reach: int, count: int) -> list[int]:
    """Levels of a window, a byte at a time."""
    circle, name = 2 * reach + 1, f"hidemia veil 2 blue {reach}\0".encode()
    photo = hashlib.sha256(sent.tobytes()).digest()
    found = hashlib.shake_256(name + bytes.fromhex(KEY) + purpose + b"\0" + photo + seed).digest(4 * count + 64)
    share = 256 // circle
    return [byte // share for byte in found if byte < share * circle][:count]


def test_windows_by_hand():
    sent = np.full((7, 3), 77, np.uint8)
    sent[:, 2] = [0, 1, 2, 100, 253, 254, 255]
    assert veil.lowest(sent, blue(1)).ravel().tolist() == [0, 0, 1, 99, 252, 253, 253]
    assert veil.lowest(sent, blue(3)).ravel().tolist() == [0, 0, 0, 97, 249, 249, 249]


@pytest.mark.parametrize(("reach", "length"), [(1, 81), (2, 56), (16, 26)])
def test_one_photo_by_hand(reach, length):
    """The mark is a hash of photo and reply, of at least 128 bits; the steps are drawn from it."""
    sent = np.random.default_rng(1).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    reply = near(sent, reach)
    reply.reshape(-1, 3)[:length] = sent.reshape(-1, 3)[:length]
    low = np.clip(sent[..., 2].astype(int), reach, 255 - reach) - reach
    places = (reply[..., 2] - low).astype(np.uint8)
    mark = drawn(b"mark", hashlib.sha256(places.tobytes()).digest(), sent, reach, length)
    assert (2 * reach + 1) ** length >= 2**128
    moved = (places.ravel() + drawn(b"steps", bytes(mark), sent, reach, 100)) % (2 * reach + 1)
    moved[:length] = mark
    veiled = veil.put(reply, sent, blue(reach))
    assert veiled[..., 2].tolist() == (low + moved.reshape(10, 10)).tolist()
    assert np.array_equal(veiled[..., :2], sent[..., :2])


@given(sent=arrays(np.uint8, (10, 10, 3)), reach=REACHES, seed=st.integers(0, 9))
def test_what_is_put_on_comes_off(sent, reach, seed):
    """All but the first values, in which the mark travels."""
    pair, reply = blue(reach), near(sent, reach, seed)
    veiled = veil.put(reply, sent, pair)
    assert veiled.dtype == np.uint8
    assert veil.outside(veiled, sent, blue(reach)) == 0
    lifted = veil.lift(veiled, sent, pair)
    assert lifted.is_genuine
    assert np.array_equal(lifted.reply.reshape(-1, 3)[81:], reply.reshape(-1, 3)[81:])
    assert np.array_equal(lifted.reply.reshape(-1, 3)[:26], sent.reshape(-1, 3)[:26])
    assert np.array_equal(lifted.reply[..., :2], sent[..., :2])


@given(place=st.integers(0, 99), by=st.integers(1, 4), reach=st.integers(2, 16))
def test_no_value_can_be_changed(place, by, reach):
    """Not even within its window, where it would read as another value; nor in the mark itself."""
    sent = np.random.default_rng(2).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    pair = blue(reach)
    veiled = veil.put(near(sent, reach), sent, pair)
    changed, low = veiled.copy(), veil.lowest(sent, pair).ravel()
    levels = changed[..., 2].ravel().astype(int)
    levels[place] = low[place] + (levels[place] - low[place] + by) % (2 * reach + 1)
    changed[..., 2] = levels.reshape(10, 10)
    assert not np.array_equal(changed, veiled)
    assert veil.outside(changed, sent, blue(reach)) == 0
    assert not veil.lift(changed, sent, pair).is_genuine


def test_a_veil_over_all_colours():
    """The same in every value: what is put on comes off, is even, and no value can be changed."""
    pair = Veil(reach=1, colours="all", key=KEY)
    draw = np.random.default_rng(4)
    sent = draw.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    reply = np.clip(sent.astype(int) + draw.integers(-1, 2, sent.shape), 0, 255).astype(np.uint8)
    veiled = veil.put(reply, sent, pair)
    lifted = veil.lift(veiled, sent, pair)
    assert lifted.is_genuine
    assert np.array_equal(lifted.reply.ravel()[81:], reply.ravel()[81:])
    assert np.array_equal(lifted.reply.ravel()[:81], sent.ravel()[:81])
    low = np.clip(sent.astype(int), 1, 254) - 1
    assert chisquare(np.bincount((veiled - low).ravel(), minlength=3)).pvalue > 1e-4
    veiled[30, 3, 1] = low[30, 3, 1] + (veiled[30, 3, 1] - low[30, 3, 1] + 1) % 3
    assert veil.outside(veiled, sent, pair) == 0
    assert not veil.lift(veiled, sent, pair).is_genuine


@pytest.mark.parametrize("colour", [0, 1])
def test_no_other_colour_can_be_changed(colour):
    """Not by one level, which in blue would lie in the window."""
    sent = np.random.default_rng(2).integers(1, 255, (10, 10, 3), dtype=np.uint8)
    changed = veil.put(near(sent, 1), sent, ONE)
    changed[4, 5, colour] += 1
    assert veil.outside(changed, sent, ONE) == 1
    assert not veil.lift(changed, sent, ONE).is_genuine


def test_two_replies_to_one_photo_share_no_steps():
    """Servers that round differently answer alike but in a few values; what travels differs in two of three."""
    sent = np.random.default_rng(3).integers(10, 240, (64, 64, 3), dtype=np.uint8)
    first = near(sent, 1)
    second = first.copy()
    second[40, 40, 2] = sent[40, 40, 2] + (1 if first[40, 40, 2] != sent[40, 40, 2] + 1 else 0)
    apart = (veil.put(first, sent, ONE) != veil.put(second, sent, ONE))[..., 2]
    assert abs(apart.mean() - 2 / 3) < 4 * np.sqrt(2 / 9 / apart.size)
    assert np.array_equal(veil.put(first, sent, ONE), veil.put(first.copy(), sent, ONE))


def test_a_stream_that_is_read_too_short_is_read_further(monkeypatch):
    sent = np.zeros((70, 70, 3), np.uint8)
    expected = veil.put(sent, sent, ONE)
    monkeypatch.setattr(veil, "_SPARE", -80)  # of the mark a byte or two, of the steps a few too few
    assert np.array_equal(veil.put(sent, sent, ONE), expected)


@pytest.mark.parametrize("reach", [1, 2, 5])
@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_what_travels_is_even_whatever_the_reply_was(reach, level):
    """Chi-squared over the levels of a window; a reply of one level would fill one of them."""
    sent = np.full((224, 224, 3), level, np.uint8)
    veiled = veil.put(sent, sent, blue(reach))
    counts = np.bincount((veiled[..., 2:] - veil.lowest(sent, blue(reach))).ravel(), minlength=2 * reach + 1)
    assert len(counts) == 2 * reach + 1
    assert chisquare(counts).pvalue > 1e-4


def test_nothing_of_a_shape_shows_through():
    """A disc that is one level bluer: seen at once in the difference, and no longer in the veiled one."""
    y, x = np.mgrid[:224, :224]
    disc = (y - 100) ** 2 + (x - 120) ** 2 < 50**2
    sent = np.random.default_rng(0).integers(10, 240, (224, 224, 3), dtype=np.uint8)
    reply = sent.copy()
    reply[..., 2] += disc
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
        lifted = veil.lift(veiled, photo, blue(1, key))
        assert not lifted.is_genuine
        assert 0.6 < np.mean(lifted.reply[..., 2] != photo[..., 2]) < 0.73  # two in three


def test_a_key_is_not_printed():
    assert KEY not in f"{ONE} {ONE!r}"


def test_a_reply_beyond_the_reach_is_never_sent():
    sent = np.full((4, 4, 3), 50, np.uint8)
    reply = sent.copy()
    reply[0, 0] = 50, 51, 52
    with pytest.raises(EngineError) as caught:
        veil.put(reply, sent, ONE)
    assert str(caught.value) == (
        "analyze: expected the photo but for the 3 levels in blue of the manifest's veil, got 2 of 48 "
        "values beyond; export the bundle again"
    )


NONE = [{"reach": 0}, {"reach": 17}, {"key": KEY[:-1]}, {"key": KEY.replace("0", "G")}, {"colours": "green"}]


@pytest.mark.parametrize("wrong", NONE)
def test_no_other_veil_is_read_or_made(wrong):
    right = {"reach": 1, "colours": "blue", "key": KEY}
    assert msgspec.convert(right, Veil) == Veil(**right) == ONE
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(right | wrong, Veil)
    with pytest.raises(ValueError, match=r"Expected a reach|non-hexadecimal"):
        Veil(**(right | wrong))


def test_a_veil_of_unknown_colours_is_not_read():
    with pytest.raises(msgspec.ValidationError, match="colours"):
        msgspec.convert({"reach": 1, "key": KEY}, Veil)


def test_a_veil_in_words():
    assert f"{ONE}" == "3 levels in blue"
    assert str(Veil(reach=2, colours="all", key=KEY)) == "5 levels in all colours"


@pytest.fixture(scope="module")
def veiled(tiny, tmp_path_factory):
    """The tiny model, whose replies change values by 2 levels at most, under a veil of that reach."""
    return tiny.make_model(tmp_path_factory.mktemp("veiled"), veil=blue(2))


@pytest.fixture(scope="module")
def pair(veiled):
    with Client.load(veiled.client, engine=THREADS) as device, Server.load(veiled.server, engine=THREADS) as analyzer:
        yield device, analyzer


@pytest.fixture(scope="module")
def plainly(veiled, tmp_path_factory):
    """The same graphs without a veil."""
    folder = tmp_path_factory.mktemp("plainly")
    for role in ("client", "server"):
        shutil.copytree(getattr(veiled, role), folder / role)
        manifest = manifests.load((folder / role / manifests.FILE_NAME).read_bytes())
        bare = msgspec.structs.replace(manifest, veil=None)
        (folder / role / manifests.FILE_NAME).write_bytes(manifests.dump(bare))
    with (
        Client.load(folder / "client", engine=THREADS) as device,
        Server.load(folder / "server", engine=THREADS) as analyzer,
    ):
        yield device, analyzer


def test_a_trip_under_the_veil(pair, plainly, tiny, rng):
    """The result is that of the same model without one; the photo that travels is not the reply."""
    (device, analyzer), (client, server) = pair, plainly
    sent = device.hide(tiny.secret(), tiny.photo(rng))
    veiled, bare = analyzer.analyze(sent), server.analyze(sent)
    lifted = veil.lift(veiled, sent, analyzer.manifest.veil).reply
    assert np.array_equal(lifted.reshape(-1, 3)[56:], bare.reshape(-1, 3)[56:])
    assert np.array_equal(veiled[..., :2], sent[..., :2])
    assert np.mean(veiled[..., 2] != bare[..., 2]) > 0.7
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
    reply[5, 5, :2] += 1
    reply[5, 6, 2] = veil.lowest(sent, blue(2))[5, 6, 0] - 1
    with pytest.raises(ReplyError) as caught:
        device.recover(reply, sent=sent)
    assert str(caught.value) == (
        "reply: expected the photo sent but for the veil's 5 levels in blue, got 3 of 12288 values "
        "beyond; another photo was answered or it was altered: send again"
    )


def test_a_reply_that_was_touched_within_its_windows_is_refused(pair, tiny, rng):
    """And one that another server made, or that was drawn by chance."""
    device, analyzer = pair
    sent = device.hide(tiny.secret(), tiny.photo(rng))
    reply, low = analyzer.analyze(sent), veil.lowest(sent, blue(2))[..., 0]
    touched = reply.copy()
    touched[30, 30, 2] = low[30, 30] + (reply[30, 30, 2] - low[30, 30] + 1) % 5
    other = veil.put(veil.lift(reply, sent, device.manifest.veil).reply, sent, blue(2, "11" * 32))
    chance = sent.copy()
    chance[..., 2] = low + rng.integers(0, 5, low.shape, dtype=np.uint8)
    for wrong in (touched, other, chance, analyzer.analyze(reply)):
        with pytest.raises(ReplyError, match=r"mark of this pair's server on this very reply|of 12288 values beyond"):
            device.recover(wrong, sent=sent)


def test_halves_of_which_one_has_no_veil_get_no_result(pair, plainly, tiny, rng):
    (device, analyzer), (client, server) = pair, plainly
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
        pytest.raises(EngineError, match="3 levels in blue of the manifest's veil"),
    ):
        analyzer.analyze(tiny.photo(rng))


def test_a_server_of_another_key_is_another_server(veiled, model):
    """The tag by which a client knows its server changes with the key, and does not give it away."""
    manifest = manifests.load((veiled.client / manifests.FILE_NAME).read_bytes())
    bare = manifests.load((model.client / manifests.FILE_NAME).read_bytes())
    other = msgspec.structs.replace(manifest, veil=blue(2, "11" * 32))
    further = msgspec.structs.replace(manifest, veil=blue(3))
    wider = msgspec.structs.replace(manifest, veil=Veil(reach=2, colours="all", key=KEY))
    every = (manifest, bare, other, further, wider)
    assert len({found.etag for found in every}) == 5
    assert all(len(found.etag) == 18 for found in every)
