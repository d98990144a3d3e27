"""Everything that can go wrong, as one tree.

::

    ServebenchError
    ├── PlanError             an option, ini key, marker or TOML key is wrong
    ├── MissingPieceError     something has to be installed before this can run
    ├── ModelError            a model or one of its artifacts cannot be had
    ├── LaunchError           a server did not come up
    │   ├── PortTakenError        its port belongs to somebody else
    │   ├── ToolMissingError      an image lacks the program that makes a file the server needs
    │   ├── ServerExitedError     it ended by itself
    │   └── ServerNotReadyError   it was still not ready at the deadline
    ├── ControlError          a running server refused to load or unload a model
    ├── LoadError             the driver could not do its work at all
    └── AnswerError           a reply could not be read as an answer

Each message says what failed, where, what was seen, and what to do next.
A request that fails under load is a sample with an outcome, never an exception.
"""

from __future__ import annotations

from pytest_servebench.printable import printable_text


class ServebenchError(Exception):
    """Base of all errors this package raises on purpose.

    ``what`` is the sentence; ``where``, ``seen`` and ``next_step`` are printed
    on lines of their own when they are not empty. What a server or a file said stands in them as text:
    no character of it commands a terminal.
    """

    def __init__(self, what: str, *, where: str = "", seen: str = "", next_step: str = "") -> None:
        self.what = printable_text(what)
        self.where = printable_text(where)
        self.seen = printable_text(seen)
        self.next_step = printable_text(next_step)
        super().__init__(str(self))

    def __str__(self) -> str:
        rows = (("where", self.where), ("seen", self.seen), ("next", self.next_step))
        return "\n".join([self.what, *(f"  {label}: {text}" for label, text in rows if text)])


class PlanError(ServebenchError):
    """An option, ini key, marker argument or TOML key is wrong; pytest shows it as a usage error."""


class MissingPieceError(ServebenchError):
    """A package, binary or device that the request needs is not on this machine."""


class ModelError(ServebenchError):
    """A model, its weights or an exported artifact cannot be had."""


class LaunchError(ServebenchError):
    """A server did not come up."""


class PortTakenError(LaunchError):
    """A port that was asked for belongs to somebody else."""


class ToolMissingError(LaunchError):
    """An image lacks the program with which a file that a server needs is made."""


class ServerExitedError(LaunchError):
    """A server ended by itself before it was ready; ``seen`` ends with its last log lines."""

    def __init__(
        self,
        what: str,
        *,
        exit_code: int,
        where: str = "",
        seen: str = "",
        next_step: str = "",
    ) -> None:
        self.exit_code = exit_code
        super().__init__(what, where=where, seen=seen, next_step=next_step)


class ServerNotReadyError(LaunchError):
    """A server was still not ready at its deadline."""


class ControlError(ServebenchError):
    """A running server refused to load or unload a model."""


class LoadError(ServebenchError):
    """The driver could not do its work at all (no address, no descriptors)."""


class AnswerError(ServebenchError):
    """A reply could not be read as an answer of this stack."""
