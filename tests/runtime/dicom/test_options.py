"""The verbs with DICOM files, by their command lines."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys

import cv2
import highdicom
import numpy as np
import pytest

from hidemia.runtime import cli, dicom


@pytest.fixture
def desk(tmp_path, model, tiny, rng, monkeypatch):
    """A working folder: bundles, a cover, a cine with a region and with patients' names, and one frame without."""
    shutil.copytree(model.client, tmp_path / "client")
    shutil.copytree(model.server, tmp_path / "server")
    cv2.imwrite(str(tmp_path / "cover.png"), tiny.photo(rng, 100, 80)[..., ::-1])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cine(desk, dcm, tiny):
    """Two frames; the disc is in the region of the second."""
    pixels = np.zeros((2, 120, 160, 3), np.uint8)
    pixels[1, 20:110, 30:150] = tiny.secret(90, 120)
    return dcm.make(
        pixels,
        "cine.dcm",
        SamplesPerPixel=3,
        Modality="US",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1",
        SequenceOfUltrasoundRegions=[dcm.region(30, 20, 149, 109), dcm.region(0, 0, 50, 50)],
    )


@pytest.fixture
def hidemia(capfd):
    def hidemia(line: str) -> tuple[int, list[str]]:
        code = cli.main(line.split())
        return code, [text for text in capfd.readouterr().err.splitlines() if "WARNING" not in text]

    return hidemia


VIEW = "--frame 2 --region 1"
HIDE = f"hide --client client --secret cine.dcm --cover cover.png --out stego.png {VIEW}"
ANALYZE = "analyze --server server stego.png --out reply.png"
RECOVER = "recover --client client --sent stego.png reply.png --source cine.dcm"


def disc(tiny) -> np.ndarray:
    whole = np.zeros((120, 160), bool)
    whole[20:110, 30:150] = tiny.secret(90, 120)[..., 0] > 128
    return whole


@pytest.fixture
def walked(desk, cine, hidemia):
    for line in (f"{HIDE} --record scan.json", ANALYZE):
        assert hidemia(line) == (0, [])
    return desk


def test_hide_analyze_recover(walked, hidemia, tiny):
    assert hidemia(f"{RECOVER} {VIEW} --record scan.json --out mask.dcm") == (0, [])
    seg = highdicom.seg.segread(walked / "mask.dcm")
    (found,) = seg.get_pixels_by_source_frame("1.2.3.4", [2], combine_segments=True)
    assert np.mean((found > 0) == disc(tiny)) > 0.98
    assert hidemia(f"{RECOVER} {VIEW} --out mask.png") == (0, [])
    assert np.array_equal(cv2.imread("mask.png", cv2.IMREAD_UNCHANGED) > 0, found > 0)
    assert hidemia(f"{RECOVER} {VIEW} --out result.json") == (0, [])
    result = json.loads((walked / "result.json").read_text())
    assert result["size_px"] == [160, 120]
    assert result["source"] == json.loads((walked / "scan.json").read_text())
    assert result["source"]["geometry"]["crop"] == {"left": 30, "top": 20, "width": 120, "height": 90}


def test_a_class_is_json_with_the_record(walked, hidemia, tiny):
    tiny.make_model(walked / "two", classes=2)
    line = f"{RECOVER} {VIEW}".replace("--client client", "--client two/client")
    assert hidemia(f"{line} --out result.json") == (0, [])
    result = json.loads((walked / "result.json").read_text())
    assert result["label"] == "benign"
    assert result["source"]["geometry"]["frame"] == 2
    assert hidemia(f"{line} --out result.dcm") == (
        2,
        ["hidemia recover: --out result.dcm: expected .json for a classification, which has no mask, got .dcm"],
    )


def test_send(desk, cine, hidemia, service_url, tiny):
    (desk / "covers").mkdir()
    shutil.move("cover.png", "covers/a.png")
    line = f"send --client client --url {service_url} --secret cine.dcm --covers covers {VIEW} --out"
    assert hidemia(f"{line} mask.dcm") == (0, [])
    seg = highdicom.seg.segread(desk / "mask.dcm")
    assert np.mean((seg.pixel_array.reshape(120, 160) > 0) == disc(tiny)) > 0.98


def test_the_device_and_the_model_are_named(desk, cine, hidemia, service_url, model):
    (desk / "covers").mkdir()
    shutil.move("cover.png", "covers/a.png")
    cart = {"manufacturer": "Cart Works", "model": "C-9", "serial_number": "0042", "station": "US-3"}
    (desk / "cart.json").write_text(json.dumps(cart))
    line = f"send --client client --url {service_url} --secret cine.dcm --covers covers {VIEW} --equipment cart.json"
    assert hidemia(f"{line} --out mask.dcm") == (0, [])
    seg = highdicom.seg.segread(desk / "mask.dcm")
    (device,) = [item for item in seg.ContributingEquipmentSequence if item.Manufacturer == "Cart Works"]
    assert (device.ManufacturerModelName, device.DeviceSerialNumber, device.StationName) == ("C-9", "0042", "US-3")
    (algorithm,) = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    digest = hashlib.sha256((model.client / "manifest.json").read_bytes()).hexdigest()
    assert algorithm.AlgorithmName == "HideMIA tiny"
    assert f"manifest_sha256={digest}" in algorithm.AlgorithmParameters


