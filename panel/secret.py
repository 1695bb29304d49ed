"""A secret in memory: easy to pass on, hard to show by accident."""

from __future__ import annotations

from typing import NoReturn

from panel.errors import BadInput


class Secret:
    """A password or token exactly as it was typed.

    It has no repr, no str, no equality by value, no pickling and no copy: the
    only way to the text is `reveal()`, spelled out where it is needed.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Take `text` as it is.

        Raises BadInput for NUL, which no mail server can be shown, and for what
        has no UTF-8 form (lone surrogates). Everything else, spaces at either
        end included, stays.
        """
        if not isinstance(text, str):
            raise TypeError("a Secret is made of str")
        if "\0" in text:
            raise BadInput(
                "The password contains a NUL character (U+0000), which mail servers cannot receive.",
                "Type it again without that character.",
                field="password",
            )
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise BadInput(
                "The password contains a character that has no UTF-8 form (half of a surrogate pair).",
                "Type it again without that character.",
                field="password",
            ) from None
        self._text = text

    def reveal(self) -> str:
        """The text itself. Write it to the mail server or into a sealed record, nowhere else."""
        return self._text

    def reveal_bytes(self) -> bytes:
        """The text in UTF-8, as SASL PLAIN and the sealed record want it."""
        return self._text.encode("utf-8")

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled or copied")

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("Secrets are not compared; reveal() both if you must")

    __hash__ = None  # type: ignore[assignment]
