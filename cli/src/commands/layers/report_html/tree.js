// What an image holds, as folders and files of layers.

// The tree of rows: folders {name, parent, folders, files}, files {name, parent, layer, isWasted, count}; all have bytes.
function treeOf(rows) {
  const root = { name: "", parent: null, folders: [], files: [] };
  const nodes = [root];
  for (const [parent, name, ...rest] of rows) {
    const folder = nodes[parent];
    if (rest.length === 0) {
      const made = { name, parent: folder, folders: [], files: [] };
      folder.folders.push(made);
      nodes.push(made);
      continue;
    }
    const [size, layer, isWasted, number] = rest;
    const label = name ?? counted(number, "small file");
    const file = { name: label, parent: folder, size, layer, isWasted: isWasted === 1, count: number };
    folder.files.push(file);
    nodes.push(file);
  }
  return { root, nodes };
}

// Sums what counts: all layers, or one.
function sumTree(nodes, onlyLayer) {
  for (const node of nodes) {
    const counts = node.files === undefined && (onlyLayer === null || node.layer === onlyLayer);
    node.bytes = counts ? node.size : 0;
    node.wasted = counts && node.isWasted ? node.size : 0;
    node.perLayer = node.files && new Map();
  }
  // Whatever is in a folder comes after it.
  for (const node of [...nodes].reverse()) {
    if (node.files === undefined) add(node.parent, node.layer, node.bytes);
    else if (node.parent !== null) node.perLayer.forEach((sum, layer) => add(node.parent, layer, sum));
    if (node.parent === null) continue;
    node.parent.bytes += node.bytes;
    node.parent.wasted += node.wasted;
  }
  function add(folder, layer, sum) {
    folder.perLayer.set(layer, (folder.perLayer.get(layer) ?? 0) + sum);
  }
}

function heaviestFirst(folder) {
  return [...folder.folders, ...folder.files].filter((node) => node.bytes > 0).sort((a, b) => b.bytes - a.bytes);
}

function heaviestLayer(folder) {
  return [...folder.perLayer].reduce((best, each) => (each[1] > best[1] ? each : best))[0];
}

function pathOf(node) {
  const names = [];
  for (let at = node; at.parent !== null; at = at.parent) names.unshift(at.name);
  return `/${names.join("/")}`;
}