def test_a_class_of_the_whole_trip_is_json(desk, cine, hidemia, service_url, tiny):
    (desk / "covers").mkdir()
    shutil.move("cover.png", "covers/a.png")
    tiny.make_model(desk / "two", classes=2)
    line = f"send --client two/client --url {service_url} --secret cine.dcm --covers covers {VIEW} --out class.json"
    assert hidemia(line) == (0, [])
    result = json.loads((desk / "class.json").read_text())
    assert result["label"] == "benign"
    assert result["source"]["geometry"]["frame"] == 2


DEVICES = {
    "{}": "Object missing required field `manufacturer`",
    '{"manufacturer": "A", "colour": "red"}': "Object contains unknown field `colour`",
    '{"manufacturer": ""}': "Expected `str` of length >= 1",
    '{"manufacturer": "A", "station": "' + 17 * "x" + '"}': "Expected `str` of length <= 16",
    '{"manufacturer": "A\\\\B"}': "Expected `str` matching regex",
    "{": "Input data was truncated",
}


@pytest.mark.parametrize("text", DEVICES)
def test_a_device_that_cannot_be_named(walked, hidemia, text):
    (walked / "cart.json").write_text(text)
    code, (line,) = hidemia(f"{RECOVER} {VIEW} --equipment cart.json --out mask.dcm")
    assert code == 2
    assert line.startswith(f"hidemia recover: --equipment cart.json: expected the device as JSON, got: {DEVICES[text]}")
    assert not (walked / "mask.dcm").exists()


def test_the_photo_depends_on_the_pixels_alone(desk, dcm, hidemia, rng):
    """Two patients, one image: the same bytes go out, and nothing of a header is in them."""
    pixels = rng.integers(0, 4000, (70, 80), np.uint16)
    shared = {"WindowCenter": 2000, "WindowWidth": 4000, "BitsStored": 12}
    dcm.make(pixels, "a.dcm", PatientName="Quxfoo^Anna", PatientID="MRN-90210", InstitutionName="St. Zebra", **shared)
    dcm.make(pixels, "b.dcm", PatientName="Other^Bea", PatientID="1", StudyInstanceUID="1.9.8", **shared)
    for name in "ab":
        line = f"hide --client client --secret {name}.dcm --cover cover.png --out {name}.png"
        assert hidemia(line) == (0, [])  # and one binding: the ledger, too, knows the pixels alone
    stego = (desk / "a.png").read_bytes()
    assert stego == (desk / "b.png").read_bytes()
    assert not [text for text in (b"Quxfoo", b"90210", b"Zebra", b"1.2.3", b"DICM") if text in stego]
    chunks, at = [], 8
    while at < len(stego):
        chunks.append(stego[at + 4 : at + 8])
        at += 12 + int.from_bytes(stego[at : at + 4], "big")
    assert set(chunks) == {b"IHDR", b"IDAT", b"IEND"}


def test_windows_by_values_name_and_number(desk, dcm, hidemia, rng):
    pixels = rng.integers(0, 4000, (70, 80), np.uint16)
    dcm.make(
        pixels,
        "ct.dcm",
        RescaleSlope=1,
        RescaleIntercept=-1024,
        WindowCenter=[40, -600],
        WindowWidth=[400, 1500],
        WindowCenterWidthExplanation=["SOFT", "LUNG"],
    )
    line = "hide --client client --secret ct.dcm --cover cover.png --allow-reuse --out"
    stegos = {}
    for name, window in {
        "values": "--window=-600,1500",
        "name": "--window LUNG",
        "number": "--window-index 2",
        "first": "",
    }.items():
        assert hidemia(f"{line} {name}.png {window}") == (0, [])
        stegos[name] = (desk / f"{name}.png").read_bytes()
    assert stegos["values"] == stegos["name"] == stegos["number"] != stegos["first"]


