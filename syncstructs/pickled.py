"""`Pickled`: a value as the bytes of its pickle, which nothing here reads.

A value of the codec like `bytes`: immutable, compared and hashed by its bytes. States, logs, images
and links hold it so, whatever is in it. Who may read it is a matter of `objects.pickling`.
"""

import msgspec


class Pickled(msgspec.Struct, frozen=True, gc=False):
    """A value that was pickled on some node, where it is not unpickled.

    That is what is read of an object that was attached without `pickle=True` on this node, and what
    replicated methods see on all of them. It may be passed on as it is; two are equal if their
    bytes are. To unpickle `encoded` is to run what is in it, and so does an object with
    `pickle=True` for its readers: pass on none of a cluster that lets in anybody.
    """

    encoded: bytes

    def __repr__(self) -> str:
        return f"<Pickled, {len(self.encoded)} bytes>"
