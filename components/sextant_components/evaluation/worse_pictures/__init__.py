"""Effects on pictures that `corruptions` names: of weather, and warps.

An effect takes pictures, uint8 of shape (rows, height, width, channels), its strength in its own unit, and a generator
for what is random; it returns numbers of that shape, which the caller rounds and clips.
"""
