"""Tables over the characters of a text, worked out once for each character that it has."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt


def per_character(text: str, rule: Callable[[str], int]) -> npt.NDArray[np.uint8]:
    """Return what a rule says of each character of a text, from 0 to 255.

    Calls the rule once for each character that occurs, whatever the text's length.
    """
    if not text:
        return np.empty(0, dtype=np.uint8)
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    table = np.zeros(int(points.max()) + 1, dtype=np.uint8)
    table[points] = 1
    for point in np.flatnonzero(table).tolist():
        table[point] = rule(chr(point))
    return table[points]
