"""A secret shows itself to nobody who does not ask for it by name."""

from __future__ import annotations

import copy
import io
import json
import pickle
import traceback
from dataclasses import asdict, dataclass

import pytest

from postscan.core.log import configure_logging, get_logger
from postscan.core.secret import Secret

VALUE = "hunter2-zoë"


@dataclass(frozen=True)
class Holder:
    account: str
    password: Secret


def test_no_text_made_of_a_secret_has_its_value() -> None:
    secret = Secret(VALUE)
    texts = [str(secret), repr(secret), f"{secret}", f"{secret!r:>30}", "%s %r" % (secret, secret)]  # noqa: UP031
    texts += [repr(Holder("a", secret)), repr([secret]), str(asdict(Holder("a", secret)))]
    texts.append(json.dumps({"s": secret}, default=str))
    assert [text for text in texts if "hunter2" in text] == []


def test_a_log_line_does_not_have_it() -> None:
    stream = io.StringIO()
    configure_logging(level="DEBUG", stream=stream)
    get_logger("test").warning("refused", secret=Secret(VALUE), holder=Holder("a", Secret(VALUE)))
    assert "refused" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_a_traceback_does_not_have_it() -> None:
    def fail(secret: Secret) -> None:
        raise RuntimeError(f"bind with {secret} failed")

    with pytest.raises(RuntimeError) as caught:
        fail(Secret(VALUE))
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_who_asks_gets_it() -> None:
    assert Secret(VALUE).reveal() == VALUE


def test_secrets_are_equal_when_their_values_are() -> None:
    assert Secret(VALUE) == Secret(VALUE)
    assert hash(Secret(VALUE)) == hash(Secret(VALUE))
    assert Secret(VALUE) != Secret("other")
    assert Secret(VALUE) != VALUE
    assert Secret("\udcff") != Secret("x")
    assert not Secret("")


def test_a_secret_is_not_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Holder("a", Secret(VALUE)))


def test_a_copy_is_the_same_secret() -> None:
    secret = Secret(VALUE)
    assert copy.copy(secret) is secret
    assert copy.deepcopy(Holder("a", secret)).password is secret
