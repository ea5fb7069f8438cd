"""`verify` as boto3 has it: True, False, or a CA bundle's path."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from kvsproducer.service.tls import tls_context
from kvsproducer.status import KvsError, StatusCode


def test_verify_false_accepts_any_certificate() -> None:
    """TLS 1.2 is still required."""
    context = tls_context(False)
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_public_roots_do_not_need_a_root_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """True trusts botocore's roots too, as the control plane does."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
    monkeypatch.setenv("SSL_CERT_DIR", "/nonexistent")
    context = tls_context(True)
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    assert len(context.get_ca_certs()) > 50


def test_bundle_makes_a_context(tmp_path: Path) -> None:
    """The bundle's roots are trusted, host names are checked, TLS 1.2 is required."""
    bundle = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(bundle))
    context = tls_context(str(bundle))
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) == 1


def test_folder_of_roots(tmp_path: Path) -> None:
    """All certificates in it are trusted, whatever the files are called; others are ignored."""
    authorities = [trustme.CA(), trustme.CA()]
    for name, authority in zip(("site.pem", "Root CA.crt"), authorities, strict=True):
        authority.cert_pem.write_to_path(str(tmp_path / name))
    authorities[0].private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    (tmp_path / "README").write_text("certificates")
    assert len(tls_context(str(tmp_path)).get_ca_certs()) == 2


def test_openssl_s_hashed_folder(tmp_path: Path) -> None:
    """OpenSSL reads files with hashed names when it needs them."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "9d66eef0.0"))
    assert tls_context(str(tmp_path)).get_ca_certs() == []


def test_a_folder_without_certificates(tmp_path: Path) -> None:
    """It is refused at once, because no certificate could be trusted."""
    (tmp_path / "key.pem").write_text("no certificate")
    with pytest.raises(KvsError, match="no certificate") as caught:
        tls_context(str(tmp_path))
    assert caught.value.status is StatusCode.INVALID_CA_CERT_PATH


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_bad_bundle_is_explained(tmp_path: Path, content: str | None) -> None:
    """A path that is missing or holds no certificate is an INVALID_CA_CERT_PATH."""
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_text(content)
    with pytest.raises(KvsError) as caught:
        tls_context(str(bundle))
    assert caught.value.status is StatusCode.INVALID_CA_CERT_PATH
    assert "ca.pem" in str(caught.value)


def test_the_system_s_roots_are_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read, from file and folder, by a function that releases the interpreter lock."""
    bundle, folder = tmp_path / "system.pem", tmp_path / "certs"
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(bundle))
    folder.mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))

    def never(*_: object) -> None:
        raise AssertionError("it holds the lock")

    monkeypatch.setattr(ssl.SSLContext, "set_default_verify_paths", never)
    monkeypatch.setattr(ssl, "create_default_context", never)
    roots = tls_context(True).get_ca_certs(binary_form=True)
    pem = authority.cert_pem.bytes().decode()
    assert ssl.PEM_cert_to_DER_cert(pem) in roots
