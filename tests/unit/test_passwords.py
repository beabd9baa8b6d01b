"""Passwords in the settings, and the keys that are derived from them."""

import hashlib
import subprocess
import sys

import pytest

from syncstructs.cli.channel import Setup
from syncstructs.config import Config
from syncstructs.errors import ConfigError
from syncstructs.net import passwords

SECRET = "hunter2 and so on"


def test_a_password_is_shown_nowhere():
    config = Config(password=SECRET, accepted_passwords=(SECRET + "!", SECRET + "?"))
    assert SECRET not in repr(config)
    assert SECRET not in str(config)
    assert "password" not in repr(config)
    setup = Setup(address="a:1", peers=[], name="a", objects={}, config={"password": SECRET})
    assert SECRET not in repr(setup)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"password": "short secret"[:11]}, "password has 11 characters; take at least 12"),
        ({"password": ""}, "has 0 characters"),
        ({"password": SECRET.encode()}, "password must be a string, not bytes"),
        ({"password": SECRET + "\ud800"}, "not Unicode text"),
        ({"password": SECRET, "accepted_passwords": ("short",)}, "one of accepted_passwords has 5"),
        ({"password": SECRET, "accepted_passwords": SECRET}, "must be a tuple of passwords"),
        ({"password": SECRET, "accepted_passwords": (7,)}, "one of accepted_passwords must be a s"),
        ({"accepted_passwords": (SECRET,)}, "set password too"),
    ],
)
def test_what_is_no_password_is_refused_without_being_shown(fields, why):
    with pytest.raises(ConfigError, match=why) as caught:
        Config(**fields)
    for value in (SECRET, "short secret"[:11]):
        assert value not in str(caught.value)


def test_without_the_package_a_password_is_refused_with_the_remedy_and_the_rest_works():
    program = """
import sys
# What makes an import fail as if it was not installed.
sys.modules["cryptography"] = None
from syncstructs import Config, ConfigError, Node, ReplDict
from syncstructs.cli.processes import free_addresses
try:
    Config(password="a password of no account")
except ConfigError as error:
    assert "pip install 'syncstructs[crypto]'" in str(error), error
else:
    raise AssertionError
users = ReplDict()
with Node(free_addresses(1)[0], consumers={"users": users}):
    users["ann"] = 7
from syncstructs.testing.plans import draw_plan
assert not any(draw_plan(n).settings.get("password") for n in range(300))
assert not any(name.startswith("cryptography.") for name in sys.modules)
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "done\n", done.stderr


def test_a_node_without_a_password_does_not_load_the_package():
    program = "import sys, syncstructs, syncstructs.cli.main; print('cryptography' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False\n"


def test_the_key_of_a_password_is_that_of_scrypt_and_never_changes():
    psk = passwords.derive_psk(SECRET, "red")
    salt = b"syncstructs link password 1\0red"
    again = hashlib.scrypt(
        SECRET.encode(), salt=salt, n=2**15, r=8, p=3, dklen=32, maxmem=64 * 2**20
    )
    assert psk == again
    assert psk.hex() == PINNED
    assert psk != passwords.derive_psk(SECRET, "blue")


def test_a_node_without_a_password_has_no_keys():
    assert passwords.derive_keys(Config()) is None


PINNED = "7931c4d3703c1be37ad20db04c1e3c481950a63c2f8f966ef1c6c467e1aa7aa2"
