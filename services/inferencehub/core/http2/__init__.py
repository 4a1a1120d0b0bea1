"""One gRPC stream on an HTTP/2 connection of its own, either end (RFC 9113, and gRPC's "PROTOCOL-HTTP2").

grpc.aio passes each message to a thread of its core and its answer back from there, which costs more than a small model
takes to run, and copies a large one on the way. Here a message is a DATA frame written to the socket, and messages are
cut out of what was read; nothing is awaited. There is one stream, so that this is all that HTTP/2 needs: both windows,
the other side's settings, pings, and the ways in which a stream or its connection can end. Header blocks are hpack's.
"""
