from __future__ import annotations

import shutil

import pytest

from hidemia.runtime import cli, environment


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("hidemia.runtime.defaults.bundle", lambda role: tmp_path / "none" / role)

    def run(*arguments) -> tuple[int, list[str]]:
        code = cli.main(["doctor", *(str(argument) for argument in arguments)])
        return code, capsys.readouterr().out.splitlines()

    return run


def test_a_healthy_environment(run):
    code, lines = run()
    assert code == 0
    assert any(line.startswith("ok    onnxruntime ") and "CPUExecutionProvider" in line for line in lines)
    assert all(line.startswith("ok") for line in lines)


def test_bundles(run, model, tmp_path):
    code, lines = run("--client", model.client, "--server", model.server)
    assert code == 0
    assert any(line.startswith("ok    client bundle tiny (segmentation)") for line in lines)
    assert any(line.startswith("ok    server bundle tiny (segmentation)") for line in lines)


def test_a_client_bundle_that_others_can_read(run, model, tmp_path):
    folder = tmp_path / "client"
    shutil.copytree(model.client, folder)
    folder.chmod(0o755)
    line = (
        f"{folder / 'hide.fp32.onnx'}: expected a file that only its owner can read, since whoever reads it can "
        f"recover, got mode 0644; chmod -R go= {folder}, or pass --shared-ok (shared_ok=True)"
    )
    code, lines = run("--client", folder)
    assert code == 1
    assert f"FAIL  {line}" in lines
    code, lines = run("--client", folder, "--shared-ok")
    assert code == 0
    assert f"warn  {line}" in lines
    folder.chmod(0o700)
    code, lines = run("--client", folder)
    assert code == 0
    assert not any(line.startswith("warn") for line in lines)


def test_a_public_model_is_said_to_be_one(run, tiny, tmp_path):
    model = tiny.make_model(tmp_path / "m", public_key=True)
    code, lines = run("--client", model.client)
    assert code == 0
    assert any("its weights are published: anyone can recover" in line for line in lines)


def test_damage(run, model, tmp_path):
    shutil.copytree(model.server, tmp_path / "server")
    with (tmp_path / "server" / "analyze.fp32.onnx").open("ab") as file:
        file.write(b"x")
    code, lines = run("--server", tmp_path / "server", "--client", model.server)
    assert code == 1
    assert sum(line.startswith("FAIL") for line in lines) == 2


@pytest.mark.parametrize(
    ("installed", "grade", "text"),
    [
        (
            ("onnxruntime", "onnxruntime-gpu"),
            "FAIL",
            "overwrite each other: uninstall all of them, then install one",
        ),
        ((), "FAIL", "no inference engine: pip install 'hidemia[cpu]'"),
        (("onnxruntime-gpu",), "ok", "onnxruntime-gpu 1.0 with "),
    ],
)
def test_engines(run, monkeypatch, installed, grade, text):
    real = environment.package_version
    monkeypatch.setattr(
        environment,
        "package_version",
        lambda name: ("1.0" if name in installed else None) if name.startswith("onnxruntime") else real(name),
    )
    code, lines = run()
    assert code == (1 if grade == "FAIL" else 0)
    assert any(line.startswith(grade) and text in line for line in lines)


def test_no_server_packages_is_a_warning(run, monkeypatch):
    real = environment.package_version
    monkeypatch.setattr(environment, "package_version", lambda name: None if name == "uvicorn" else real(name))
    code, lines = run()
    assert code == 0
    assert "warn  serve lacks uvicorn: pip install 'hidemia[server]'" in lines
