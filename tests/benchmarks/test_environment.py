import re

import numpy as np
import pytest

from hidemia.benchmarks.environment import environment, numbered


def test_what_the_machine_tells(tmp_path):
    for name, text in {
        "proc/meminfo": "MemTotal:        8388608 kB\nMemFree: 1 kB\n",
        "proc/cpuinfo": "processor : 0\nmodel name : A Processor\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = environment(2, tmp_path)
    assert (found.memory_mib, found.processor, found.governor, found.threads) == (8192, "A Processor", "performance", 2)
    assert found.versions["numpy"] == np.__version__
    assert re.fullmatch(r"\w+ \d+(\.\d+)?", found.os)


def test_what_it_does_not_tell_is_none(tmp_path):
    found = environment(1, tmp_path)
    assert found.memory_mib is None
    assert found.governor is None


@pytest.mark.parametrize(
    ("system", "shown"),
    [
        ("Linux 6.8.0-45-generic", "Linux 6.8"),
        ("Linux 5.15.148-tegra", "Linux 5.15"),
        ("Linux 6.1.102-vendor-v12+", "Linux 6.1"),
        ("Windows 11", "Windows 11"),
    ],
)
def test_a_kernel_without_its_suffix(system, shown):
    assert numbered(system) == shown
