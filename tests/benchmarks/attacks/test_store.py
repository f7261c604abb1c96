import numpy as np
import pytest

from hidemia.benchmarks.attacks.store import Store

MADE = np.arange(6).reshape(2, 3)


def test_an_array_is_made_once(tmp_path):
    assert np.array_equal(Store(tmp_path, "k" * 64).get("a", lambda: MADE), MADE)
    again = Store(tmp_path, "k" * 64).get("a", lambda: pytest.fail("made again"))
    assert np.array_equal(again, MADE)


def test_another_key_is_another_store(tmp_path):
    Store(tmp_path, "k" * 64).get("a", lambda: MADE)
    assert np.array_equal(Store(tmp_path, "l" * 64).get("a", lambda: MADE + 1), MADE + 1)


def test_a_damaged_file_is_made_again(tmp_path):
    store = Store(tmp_path, "k" * 64)
    store.get("a", lambda: MADE)
    (file,) = tmp_path.rglob("a.npy")
    file.write_bytes(file.read_bytes()[:-9])
    assert np.array_equal(store.get("a", lambda: MADE + 1), MADE + 1)


def test_what_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        Store(tmp_path, "k" * 64).get("a", lambda: 1 / 0)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]
