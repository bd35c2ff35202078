"""Order, bounds, retries and shutdown: asyncio without libraries.

What a room needs from outside it declares as a Protocol.
"""
