"""What callers speak: each vendor's words for a request, an answer, a stream and a failure, to and from the neutral ones.

A surface is a module with the functions of `surface.Surface`. A request that goes to a provider of the dialect it is written in
is relayed as bytes and needs none of this.
"""
