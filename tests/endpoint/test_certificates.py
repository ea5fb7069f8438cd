"""Certificates: created once in a folder, or given. Clients that trust the authority connect."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

import boto3
import pytest
import trustme

import kvsproducer as kvs
from kvsproducer.endpoint import local_endpoint
from kvsproducer.endpoint.certificates import make_certificates, server_context
from kvsproducer.status import KvsError, StatusCode

KEYS = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-west-2"}


def test_certificates_are_created_once(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "ca"
    authority, server = make_certificates(folder, "127.0.0.1")
    before = (authority.read_bytes(), server.read_bytes())
    assert server.stat().st_mode & 0o077 == 0, "the key is the owner's alone"
    assert make_certificates(folder, "127.0.0.1") == (authority, server)
    assert (authority.read_bytes(), server.read_bytes()) == before


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_boto3_and_the_producer_over_https(tmp_path: Path, name: str) -> None:
    authority, server = make_certificates(tmp_path, "0.0.0.0")
    with local_endpoint(ssl_context=server_context(server)) as endpoint:
        url = endpoint.url.replace("127.0.0.1", name)
        control = boto3.client("kinesisvideo", endpoint_url=url, verify=str(authority), **KEYS)
        control.create_stream(StreamName="door", DataRetentionInHours=1)
        answer = control.get_data_endpoint(StreamName="door", APIName="LIST_FRAGMENTS")
        assert answer["DataEndpoint"] == url
        result = kvs.put_media(
            "testsrc:duration=1,size=64x64",
            "door",
            endpoint_url=url,
            verify=str(authority),
            credentials=kvs.AwsCredentials("a", "b"),
        )
        assert result.frames == 25
        archive = boto3.client(
            "kinesis-video-archived-media", endpoint_url=url, verify=str(authority), **KEYS
        )
        assert len(archive.list_fragments(StreamName="door")["Fragments"]) == 1
        for client in (control, archive):
            client.close()


def test_a_certificate_and_its_key_in_two_files(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("localhost")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.private_key_pem.write_to_path(str(key))
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    assert isinstance(server_context(certificate, key), ssl.SSLContext)
    other = tmp_path / "other.pem"
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(str(other))
    (tmp_path / "text").write_text("no PEM")
    for given in (
        (certificate, None),
        (certificate, other),
        (tmp_path / "none", key),
        (tmp_path / "text", None),
    ):
        with pytest.raises(
            KvsError, match="cannot load a certificate and its private key"
        ) as caught:
            server_context(*given)
        assert caught.value.status is StatusCode.INVALID_ARG


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KvsError, match="cannot write certificates to"):
        make_certificates(tmp_path / "file", "localhost")


def test_without_trustme_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(KvsError, match=r"pip install 'kvsproducer\[tls\]'"):
        make_certificates(tmp_path, "localhost")
