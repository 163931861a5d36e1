"""CATNIP's rule of counting cells: cells are found again in the images of a dataset, or read from CATNIP's cell list.

Invariant: nothing is written here, and pixels are read in blocks of bounded size.
"""
