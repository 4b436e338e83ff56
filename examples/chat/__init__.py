"""A chat whose only server side is the protocol: each room is a stream, and the page does the rest."""
