"""A server's no."""

from __future__ import annotations


class ServerRefused(Exception):
    """A command was refused: the response `code` of the protocol, and the `text` after it, fit to be shown.

    `passing`: the same may be granted later, without anybody changing anything.
    """

    def __init__(self, code: str, text: str, *, passing: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.text = text
        self.passing = passing
