"""The bundles inside the package are what export makes of the weights in the repository."""

from pathlib import Path

import pytest

from hidemia.export import proof
from hidemia.export.bundles import export_model
from hidemia.export.probes import SIMULATED, simulated
from hidemia.runtime import defaults
from hidemia.runtime.bundle import Bundle

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory):
    out = tmp_path_factory.mktemp("rebuilt") / defaults.MODEL
    # FP16, which is for GPUs, and the server's INT8 analyzer are left out for their size; `make export` writes them.
    client, server = (
        {graph.precision for graph in Bundle.open(defaults.bundle(role), role).manifest.graphs}
        for role in ("client", "server")
    )
    probes = simulated(SIMULATED, 224)  # as `make export` has them: what INT8 loses is held to its bound here too
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proof, "MEASURED_RUNS", 1)  # what a run takes is in no file that is compared
        export_model(
            ROOT / "weights" / defaults.MODEL, out, probes, public_key=True,
            precisions=client, server_precisions=server,
        )  # fmt: skip
    return out


@pytest.mark.parametrize("role", ["client", "server"])
def test_packaged_bundles_are_the_exported_ones(rebuilt, role):
    packaged = Path(defaults.bundle(role))
    names = sorted(file.name for file in (rebuilt / role).iterdir())
    assert sorted(file.name for file in packaged.iterdir()) == names
    for name in names:
        if name != "measured.json":
            assert (packaged / name).read_bytes() == (rebuilt / role / name).read_bytes(), name
