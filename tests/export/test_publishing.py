import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest
from tests.standins.bundles import make_bundle

from hidemia.export.publishing import published, write
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.errors import BundleError, ExportError
from hidemia.runtime.manifest import FILE_NAME, dump, load

NAMES = ("client", "server")
PAIRS = {"old": "0" * 16, "new": "f" * 16}


def fill(folder, text):
    for name in NAMES:
        (folder / name).mkdir()
        write(folder / name / "file", text)


def export_that_fails(out):
    with published(out, NAMES) as folder:
        fill(folder, b"new")
        raise ValueError("a fault of the exporter")


def contents(out):
    return {str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*") if file.is_file()}


def test_the_new_replaces_the_old_whole(tmp_path):
    out = tmp_path / "deep" / "out"
    for text in (b"old", b"new"):
        with published(out, NAMES) as folder:
            fill(folder, text)
    assert contents(out) == {"client/file": b"new", "server/file": b"new"}
    assert [entry.name for entry in out.parent.iterdir()] == ["out"]


def test_a_failure_leaves_the_old_and_nothing_else(tmp_path):
    out = tmp_path / "out"
    with published(out, NAMES) as folder:
        fill(folder, b"old")
    with pytest.raises(ValueError, match="of the exporter"):
        export_that_fails(out)
    assert contents(tmp_path) == {"out/client/file": b"old", "out/server/file": b"old"}


def test_what_an_interrupted_export_left_is_removed(tmp_path):
    out = tmp_path / "out"
    (tmp_path / ".out.partial" / "client").mkdir(parents=True)
    (out / ".client.old").mkdir(parents=True)
    with published(out, NAMES) as folder:
        fill(folder, b"new")
    assert sorted(entry.name for entry in out.iterdir()) == ["client", "server"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_is_one_line(tmp_path):
    out = tmp_path / "out"
    with (
        pytest.raises(
            ExportError, match=r"out: .* No space left on device \(/dev/full\); nothing was changed"
        ) as caught,
        published(out, NAMES),
    ):
        write(Path("/dev/full"), b"some bytes")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_limit_on_file_size_is_one_line(tmp_path):
    code = """
        import resource, signal, sys
        from pathlib import Path
        from hidemia.export.publishing import published, write
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        with published(Path(sys.argv[1]), ("client",)) as folder:
            (folder / "client").mkdir()
            write(folder / "client" / "file", bytes(2000))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "out")], check=False, capture_output=True,
        text=True,
    )  # fmt: skip
    last = done.stderr.strip().splitlines()[-1]
    assert "ExportError" in last
    assert "File too large" in last
    assert "client/file" in last
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    refused = pytest.raises(ExportError, match=r"expected to write bundles there, got (Not a directory|File exists)")
    with refused, published(tmp_path / "file" / "out", NAMES):
        pass


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Bundles of two models, an old and a new one, as small as bundles can be."""
    root = tmp_path_factory.mktemp("models")
    for name in ("old", "new"):
        for role in NAMES:
            manifest = make_bundle(root / name / role, role) / FILE_NAME
            manifest.write_bytes(dump(msgspec.structs.replace(load(manifest.read_bytes()), pair_id=PAIRS[name])))
    return root


# Writes the files of bundles as an export does, and says where it is and waits, so that it can be killed there.
PUBLISH = """
    import sys
    from pathlib import Path
    from hidemia.export.publishing import published, write

    def wait(*_):
        print("here", flush=True)
        sys.stdin.readline()

    rename = Path.rename
    def told(self, target):
        wait()
        return rename(self, target)
    Path.rename = told
    source, out = map(Path, sys.argv[1:])
    with published(out, ("client", "server")) as folder:
        for role in ("client", "server"):
            (folder / role).mkdir()
            for file in sorted((source / role).iterdir(), key=lambda file: (file.suffix == ".json", file)):
                if file.name != "measured.json":
                    wait()
                    write(folder / role / file.name, file.read_bytes())
"""


# Six files, and then a rename for each new folder and for each old one.
MOMENTS = [(True, moment) for moment in range(8)] + [(False, moment) for moment in range(10)]


@pytest.mark.parametrize(("fresh", "moment"), MOMENTS)
def test_a_killed_export_leaves_whole_bundles_or_none(bundles, tmp_path, fresh, moment):
    """kill -9 before each file and between any two renames: old, new or refused, never a mixture."""
    out = tmp_path / "out"
    if not fresh:
        shutil.copytree(bundles / "old", out)
    reached = -1
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PUBLISH), str(bundles / "new"), str(out)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    for reached, _ in enumerate(process.stdout):
        if reached == moment:
            break
        process.stdin.write("\n")
        process.stdin.flush()
    process.kill()
    process.communicate()
    assert (reached, process.returncode) == (moment, -signal.SIGKILL)
    assert (tmp_path / ".out.partial").exists()
    for role in NAMES:
        try:
            bundle = Bundle.open(out / role, role)
        except BundleError:
            assert not (out / role).exists()  # refused: the old one has left, the new one not yet come
            continue
        bundle.verify()
        assert bundle.manifest.pair_id in PAIRS.values()
    with published(out, NAMES) as folder:  # and the next export mends everything
        for role in NAMES:
            shutil.copytree(bundles / "new" / role, folder / role)
    assert {Bundle.open(out / role, role).manifest.pair_id for role in NAMES} == {PAIRS["new"]}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out"]


def test_a_real_export_killed_while_it_writes(weights, bundles, tmp_path):
    code = (
        "import sys; from hidemia.export import bundles, proof; from hidemia.export.command import export\n"
        "write = bundles.write\n"
        "bundles.write = lambda *what: (print('here', flush=True), sys.stdin.readline(), write(*what))\n"
        "proof.latency_ms = lambda *_: 0.0\n"
        "export(sys.argv[1:])"
    )
    out = tmp_path / "out"
    shutil.copytree(bundles / "old", out)
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    wanted = ["--weights", str(weights), "--out", str(out), "--precision", "fp32"]
    reached = -1
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *wanted], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    for reached, line in enumerate(process.stdout):
        assert line == "here\n"
        if reached == 2:  # two files of the client are there, the manifest is not
            break
        process.stdin.write("\n")
        process.stdin.flush()
    process.kill()
    process.communicate()
    assert (reached, process.returncode) == (2, -signal.SIGKILL)
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before
    with pytest.raises(BundleError, match=r"got no manifest\.json"):
        Bundle.open(tmp_path / ".out.partial" / "client", "client")