MISTAKES = [
    (
        HIDE.replace(" --frame 2", ""),
        "cine.dcm: expected one frame, got 2; name one with --frame, from 1",
    ),
    (
        HIDE.replace(" --region 1", ""),
        "cine.dcm: expected one ultrasound region of 2D tissue, got 1, 2 of 2; name one, or take the whole frame",
    ),
    (f"{HIDE} --window 1,2", "cine.dcm: expected no window for a colour image, got (1.0, 2.0); leave it out"),
    (f"{HIDE} --window 1,e", "argument --window: expected CENTRE,WIDTH, got '1,e'; see hidemia hide --help"),
    (f"{HIDE} --window 1,2 --window-index 3", "argument --window-index: not allowed with argument --window"),
    (HIDE.replace("--frame 2", "--frame 0"), "argument --frame: expected an integer of at least 1, got '0'"),
    (HIDE.replace("--region 1", "--region no"), "argument --region: expected an integer of at least 1, got 'no'"),
    (
        "hide --client client --secret cover.png --cover cover.png --out stego.png --frame 2",
        "--secret cover.png: expected a DICOM file with its options, got another; leave them out",
    ),
    (
        "hide --client client --secret cover.png --cover cover.png --out stego.png --record r.json",
        "--record r.json: expected a DICOM file as --secret, got cover.png",
    ),
    (
        "hide --client client --secret cine.dcm --cover cine.dcm --out stego.png --frame 2 --region 1",
        "cine.dcm: expected a PNG, JPEG, BMP or TIFF image, got a DICOM file (convert it to PNG); check the file",
    ),
    (f"{RECOVER} --frame 1 --region 1 --record scan.json --out x.dcm", "--record scan.json: expected the same file,"),
    (f"{RECOVER} {VIEW} --record cover.png --out x.dcm", "--record cover.png: expected a record that `hidemia hide`"),
    (f"{RECOVER} {VIEW} --equipment no.json --out x.dcm", "--equipment no.json: expected the device as JSON, got: "),
    (
        f"{RECOVER} {VIEW} --equipment scan.json --out x.json",
        "--equipment scan.json: expected a DICOM result to name it, got x.json; leave it out",
    ),
    (f"{RECOVER} {VIEW} --size 9x9 --out x.dcm", "--size: expected none with --source cine.dcm"),
    (
        "recover --client client --sent stego.png reply.png --out x.dcm",
        "--out x.dcm: expected a DICOM file as the source of a DICOM result, got none; ask for .png or .json",
    ),
    (
        "recover --client client --sent stego.png reply.png --frame 2 --out x.png",
        "--source: expected the DICOM file that the options are about, got none; name it",
    ),
    (
        "recover --client client --sent stego.png reply.png --source cover.png --out x.dcm",
        "cover.png: expected a DICOM file, got a picture; name a DICOM file",
    ),
    (
        "send --client client --url http://127.0.0.1:9 --secret cover.png --covers . --out x.dcm",
        "--out x.dcm: expected a DICOM file as the source of a DICOM result, got none; ask for .png or .json",
    ),
]


def test_each_mistake_gives_one_line_and_changes_nothing(walked, hidemia):
    before = {path: path.read_bytes() for path in walked.iterdir() if path.is_file()}
    for line, message in MISTAKES:
        code, lines = hidemia(line)
        assert (code, len(lines)) == (2, 1), (line, lines)
        assert lines[0].startswith(f"hidemia {line.split()[0]}: {message}"), (line, lines)
    assert {path: path.read_bytes() for path in walked.iterdir() if path.is_file()} == before


def test_what_no_seg_can_refer_to_is_refused_before_it_is_sent(desk, dcm, hidemia, rng):
    """Port 9 is closed: had anything been sent, the error would be another."""
    dcm.make(rng.integers(0, 255, (40, 40), np.uint8), StudyInstanceUID=None)
    line = "send --client client --url http://127.0.0.1:9 --secret x.dcm --covers . --out y.dcm --attempts 1"
    assert hidemia(line) == (
        2,
        ["hidemia send: x.dcm: expected StudyInstanceUID for a DICOM SEG to refer to, got none; ask for .json"],
    )


def test_text_in_the_pixels(desk, dcm, hidemia, rng):
    dcm.make(rng.integers(0, 255, (40, 40), np.uint8), BurnedInAnnotation="YES")
    line = "hide --client client --secret x.dcm --cover cover.png --out stego.png"
    code, (text,) = hidemia(line)
    assert code == 2
    assert text.endswith("export it without, or allow it with --allow-burned-in")
    assert hidemia(f"{line} --allow-burned-in --record r.json") == (0, [])
    assert json.loads((desk / "r.json").read_text())["burned_in_annotation"] == "YES"


def test_a_damaged_file_gives_one_line(desk, dcm, hidemia, rng):
    whole = dcm.shipped("MR_small_jp2klossless.dcm").read_bytes()
    (desk / "cut.dcm").write_bytes(whole[: len(whole) - 900])
    assert dicom.is_dicom(desk / "cut.dcm")
    code, lines = hidemia("hide --client client --secret cut.dcm --cover cover.png --out stego.png")
    assert (code, len(lines)) == (2, 1), lines
    assert lines[0].startswith("hidemia hide: cut.dcm: expected ")


def test_without_the_extra_pictures_go_and_dicom_names_it(desk, dcm, hidemia, tiny, rng, monkeypatch):
    dcm.make(rng.integers(0, 255, (40, 40), np.uint8))
    cv2.imwrite("scan.png", tiny.secret(90, 120))
    for package in ("pydicom", "highdicom"):
        monkeypatch.setitem(sys.modules, package, None)
    line = "hide --client client --cover cover.png --out stego.png --secret"
    assert hidemia(f"{line} scan.png") == (0, [])
    assert hidemia(f"{line} x.dcm") == (
        1,
        ["hidemia hide: x.dcm: expected the package pydicom to handle DICOM, got none; pip install 'hidemia[dicom]'"],
    )
