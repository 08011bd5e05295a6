// What the page knows of the images.

const { analysis, weights } = JSON.parse(byId("data").textContent);
const images = analysis.images.map((image, number) => ({
  ...image,
  number,
  digests: new Set(image.layers.map((layer) => layer.digest)),
}));
const labels = shortNames(images.map((image) => image.reference));

// Every layer as stored: the first mention of it, and the images that have it.
const layersByDigest = new Map();
for (const image of images) {
  image.layers.forEach((layer, height) => {
    const known = layersByDigest.get(layer.digest) ?? { ...layer, height, images: [] };
    if (known.images.at(-1) !== image.number) known.images.push(image.number);
    layersByDigest.set(layer.digest, known);
  });
}

// Names without the folder or registry that all have in common.
function shortNames(names) {
  const [first] = names;
  let common = names.length < 2 ? 0 : first.length;
  for (const name of names) {
    while (!name.startsWith(first.slice(0, common))) common -= 1;
  }
  const cut = Math.max(first.lastIndexOf("/", common - 1), first.lastIndexOf(":", common - 1)) + 1;
  const short = names.map((name) => name.slice(common > 0 ? cut : 0));
  return short.every((name) => name !== "") ? short : names;
}

// The step that made a layer, without what builders put around it.
function step(layer) {
  const made = layer.created_by ?? "";
  const plain = made
    .replace(/^\/bin\/sh -c #\(nop\)\s*/, "")
    .replace(/^(RUN )?(\|\d+ .*?)?\/bin\/sh -c /, "RUN ")
    .replace(/\s*# buildkit$/, "")
    .trim();
  return plain === "" ? "not told" : plain;
}

function stepCell(layer) {
  return foreign(step(layer), { class: "step", title: layer.created_by ?? "" });
}

function digestCell(digest) {
  return element("code", { title: digest }, shortDigest(digest));
}

function namesOf(numbers) {
  return foreign(numbers.map((number) => labels[number]).join(", "), { class: "names" });
}

function bytesOf(digests) {
  let sum = 0;
  for (const digest of digests) sum += layersByDigest.get(digest).compressed_bytes;
  return sum;
}

function sharedDigests(one, other) {
  return [...one.digests].filter((digest) => other.digests.has(digest));
}
