from __future__ import annotations

import shutil

import pytest

from hidemia.runtime import BundleError, environment
from hidemia.runtime import receipt as receipts
from hidemia.runtime.examine import check_plan, examine

PLAN = b"ftrt" + bytes(range(256)) * 4


@pytest.fixture(scope="module")
def here():
    return environment.gather()


@pytest.fixture
def copy(model, tmp_path):
    shutil.copytree(model.client, tmp_path / "client")
    shutil.copytree(model.server, tmp_path / "server")
    return tmp_path


@pytest.fixture
def plans(copy, tiny):
    """A server bundle with a plan beside it, as `hidemia build` leaves them."""
    folder = copy / "server" / "plans" / "trt-10.3.0-rtx-4090"
    folder.mkdir(parents=True)
    receipt = tiny.make_receipt(PLAN, (copy / "server" / "analyze.fp32.onnx").read_bytes())
    (folder / receipts.FILE_NAME).write_bytes(receipts.dump(receipt))
    (folder / receipt.plans[0].path).write_bytes(PLAN)
    return folder


def flip(file, position: int) -> None:
    data = bytearray(file.read_bytes())
    data[position] ^= 0x10
    file.write_bytes(data)


def test_healthy(copy, plans, here):
    assert examine(copy / "client", "client", here) == []
    assert examine(copy / "server", "server", here) == []


def test_everything_wrong_is_listed_at_once(copy, here):
    flip(copy / "client" / "hide.fp32.onnx", 50)
    (copy / "client" / "recover.fp32.onnx").unlink()
    found = examine(copy / "client", "client", here, precision="int8", providers=[])
    assert [item.kind for item in found] == ["file", "file", "provider", "graph", "graph"]
    assert "hide.fp32.onnx: expected SHA-256" in found[0].text
    assert "recover.fp32.onnx: expected a file of the bundle, got No such file" in found[1].text


def test_no_manifest_is_the_only_thing_said(copy, here):
    (found,) = examine(copy, "client", here)
    assert (found.grade, found.kind) == ("FAIL", "manifest")
    assert "expected a client bundle, got no manifest.json" in found.text


def test_a_shared_client(copy, here):
    (copy / "client").chmod(0o755)
    (found,) = examine(copy / "client", "client", here)
    assert (found.grade, found.kind) == ("FAIL", "permissions")
    (found,) = examine(copy / "client", "client", here, shared_ok=True)
    assert (found.grade, found.kind) == ("warn", "permissions")


@pytest.mark.parametrize("position", [0, 500, len(PLAN) - 1])
def test_a_flipped_byte_of_a_plan(copy, plans, here, position):
    flip(plans / "analyze.fp16.plan", position)
    (found,) = examine(copy / "server", "server", here)
    assert (found.grade, found.kind) == ("FAIL", "plan")
    assert found.text.startswith(f"{plans / 'analyze.fp16.plan'}: expected SHA-256 ")
    assert found.text.endswith("the plan was changed or damaged: build it again: hidemia build")


@pytest.mark.parametrize("length", [0, 4, len(PLAN) - 1])
def test_a_truncated_plan(copy, plans, here, length):
    (plans / "analyze.fp16.plan").write_bytes(PLAN[:length])
    (found,) = examine(copy / "server", "server", here)
    assert found.text == (
        f"{plans / 'analyze.fp16.plan'}: expected {len(PLAN)} bytes, got {length}; "
        "the plan was changed or cut short: build it again: hidemia build"
    )


def test_no_plan_where_the_receipt_names_one(copy, plans, here):
    (plans / "analyze.fp16.plan").unlink()
    (found,) = examine(copy / "server", "server", here)
    assert found.text == (
        f"{plans / 'analyze.fp16.plan'}: expected a plan, got No such file or directory; build it again: hidemia build"
    )


def test_a_plan_that_is_a_link_out_of_its_folder(copy, plans, tmp_path):
    elsewhere = tmp_path / "x.plan"
    (plans / "analyze.fp16.plan").rename(elsewhere)
    (plans / "analyze.fp16.plan").symlink_to(elsewhere)
    receipt = receipts.load((plans / receipts.FILE_NAME).read_bytes())
    with pytest.raises(BundleError, match="expected a file inside"):
        check_plan(plans, receipt.plans[0])


def test_check_plan_returns_the_bytes_it_checked(plans):
    receipt = receipts.load((plans / receipts.FILE_NAME).read_bytes())
    assert check_plan(plans, receipt.plans[0]) == PLAN


@pytest.mark.parametrize("damage", [b"", b"{", b'{"schema_version": 9}', b'{"schema_version": 1}'])
def test_a_damaged_receipt(copy, plans, here, damage):
    (plans / receipts.FILE_NAME).write_bytes(damage)
    (found,) = examine(copy / "server", "server", here)
    assert (found.grade, found.kind) == ("FAIL", "plan")
    assert found.text.startswith(f"{plans / receipts.FILE_NAME}: ")


@pytest.mark.parametrize("what", ["plans", "folder", "receipt", "plan"])
def test_plans_that_others_can_write(copy, plans, here, what):
    path = {
        "plans": plans.parent,
        "folder": plans,
        "receipt": plans / receipts.FILE_NAME,
        "plan": plans / "analyze.fp16.plan",
    }[what]
    path.chmod(0o777)
    (found,) = examine(copy / "server", "server", here)
    assert (found.grade, found.kind) == ("FAIL", "permissions")
    assert found.text.startswith(f"{path}: expected only its owner to be able to write it, since a plan is code")
