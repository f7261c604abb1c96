from pathlib import Path

import pytest
from tests.micro import micro_config, micro_system

from hidemia.export.bundles import export_model
from hidemia.export.probes import simulated
from hidemia.training.weights import save_weights


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Path:
    """`weights` and `bundles` in FP32 of one micro model; to be read, or copied, by all."""
    root = tmp_path_factory.mktemp("exported")
    save_weights(micro_system(micro_config()), micro_config(), root / "weights", bits=16)
    export_model(root / "weights", root / "bundles", simulated(1, 64), public_key=True, precisions=["fp32"])
    return root
