"""The shipped test kit: a simulated clock, a link that breaks, cameras, and two cores face to face.

`simulation` lets the producer's core and the local endpoint's core meet in a seeded, bad world and
checks that nothing is silently lost; `clock`, `link`, `frames`, `service`, `uploads`, `writers` and
`books` are its parts, for tests of one's own. Nothing here reads a real clock or opens a socket.
"""
