"""The commands of `durable-streams` that talk to a server over the protocol, whichever server it is."""
