"""The rules, without I/O: requests out, responses in."""
