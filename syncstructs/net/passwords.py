"""Passwords: the keys that are derived from them, once per process, at a price.

A password becomes the psk of `cipher` by scrypt (RFC 7914) with N = 2**15, r = 8, p = 3: 32 MB and
some 0.3 s of one core, for this node once, and for whoever guesses once per guess. The salt is a
fixed label and the name of the cluster: a table of guesses is of use for one name only, so a name
of one's own is worth something.
"""

import asyncio
import os
import secrets
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

from ..config import Config

if TYPE_CHECKING:
    # Only who has a password needs the package under it.
    from .cipher import Keys

_LABEL = b"syncstructs link password 1\x00"
_N, _R, _P = 2**15, 8, 3
_PSK_BYTES = 32
_lock = Lock()


def _after_fork() -> None:
    # Or a child that was forked during a derivation would wait for a thread that it does not have.
    global _lock
    _lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def derive_keys(config: Config) -> "Keys | None":
    """Return the keys of a node with `config`, None without a password. Blocks while deriving."""
    if config.password is None:
        return None
    from .cipher import Keys

    # One at a time: the memory is needed once, and who comes second finds it done.
    with _lock:
        own, *accepted = [
            derive_psk(password, config.cluster)
            for password in (config.password, *config.accepted_passwords)
        ]
    return Keys(own, accepted, secrets.token_bytes)


async def load_keys(config: Config) -> "Keys | None":
    """Do as `derive_keys` in a thread, so that the loop goes on."""
    if config.password is None:
        return None
    return await asyncio.get_running_loop().run_in_executor(None, derive_keys, config)


@lru_cache(maxsize=64)
def derive_psk(password: str, cluster: str) -> bytes:
    """Return the 32 bytes that stand for a password in a cluster; slow, and remembered."""
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    salt = _LABEL + cluster.encode()
    kdf = Scrypt(salt=salt, length=_PSK_BYTES, n=_N, r=_R, p=_P)
    psk: bytes = kdf.derive(password.encode())
    return psk
