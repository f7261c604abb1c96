from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest

from hidemia.runtime import CoverError, CoverPool, covers, photo


@pytest.fixture
def folder(tmp_path, tiny, rng):
    """Two photos with four and two tiles of 64 px, one that is too small, one flat, one that is no image."""
    path = tmp_path / "covers"
    (path / "sub").mkdir(parents=True)
    cv2.imwrite(str(path / "a.png"), tiny.photo(rng, 140, 150))
    cv2.imwrite(str(path / "sub" / "b.png"), tiny.photo(rng, 64, 190))
    cv2.imwrite(str(path / "small.png"), tiny.photo(rng, 63, 300))
    cv2.imwrite(str(path / "flat.png"), np.full((128, 128, 3), 90, np.uint8))
    (path / "text.jpg").write_text("no image")
    (path / "notes.txt").write_text("not looked at")
    return path


def take_all(pool, start=0):
    taken = []
    try:
        for number in range(start, start + 100):
            taken.append(pool.take(b"%d" % number, 64))  # noqa: PERF401  the error is the end
    except CoverError as error:
        return taken, str(error)
    pytest.fail("the covers never end")


def test_every_tile_once(folder):
    taken, message = take_all(CoverPool(folder))
    assert len({tile.tobytes() for tile in taken}) == len(taken) == 6
    assert all(tile.shape == (64, 64, 3) for tile in taken)
    assert message == (f"{folder}: expected an unused tile of 64x64 px, got none left of 5 photos; add private photos")


def test_tiles_are_pixels_of_the_photos(folder):
    image = photo.load(folder / "a.png")
    tiles = list(covers.tiles(image, 64))
    assert len(tiles) == 4
    assert np.array_equal(tiles[0], image[6:70, 11:75])
    assert np.array_equal(tiles[3], image[70:134, 75:139])


def test_used_tiles_stay_used_after_a_restart(folder):
    first = CoverPool(folder).take(b"x", 64)
    rest, _ = take_all(CoverPool(folder))
    assert len(rest) == 5
    assert first.tobytes() not in {tile.tobytes() for tile in rest}
    assert take_all(CoverPool(folder), start=500)[0] == []


def test_the_same_binding_gets_the_same_tile(folder):
    first = CoverPool(folder).take(b"x", 64)
    CoverPool(folder).take(b"y", 64)
    pool = CoverPool(folder)
    assert np.array_equal(pool.take(b"x", 64), first)
    take_all(pool)
    assert np.array_equal(pool.take(b"x", 64), first)


def test_a_frozen_frame_is_not_searched_for(folder, monkeypatch):
    pool = CoverPool(folder)
    first = pool.take(b"x", 64)
    monkeypatch.setattr(photo, "load", None)
    assert np.array_equal(pool.take(b"x", 64), first)


def test_two_pools_share_nothing(folder):
    """As two processes would: each looks at the folder before the other takes from it."""
    one, two = CoverPool(folder), CoverPool(folder)
    taken = [pool.take(name, 64).tobytes() for name, pool in [(b"a", one), (b"b", two), (b"c", one), (b"d", two)]]
    assert len(set(taken)) == 4


def test_photos_added_later_are_found_by_a_new_pool(folder, tiny):
    take_all(CoverPool(folder))
    cv2.imwrite(str(folder / "new.png"), tiny.photo(np.random.default_rng(5), 64, 64))
    assert len(take_all(CoverPool(folder), start=500)[0]) == 1


def test_low_and_unusable_are_logged(folder, caplog):
    with caplog.at_level(logging.WARNING):
        CoverPool(folder, warn_below=6).take(b"x", 64)
    lines = [record.getMessage() for record in caplog.records]
    assert f"{folder}: 5 covers of 64x64 px are left; add photos" in lines
    assert any(line.startswith("left out of the covers: ") and "text.jpg" in line for line in lines)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        CoverPool(folder, warn_below=3).take(b"y", 64)
    assert not caplog.records


def test_low_is_said_once(folder, caplog):
    pool = CoverPool(folder, warn_below=6)
    with caplog.at_level(logging.WARNING):
        taken, _ = take_all(pool)
    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if "are left" in line] == [f"{folder}: 5 covers of 64x64 px are left; add photos"]
    assert len(taken) == 6


def test_how_many_are_left(folder):
    (folder / "copy.png").write_bytes((folder / "a.png").read_bytes())
    pool = CoverPool(folder)
    assert pool.left(64) == 6
    assert pool.left(64, enough=3) == 3
    assert pool.left(128) == 1
    pool.take(b"x", 64)
    assert pool.left(64) == 5
    assert pool.left(64, enough=9) == 5
    take_all(pool)
    assert pool.left(64) == 0
    pool.require(1, 128)
    with pytest.raises(CoverError) as caught:
        CoverPool(folder).require(3, 64)
    assert str(caught.value) == (
        f"{folder}: expected 3 unused tiles of 64x64 px, got 0 in 6 photos; add private photos or ask for fewer frames"
    )


def test_counting_takes_nothing(folder):
    pool = CoverPool(folder)
    first = CoverPool(folder).left(64)
    assert len(take_all(pool)[0]) == first == 6


def test_no_folder_and_no_photos(tmp_path):
    with pytest.raises(CoverError) as caught:
        CoverPool(tmp_path / "none")
    assert str(caught.value) == f"{tmp_path / 'none'}: expected a folder of photos, got none; check the path"
    assert caught.value.exit_code == 2
    with pytest.raises(CoverError, match="expected photos as covers, got none; add some"):
        CoverPool(tmp_path)


def test_usable(tiny, rng):
    tile = tiny.photo(rng)
    assert covers.is_usable(tile)
    assert not covers.is_usable(np.full_like(tile, 128))
    clipped = tile.copy()
    clipped[:20] = 255
    assert not covers.is_usable(clipped)
