"""Everything this package raises on purpose.

To add one: subclass CurationError, say in one line when it is raised,
and let the message name the value at fault and the next thing to try.
"""


class CurationError(Exception):
    """Base of all errors a user can act on; shown as one line of text, never as a traceback."""

    exit_status = 1


class WrongInput(CurationError):
    """What the user gave cannot be used as it is: a file, a name, an option."""

    exit_status = 2


class StageCancelled(CurationError):
    """The user stopped a stage; what was finished is kept and the next start resumes there."""


class SourceUnavailable(CurationError):
    """A hub, model or disk that is needed could not be reached."""


class DamagedWorkspace(CurationError):
    """A file of the workspace does not hold what its manifest says."""
