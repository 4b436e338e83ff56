"""Measurements of durastream: see README.md."""
