"""Parcels on a warehouse belt: what is inside, from a camera picture, the scales and the order's columns.

The pictures are drawn, not photographed, so that the data can be made anywhere from a seed and shifted on
purpose. Two pairs of classes look alike in most pictures and differ in weight and size, so that a model needs
both inputs: toy-box and electronics, bottle and tube.
"""
