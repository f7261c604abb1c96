from __future__ import annotations

import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from hidemia.runtime import BundleError, Client, HidemiaError, Server, cli, signature


def pem(private, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def public_pem(private) -> bytes:
    return private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.fixture
def keys(tmp_path):
    """Files of two pairs: site and other."""
    for name in ("site", "other"):
        private = ed25519.Ed25519PrivateKey.generate()
        (tmp_path / f"{name}.key").write_bytes(pem(private))
        (tmp_path / f"{name}.pub").write_bytes(public_pem(private))
    return tmp_path


@pytest.fixture
def signed(tiny, keys, capsys):
    model = tiny.make_model(keys / "model")
    for bundle in (model.client, model.server):
        assert cli.main(["sign", "--bundle", str(bundle), "--key", str(keys / "site.key")]) == 0
        assert capsys.readouterr().out == f"wrote {bundle / 'manifest.sig'}\n"
    return model


def test_a_signed_bundle_loads_where_its_key_is_trusted(signed, keys):
    assert (signed.client / "manifest.sig").stat().st_size == 64
    for trusted in (["site.pub"], ["other.pub", "site.pub"]):
        files = [keys / name for name in trusted]
        Client.load(signed.client, trusted_keys=files).close()
        Server.load(signed.server, trusted_keys=[str(file) for file in files]).close()


def test_one_file_that_is_no_list(signed, keys):
    Client.load(signed.client, trusted_keys=str(keys / "site.pub")).close()
    with pytest.raises(BundleError, match="got one that none of 1 made"):
        Client.load(signed.client, trusted_keys=str(keys / "other.pub"))


def test_it_is_plain_ed25519_over_the_bytes_of_the_file(signed, keys):
    key = serialization.load_pem_public_key((keys / "site.pub").read_bytes())
    key.verify((signed.client / "manifest.sig").read_bytes(), (signed.client / "manifest.json").read_bytes())


def test_another_key(signed, keys):
    with pytest.raises(BundleError) as caught:
        Client.load(signed.client, trusted_keys=[keys / "other.pub"])
    assert str(caught.value) == (
        f"{signed.client / 'manifest.sig'}: expected a signature of this manifest by a trusted key, got one that none "
        "of 1 made; the manifest was changed, or somebody else signed it: install the bundle again"
    )


def test_no_signature(tiny, keys):
    model = tiny.make_model(keys / "model")
    with pytest.raises(BundleError) as caught:
        Server.load(model.server, trusted_keys=[keys / "site.pub"])
    assert str(caught.value) == (
        f"{model.server / 'manifest.sig'}: expected a signature, got no such file; "
        "hidemia sign, or install a signed bundle"
    )


@pytest.mark.parametrize("position", [0, 31, 63])
def test_a_flipped_byte_of_the_signature(signed, keys, position):
    file = signed.client / "manifest.sig"
    data = bytearray(file.read_bytes())
    data[position] ^= 1
    file.write_bytes(data)
    with pytest.raises(BundleError, match="got one that none of 1 made"):
        Client.load(signed.client, trusted_keys=[keys / "site.pub"])
    Client.load(signed.client).close()  # where none is required, the file changes nothing


@pytest.mark.parametrize("data", [b"", b"x" * 63, b"x" * 65, b"x" * 100_000])
def test_no_signature_at_all(signed, keys, data):
    (signed.client / "manifest.sig").write_bytes(data)
    with pytest.raises(BundleError, match=rf"expected 64 bytes, got {min(len(data), 65)}; install the bundle again"):
        Client.load(signed.client, trusted_keys=[keys / "site.pub"])
    Client.load(signed.client).close()


def test_what_is_signed_is_refused_before_it_is_read(signed, keys):
    """A manifest that is no JSON: without the right signature nobody gets as far as to notice."""
    (signed.client / "manifest.json").write_bytes(b"{")
    with pytest.raises(BundleError, match="got one that none of 1 made"):
        Client.load(signed.client, trusted_keys=[keys / "site.pub"])


def test_every_byte_of_the_manifest_counts(signed, keys):
    """Even a space, which changes no meaning."""
    file = signed.server / "manifest.json"
    file.write_bytes(file.read_bytes() + b"\n")
    Server.load(signed.server).close()
    with pytest.raises(BundleError, match="got one that none of 1 made"):
        Server.load(signed.server, trusted_keys=[keys / "site.pub"])


def test_the_signature_binds_the_graphs(signed, keys):
    file = signed.client / "recover.fp32.onnx"
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    with pytest.raises(BundleError, match="expected SHA-256"):
        Client.load(signed.client, trusted_keys=[keys / "site.pub"])


def test_no_key_is_not_any_key(signed):
    with pytest.raises(HidemiaError, match="trusted_keys: expected at least one file, got none"):
        Client.load(signed.client, trusted_keys=[])


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"not a key", "something else"),
        (public_pem(ec.generate_private_key(ec.SECP256R1())), "one of another kind"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "something else"),
        (None, None),
    ],
)
def test_wrong_public_keys(signed, keys, content, got):
    file = keys / "wrong.pub"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(HidemiaError) as caught:
        Client.load(signed.client, trusted_keys=[file])
    expected = (
        f"{file}: expected a public key, got No such file or directory; name the file that holds it"
        if got is None
        else f"{file}: expected an Ed25519 public key in PEM, got {got}; openssl pkey -in PRIVATE.pem -pubout makes one"
    )
    assert str(caught.value) == expected
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "something else"),
        (pem(ed25519.Ed25519PrivateKey.generate(), b"secret"), "one with a passphrase"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "one of another kind"),
    ],
)
def test_wrong_private_keys(tiny, tmp_path, capsys, content, got):
    model = tiny.make_model(tmp_path / "m")
    (tmp_path / "k").write_bytes(content)
    assert cli.main(["sign", "--bundle", str(model.server), "--key", str(tmp_path / "k")]) == 2
    assert capsys.readouterr().err == (
        f"hidemia sign: {tmp_path / 'k'}: expected an Ed25519 private key in PEM, got {got}; "
        "openssl genpkey -algorithm ed25519 makes one\n"
    )
    assert not (model.server / "manifest.sig").exists()


