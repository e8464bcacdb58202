"""What is seen of a picture while it is painted: how far it is, and small pictures of how it stands."""

import io
import time
from collections.abc import Callable

from PIL import Image

from calotype.kernel.outcome import Delta

SIDE = 512
"""The longer side of a preview at most, in pixels."""
PAUSE_S = 0.05
"""Previews come no faster: each costs a few milliseconds of painting."""
CONTENT_TYPE = "image/jpeg"


class Easel:
    """Tells `progress` and shows previews to `show`, where somebody wants them."""

    def __init__(
        self, progress: Callable[[float], None] | None = None, show: Callable[[Delta], None] | None = None
    ) -> None:
        self._progress = progress
        self._show = show
        self._shown_s = float("-inf")

    @property
    def wanted(self) -> bool:
        """Whether anybody looks."""
        return self._show is not None

    def at(self, share: float) -> None:
        """Say how far the picture is."""
        if self._progress is not None:
            self._progress(share)

    def see(self, canvas: Image.Image) -> None:
        """Show how the picture stands, unless it was shown just now."""
        if self._show is None or time.monotonic() - self._shown_s < PAUSE_S:
            return
        preview = canvas.convert("RGB")
        preview.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=1.0)
        out = io.BytesIO()
        preview.save(out, "JPEG", quality=75)
        self._show(Delta("preview", body=out.getvalue(), content_type=CONTENT_TYPE))
        self._shown_s = time.monotonic()
