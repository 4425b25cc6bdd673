// Run by test_jsroot.py: node read_with_jsroot.mjs JSROOT_FOLDER FILE
// Reads every branch of every TTree of a file with JSROOT, entry by entry as its browser does, and prints what it saw as JSON:
// {"trees": {"DF_0/O2track": {"entries": 3, "leaves": {"fX": "fX/F"}, "values": {"fX": [0.5, 1, 2]}}, ...},
//  "texts": {"provenance": "..."}}
import { pathToFileURL } from 'node:url';

const [folder, path] = process.argv.slice(2);
const load = (module) => import(pathToFileURL(`${folder}/modules/${module}.mjs`));
const { openFile } = await load('io');
const { TSelector, treeProcess } = await load('tree');

class ReadAll extends TSelector {
  constructor(branches) {
    super();
    this.names = branches.map((branch) => branch.fName);
    this.values = Object.fromEntries(this.names.map((name) => [name, []]));
    branches.forEach((branch) => this.addBranch(branch, branch.fName));
  }

  Process() {
    for (const name of this.names) this.values[name].push(this.tgtobj[name]);
  }
}

// JSON has no NaN, no infinity, no 64-bit integers and no typed arrays.
const plain = (_, value) => {
  if (typeof value === 'bigint') return Number(value);
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  return ArrayBuffer.isView(value) ? Array.from(value) : value;
};

const seen = { trees: {}, texts: {} };

async function readTrees(directory, prefix) {
  for (const key of directory.fKeys) {
    const name = prefix + key.fName;
    if (key.fClassName.startsWith('TDirectory')) await readTrees(await directory.readObject(key.fName), `${name}/`);
    if (key.fClassName === 'TObjString') seen.texts[name] = (await directory.readObject(key.fName)).fString;
    if (key.fClassName !== 'TTree') continue;
    const tree = await directory.readObject(key.fName);
    const branches = tree.fBranches.arr;
    const selector = new ReadAll(branches);
    if (tree.fEntries) await treeProcess(tree, selector);
    const leaves = Object.fromEntries(branches.map((branch) => [branch.fName, branch.fTitle]));
    seen.trees[name] = { entries: tree.fEntries, leaves, values: selector.values };
  }
}

await readTrees(await openFile(`file://${path}`), '');
process.stdout.write(JSON.stringify(seen, plain));
