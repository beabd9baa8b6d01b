"""Bugs to plant in the types that hold values and maps beside the first ones."""

from syncstructs.testing.planted import bug


def load(name):
    """Return the fields of a plan that mostly calls one of the assorted objects."""
    return {"mixes": {name: 3.0, "count": 0.3}, "think": 0.1, "clients": 2}


REGISTERS = (
    bug(
        "register_set_whatever_the_version",
        "A register is set although somebody has written to it since its version was read.",
        ("structs.registers:ReplRegister.set_if_version", "return False\n", "pass\n"),
        fields=load("register"),
    ),
    bug(
        "cas_of_register_always",
        "compare_and_set() of a register sets, whatever it had.",
        ("structs.registers:ReplRegister.compare_and_set", "return False\n", "pass\n"),
        fields=load("register"),
    ),
    bug(
        "register_counts_news_only",
        "A write of what a register has already does not raise its version.",
        (
            "structs.registers:ReplRegister._write",
            "self._value = value\n        self._version += 1",
            "self._version += self._value != value\n        self._value = value",
        ),
        fields=load("register"),
    ),
)

BUGS = REGISTERS
