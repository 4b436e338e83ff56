"""Programs to read and to run: `python -m examples.NAME` in a checkout. See README.md."""
