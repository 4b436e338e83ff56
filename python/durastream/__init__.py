"""Durable streams: an embeddable log engine and a server of the Durable Streams protocol."""
