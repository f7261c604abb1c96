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
