"""Run by test_root.py in a process of its own: reads every branch of every tree with real ROOT, writes what it saw."""

import pickle
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
import ROOT  # noqa: E402


def names_in(directory, prefix=""):
    """(name, class) of every object, directories opened."""
    for key in directory.GetListOfKeys():
        name = prefix + key.GetName()
        if key.GetClassName().startswith("TDirectory"):
            yield from names_in(directory.Get(key.GetName()), f"{name}/")
        else:
            yield name, key.GetClassName()


def leaves_of(tree):
    """Name, type, length and counter of every leaf."""
    counters = [(leaf, leaf.GetLeafCount()) for leaf in tree.GetListOfLeaves()]
    return [
        (leaf.GetName(), leaf.GetTypeName(), leaf.GetLenStatic(), counter.GetName() if counter else "")
        for leaf, counter in counters
    ]


def first_entries(tree):
    """Values of every leaf, entry by entry: the old way."""
    values = {}
    for entry in range(min(tree.GetEntries(), 50)):
        tree.GetEntry(entry)
        for leaf in tree.GetListOfLeaves():
            values.setdefault(leaf.GetName(), []).append([leaf.GetValue(i) for i in range(leaf.GetLen())])
    return values


def plain(value):
    """A value of RDataFrame as a number, or as a list of what is in it."""
    return [plain(v) for v in value] if hasattr(value, "__len__") else getattr(value, "item", lambda: value)()


def all_columns(name, path):
    """Values of every column, by RDataFrame."""
    frame = ROOT.RDataFrame(name, path)
    read_as = {str(column): str(column) for column in frame.GetColumnNames()}
    for i, column in enumerate(read_as):  # AsNumpy takes a vector of char for a string, and knows no lists of int8_t
        kind = frame.GetColumnType(column)
        if kind == "Char_t" or "int8_t>" in kind:
            integer = (
                f"static_cast<int>({column})" if kind == "Char_t" else f"ROOT::RVecI({column}.begin(), {column}.end())"
            )
            read_as[column] = f"integer_{i}"
            frame = frame.Define(read_as[column], integer)
    values = frame.AsNumpy(list(read_as.values()))
    return {column: plain(values[name]) for column, name in read_as.items()}


def main(path, result):
    file = ROOT.TFile.Open(path)
    trees, ntuples, texts = {}, {}, {}
    for name, kind in names_in(file):
        if kind == "TTree":
            tree = file.Get(name)
            trees[name] = {"entries": tree.GetEntries(), "leaves": leaves_of(tree), "first": first_entries(tree)}
            trees[name]["columns"] = all_columns(name, path) if tree.GetEntries() else {}
        elif kind == "ROOT::RNTuple":
            ntuples[name] = all_columns(name, path)
        else:
            texts[name] = str(file.Get(name).GetString())
    Path(result).write_bytes(pickle.dumps((trees, ntuples, texts)))


if __name__ == "__main__":
    main(*sys.argv[1:])
