"""Run by test_root.py in a process of its own: reads every branch of every tree with real ROOT, writes what it saw."""

import pickle
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
import ROOT  # noqa: E402

path, result = sys.argv[1:]
file = ROOT.TFile.Open(path)
seen = {}
for directory in [key.GetName() for key in file.GetListOfKeys() if key.GetClassName().startswith("TDirectory")]:
    for key in file.Get(directory).GetListOfKeys():
        assert key.GetClassName() == "TTree", key.GetClassName()
        name = f"{directory}/{key.GetName()}"
        tree = file.Get(name)
        leaves = []
        for leaf in tree.GetListOfLeaves():
            counter = leaf.GetLeafCount()
            leaves.append(
                (leaf.GetName(), leaf.GetTypeName(), leaf.GetLenStatic(), counter.GetName() if counter else "")
            )
        totals = {}
        for entry in range(min(tree.GetEntries(), 50)):  # the old way: entry by entry
            tree.GetEntry(entry)
            for leaf in tree.GetListOfLeaves():
                totals.setdefault(leaf.GetName(), []).append([leaf.GetValue(i) for i in range(leaf.GetLen())])
        frame = ROOT.RDataFrame(name, path)
        columns = {}
        if tree.GetEntries():
            for column in map(str, frame.GetColumnNames()):
                if frame.GetColumnType(column) == "Char_t":  # AsNumpy takes a vector of char for a string
                    frame = frame.Redefine(column, f"static_cast<int>({column})")
            for column, values in frame.AsNumpy().items():
                columns[str(column)] = [list(v) for v in values] if hasattr(values[0], "__len__") else values.tolist()
        seen[name] = {"entries": tree.GetEntries(), "leaves": leaves, "first": totals, "columns": columns}
seen_text = str(file.Get("provenance").GetString())
Path(result).write_bytes(pickle.dumps((seen, seen_text)))
