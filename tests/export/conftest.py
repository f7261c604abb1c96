import pytest
from tests.micro import micro_config, micro_system

from hidemia.training.weights import save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Untrained micro networks, as `hidemia train` leaves them."""
    folder = tmp_path_factory.mktemp("weights")
    config = micro_config()
    save_weights(micro_system(config), config, folder, half=True)
    return folder
