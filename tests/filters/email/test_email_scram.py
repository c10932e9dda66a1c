"""SCRAM, by the examples of its documents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.core.secret import Secret
from postscan.filters.email.scram import ScramClient, ScramError, saslprep

PENCIL = Secret("pencil")


def test_the_exchange_of_rfc_5802_is_reproduced() -> None:
    client = ScramClient("user", PENCIL, "sha1", nonce="fyko+d2lbbFgONRv9qkxdawL")
    assert client.first() == b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"
    server = b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"
    assert client.final(server) == (
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
    )
    client.check(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")


def test_the_exchange_of_rfc_7677_is_reproduced() -> None:
    client = ScramClient("user", PENCIL, "sha256", nonce="rOprNGfwEbeRWgbNEkqO")
    server = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    assert client.final(server) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    client.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


@pytest.mark.parametrize(
    "answer",
    [
        b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        b"e=invalid-proof",
        b"",
        b"v=",
        "v=Ünïcode".encode(),
    ],
)
def test_a_server_that_does_not_know_the_password_is_not_believed(answer: bytes) -> None:
    client = ScramClient("user", PENCIL, "sha256", nonce="abc")
    client.final(b"r=abcdef,s=QSXCR+Q6sek8bf92,i=4096")
    with pytest.raises(ScramError):
        client.check(answer)


def test_a_proof_before_the_exchange_proves_nothing() -> None:
    with pytest.raises(ScramError):
        ScramClient("user", PENCIL, "sha256").check(b"v=")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"r=other,s=QSXCR+Q6sek8bf92,i=4096",
        b"r=abc,s=QSXCR+Q6sek8bf92,i=4096",
        b"r=abcdef,s=QSXCR+Q6sek8bf92,i=4095",
        b"r=abcdef,s=QSXCR+Q6sek8bf92,i=1000001",
        b"r=abcdef,s=QSXCR+Q6sek8bf92,i=99999999999999",
        b"r=abcdef,s=QSX,i=4096",
        b"m=mandatory,r=abcdef,s=QSXCR+Q6sek8bf92,i=4096",
        b"\xff\xfe",
    ],
    ids=lambda message: message.decode("latin-1")[:50].encode("ascii", "replace").decode(),
)
def test_an_odd_first_message_ends_the_exchange(message: bytes) -> None:
    with pytest.raises(ScramError):
        ScramClient("user", PENCIL, "sha256", nonce="abc").final(message)


@given(st.binary(max_size=200))
def test_no_first_message_does_anything_else(message: bytes) -> None:
    with pytest.raises(ScramError):
        ScramClient("user", PENCIL, "sha256").final(message)


def test_names_are_escaped() -> None:
    assert ScramClient("a,b=c", PENCIL, "sha1", nonce="x").first() == b"n,,n=a=2Cb=3Dc,r=x"


@pytest.mark.parametrize(
    ("text", "prepared"), [("I\u00adX", "IX"), ("user", "user"), ("\u00aa", "a"), ("\u2168", "IX")]
)
def test_names_and_passwords_have_one_form(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared


@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031", ""])
def test_what_has_no_form_is_refused(text: str) -> None:
    if text:
        with pytest.raises(ScramError):
            saslprep(text)
    else:
        assert saslprep(text) == ""
