"""The keep rule over all pairs at once, when every pair counts: which rows stay, and which fall.

Walking rows one by one (keepers.py) gives the same: a row falls when a row before it that stays is its
neighbour. Here all rows whose neighbours before them are decided are decided at once, so that a page can
ask what another threshold would do.
"""

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64] | npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


def walk(better: Places, worse: Places, size: int) -> tuple[Mask, Mask]:
    """Give which of `size` rows stay and which fall; rows in no pair are in neither.

    Each pair is turned so that the row that the rule meets first is in `better`.
    """
    kept, dropped = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    in_pairs = np.zeros(size, dtype=bool)
    in_pairs[better] = in_pairs[worse] = True
    while len(better):
        waits = np.zeros(size, dtype=bool)
        waits[worse] = True
        kept[better[~waits[better]]] = True
        dropped[worse[kept[better]]] = True
        undecided = ~(kept[better] | dropped[better] | dropped[worse])
        better, worse = better[undecided], worse[undecided]
    # What no pair that stays speaks against stays, too.
    return in_pairs & ~dropped, dropped
