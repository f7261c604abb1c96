import pytest

from hidemia.benchmarks.latency import stages


def test_the_stages_add_up_to_the_trip():
    found = stages.split(
        {"read the scan": 4.0, "scale": 1.0},
        {"cover": 2.0, "hide": 100.0, "encode": 3.0, "exchange": 60.0, "decode": 2.0, "recover": 200.0},
        {"receive": 0.5, "decode": 2.0, "analyze": 50.0, "encode": 3.0},
        48.0,
        375.0,
    )
    assert list(found) == list(stages.PLACES)
    assert found["queue"] == 2.0
    assert found["analyze"] == 48.0
    assert found["HTTP"] == 60 - 2 - 50 - 3
    assert found["rest"] == pytest.approx(375 - 4 - 1 - 2 - 100 - 3 - 60 - 2 - 200)
    assert sum(found.values()) == pytest.approx(375.0)


def test_engine_seconds_are_read_from_the_servers_metrics():
    text = 'photo_engine_seconds_bucket{le="0.5"} 2.0\nphoto_engine_seconds_count 2.0\nphoto_engine_seconds_sum 0.25\n'
    assert stages.engine_seconds(text) == 0.25
    assert stages.engine_seconds("") == 0.0
