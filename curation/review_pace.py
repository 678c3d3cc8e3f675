"""How long a gray case takes this team, measured from the votes of its members."""

from datetime import datetime
from itertools import pairwise
from statistics import median

from curation.store import reviews
from curation.workspace import Workspace

LONGEST = 300.0  # seconds; who needs longer between two votes went away
FEWEST = 10  # gaps between votes from which they say something
UNTOLD = 20.0  # seconds a case until then: ours, not measured on people


def pace(workspace: Workspace) -> tuple[float, bool]:
    """Give the seconds that a case takes, the median gap between two votes of one person, and whether it was
    measured. Without ten such gaps it is the guess UNTOLD."""
    with workspace.database.reading() as connection:
        votes = reviews.votes(connection)
    moments: dict[str, list[datetime]] = {}
    for vote in votes:
        if vote.verdict != "undo":
            moments.setdefault(vote.person, []).append(datetime.fromisoformat(vote.at))
    gaps = [(b - a).total_seconds() for own in moments.values() for a, b in pairwise(own)]
    gaps = [gap for gap in gaps if 0 <= gap <= LONGEST]
    # Votes are noted to the second: keys pressed faster than that still take some of it.
    return (max(0.5, median(gaps)), True) if len(gaps) >= FEWEST else (UNTOLD, False)
