"""The running server, and requests as fal's clients write them."""

from fal_caller import fal, fal_of, gated  # noqa: F401
from fal_tls import secure  # noqa: F401
from platform_caller import other, platform  # noqa: F401

from house_fixtures import _upstream, account, cards_dir, house, http, upstream  # noqa: F401
