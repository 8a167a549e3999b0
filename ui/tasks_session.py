"""What the page of dead letters asks of the command center's session."""

from __future__ import annotations

from lab.errors import Unavailable
from lab.limits import DESK_ANSWER_S_MAX
from ui.mesh.commands import RedriveAll
from ui.mesh.routes import HUB


def place() -> dict[str, str] | None:
    """Where the live side of the running session keeps its tasks; None while there is none."""
    return HUB.place()


def redrive_all() -> None:
    """Redrive every dead letter of the session, in the model too. Raises LabError if it cannot be now."""
    try:
        HUB.ask(RedriveAll(do="redrive"), DESK_ANSWER_S_MAX)
    except TimeoutError as error:
        raise Unavailable("the session did not answer in time; look again before you repeat it") from error
