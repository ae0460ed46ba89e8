"""Makes linked.h5ad of simulated cells as somebody does who moves the matrix of a finished file: X is a
soft link in the root group. Run in this folder:

    scfm simulate --cells 20 --genes 20 --output linked.h5ad && python linked.py
"""

import h5py

with h5py.File("linked.h5ad", "r+") as file:
    file.move("X", "hidden_X")
    file["X"] = h5py.SoftLink("/hidden_X")
