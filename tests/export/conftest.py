import copy

import pytest
from tests.micro import micro_config, micro_system

from hidemia.export.tracing import traced
from hidemia.training.weights import save_weights


@pytest.fixture(scope="session")
def micro_graphs():
    """Every FP32 graph of untrained micro networks, by file name."""
    config = micro_config()
    return traced(micro_system(config), config)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Untrained micro networks, as `hidemia train` leaves them."""
    folder = tmp_path_factory.mktemp("weights")
    config = micro_config()
    save_weights(micro_system(config), config, folder, bits=16)
    return folder


@pytest.fixture
def traced_once(micro_graphs, monkeypatch):
    """Exports take the graphs that were traced for all tests: what follows them is tested."""
    monkeypatch.setattr("hidemia.export.bundles.traced", lambda system, config: copy.deepcopy(micro_graphs))
