"""The Python client beside the official one and plain httpx, at one server."""
