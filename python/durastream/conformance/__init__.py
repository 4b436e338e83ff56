"""An adapter of the client for the official client conformance suite, in JSON lines on standard streams.

The suite (packages/client-conformance-tests of durable-streams/durable-streams) starts
`python -m durastream.conformance [sync|trio|asyncio]`, sends a command a line and wants a result a line.
"""