def test_a_damaged_bundle_is_not_signed(signed, keys, capsys):
    (signed.server / "analyze.fp32.onnx").write_bytes(b"x")
    (signed.server / "manifest.sig").unlink()
    assert cli.main(["sign", "--bundle", str(signed.server), "--key", str(keys / "site.key")]) == 1
    assert "install the bundle again" in capsys.readouterr().err
    assert not (signed.server / "manifest.sig").exists()


def test_a_bundle_that_cannot_be_written(signed, keys, capsys, monkeypatch):
    (signed.server / "manifest.sig").unlink()

    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    assert cli.main(["sign", "--bundle", str(signed.server), "--key", str(keys / "site.key")]) == 1
    assert capsys.readouterr().err == (
        f"hidemia sign: {signed.server}: expected a folder that this account can write, got No space left on device; "
        "give it the right to, or name another folder\n"
    )
    assert not (signed.server / "manifest.sig").exists()


def test_the_verbs_require_it_when_told(signed, keys, tiny, rng, tmp_path, capsys):
    stego, reply = tmp_path / "s.png", tmp_path / "r.png"
    stego.write_bytes(tiny.png(64, 64))
    line = ["analyze", "--server", str(signed.server), str(stego), "--out", str(reply), "--require-signature"]
    assert cli.main([*line, str(keys / "site.pub")]) == 0
    assert cli.main([*line, str(keys / "other.pub")]) == 1
    assert "expected a signature of this manifest by a trusted key" in capsys.readouterr().err
    assert cli.main(["doctor", "--server", str(signed.server), "--require-signature", str(keys / "other.pub")]) == 1
    assert "expected a signature of this manifest by a trusted key" in capsys.readouterr().out


def test_without_the_extra(signed, keys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.serialization", None)
    with pytest.raises(BundleError) as caught:
        Client.load(signed.client, trusted_keys=[keys / "site.pub"])
    assert str(caught.value) == ("signature: expected the package cryptography, got none; pip install 'hidemia[sign]'")
    Client.load(signed.client).close()


def test_a_client_that_asks_for_no_signature_loads_no_cryptography(signed):
    code = (
        "import sys\n"
        "from hidemia.runtime import Client\n"
        f"Client.load({str(signed.client)!r}).close()\n"
        "assert not [name for name in sys.modules if name.startswith('cryptography')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_same_key_gives_the_same_bytes(keys):
    assert signature.make(b"data", keys / "site.key") == signature.make(b"data", keys / "site.key")
