"""The one exception that ends a run."""


class Failure(Exception):
    """The run cannot go on, or its figures would mean nothing; the text says why."""
