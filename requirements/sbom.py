"""Write the CycloneDX SBOM of an environment that was installed from the lock: `make lock` calls it.

Names, versions and licences, the same bytes for the same environment. Web addresses are left out: they say nothing
that the package's name does not.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path


def main(environment: str, out: str) -> None:
    """Write `out` for the environment in that folder."""
    (python,) = Path(environment).glob("bin/python")
    (packages,) = Path(environment).glob("lib/python*/site-packages")
    command = (sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", "pyproject.toml", "--sv", "1.6")
    done = subprocess.run([*command, "--output-reproducible", str(python)], check=True, capture_output=True)  # noqa: S603
    bom = json.loads(done.stdout)
    written = {item.metadata["Name"]: item.metadata["License"] for item in distributions(path=[str(packages)])}
    for component in [bom["metadata"]["component"], *bom["components"], *bom["metadata"]["tools"]["components"]]:
        component.pop("externalReferences", None)
        if component["name"] in written and not component.get("licenses"):  # free text, which the tool leaves out
            component["licenses"] = [{"license": {"name": written[component["name"]]}}]
    Path(out).write_text(json.dumps(bom, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
