"""On the ground: what has arrived in; masks, ships, pixels and previews out, and by name what is missing.

`land` turns the bytes of files, whole or with holes, into a folder; `compare` holds its masks against those on board.
"""

from taran_eo.ground.compare import Compared, compare
from taran_eo.ground.landing import Landed, Landing, land

__all__ = ["Compared", "Landed", "Landing", "compare", "land"]
