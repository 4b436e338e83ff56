"""An HTTP/1.1 and HTTP/2 listener on trio and hypercorn that no single connection can bring down."""

from durastream.listener.base import CHECKED_HYPERCORN
from durastream.listener.limits import Limits
from durastream.listener.server import Listener

__all__ = ["CHECKED_HYPERCORN", "Limits", "Listener"]
