"""Answers of a language model that no reload, lost connection or second device interrupts."""
