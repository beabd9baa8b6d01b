"""What the checks raise."""


class Violation(AssertionError):
    """Something happened that must never happen: a defect of the engine, or of a check."""
