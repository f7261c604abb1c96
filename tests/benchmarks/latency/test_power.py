import pytest

from hidemia.benchmarks.latency import power


def lay(root, files):
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")


def none():
    return ""


def test_a_machine_without_a_meter_says_so(tmp_path):
    assert power.find(tmp_path, none) is None
    found = power.measure(None, lambda: None, 1)
    assert found.idle_w is None
    assert "no NVIDIA GPU" in found.reason


def test_rapl_sums_packages_and_leaves_their_parts_out(tmp_path):
    folder = "sys/class/powercap/intel-rapl:"
    lay(tmp_path, {f"{folder}0/energy_uj": 3_000_000, f"{folder}1/energy_uj": 4_000_000,
                   f"{folder}0:0/energy_uj": 1_000_000, f"{folder}0/max_energy_range_uj": 50_000_000,
                   f"{folder}1/max_energy_range_uj": 50_000_000})  # fmt: skip
    meter = power.find(tmp_path, none)
    assert meter.energy
    assert meter.read() == 7.0
    assert meter.wraps_j == 100.0
    assert "RAPL" in meter.name


def test_a_jetsons_rail_is_volts_times_amperes(tmp_path):
    folder = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    lay(tmp_path, {f"{folder}/in1_label": "VDD_CPU_GPU_CV", f"{folder}/in1_input": 5000, f"{folder}/curr1_input": 900,
                   f"{folder}/in2_label": "VDD_IN", f"{folder}/in2_input": 5000, f"{folder}/curr2_input": 1500,
                   })  # fmt: skip
    meter = power.find(tmp_path, none)
    assert meter.read() == 7.5
    assert "VDD_IN" in meter.name


def test_gpus_are_summed_and_a_silent_one_is_no_meter(tmp_path):
    assert power.find(tmp_path, lambda: "61.5\n40.0\n").read() == 101.5
    assert power.find(tmp_path, lambda: "[N/A]\n") is None


@pytest.mark.parametrize(("before", "after", "joules"), [(10, 25, 15), (95, 5, 10)])
def test_a_counter_may_start_again(before, after, joules):
    assert power.spent(before, after, 100) == joules


def test_energy_of_a_trip(monkeypatch):
    clock, joules = [0.0], [0.0]
    monkeypatch.setattr(power.time, "perf_counter", lambda: clock[0])

    def sleep(seconds):
        clock[0] += seconds
        joules[0] += 5 * seconds

    def work():
        clock[0] += 2
        joules[0] += 40

    monkeypatch.setattr(power.time, "sleep", sleep)
    found = power.measure(power.Meter("m", energy=True, read=lambda: joules[0], wraps_j=1e9), work, 3)
    assert (found.idle_w, found.busy_w, found.joules_per_trip) == (5.0, 20.0, 40.0)
