// Bytes that are stored for nothing: hidden files, layers that are nearly the same, files that several layers have.

// What is shown before one asks for more.
const FIRST_WASTED = 15;

function startWaste() {
  const select = byId("waste-image");
  fillSelect(select, ["all of them", ...labels]);
  select.addEventListener("change", () => draw(FIRST_WASTED));
  const more = byId("waste-more");
  more.addEventListener("click", () => draw(Infinity));

  function draw(most) {
    const chosen = Number(select.value) - 1;
    const from = chosen < 0 ? images : [images[chosen]];
    const files = wastedFiles(from);
    const sum = (field) => from.reduce((sum, image) => sum + image[field], 0);
    more.hidden = files.length <= most;
    more.textContent = `Show ${count(files.length)} files`;
    fillTable(byId("wasted"), {
      caption: files.length === 0 ? "Nothing is wasted." : `${bytes(sum("wasted_bytes"))} in ${counted(sum("wasted_file_count"), "file")}; the heaviest`,
      headings: [{ text: "wasted", right: true }, "file", "added by", "hidden by", "how", "in"],
      named: 1,
      rows: files.slice(0, most).map((file) => [
        bytes(file.bytes),
        foreign(`/${file.path}`, { class: "path" }),
        layerCell(file.image, file.added_by),
        layerCell(file.image, file.hidden_by),
        file.how,
        namesOf(file.images),
      ]),
    });
  }
  draw(FIRST_WASTED);
}

// A file that several images got with the same two layers is one.
function wastedFiles(chosen) {
  const files = new Map();
  for (const image of chosen) {
    for (const file of image.wasted_files) {
      const layers = [file.added_by, file.hidden_by].map((layer) => image.layers[layer].digest);
      const key = JSON.stringify([file.path, file.bytes, ...layers]);
      const known = files.get(key) ?? { ...file, image, images: [] };
      if (known.images.at(-1) !== image.number) known.images.push(image.number);
      files.set(key, known);
    }
  }
  return [...files.values()].sort((a, b) => b.bytes - a.bytes);
}

function layerCell(image, number) {
  return element("span", { class: "layer" }, element("span", { class: "number" }, `${number}`), stepCell(image.layers[number]));
}

function startTwins() {
  const { recompressed_twins: recompressed, near_twins: near } = analysis.fleet;
  const byDiffId = new Map();
  for (const layer of layersByDigest.values()) {
    byDiffId.set(layer.diff_id, [...(byDiffId.get(layer.diff_id) ?? []), layer]);
  }
  const groups = [
    ...recompressed.map((digests) => ({
      title: "One tar, compressed in different ways",
      advice: "Nodes pull and keep each. Build the layer once and push that, or pin the compressor and its level.",
      layers: digests.map((digest) => layersByDigest.get(digest)),
    })),
    ...near.map((diffIds) => ({
      title: "The same files with other times, owners, modes or order",
      advice:
        "Make the step reproducible: set SOURCE_DATE_EPOCH and rewrite times, sort files, fix owners with COPY --chown; or share one base image that has it.",
      layers: diffIds.flatMap((diffId) => byDiffId.get(diffId)),
    })),
  ];
  const panels = groups.map(({ title, advice, layers }) => {
    const sizes = layers.map((layer) => layer.compressed_bytes);
    const cost = sizes.reduce((sum, size) => sum + size, 0) - Math.max(...sizes);
    const table = element("table", {});
    fillTable(table, {
      headings: [{ text: "stored", right: true }, "layer", "made by", "in"],
      named: 1,
      rows: layers.map((layer) => [bytes(layer.compressed_bytes), digestCell(layer.digest), stepCell(layer), namesOf(layer.images)]),
    });
    return element(
      "div",
      { class: "panel" },
      element("h3", {}, `${title}: ${bytes(cost)} too many`),
      element("p", {}, advice),
      element("div", { class: "scroll" }, table),
    );
  });
  byId("twins").replaceChildren(...(panels.length > 0 ? panels : [element("p", {}, "No two layers are nearly the same.")]));
}

function startDuplicates() {
  const { duplicates, cross_layer_duplicate_bytes: all } = analysis.fleet;
  const layersByDiffId = new Map([...layersByDigest.values()].map((layer) => [layer.diff_id, layer]));
  const places = (content) => {
    const items = content.places.map(({ diff_id: diffId, path }) => {
      const layer = layersByDiffId.get(diffId);
      return element("li", {}, foreign(`/${path}`, { class: "path" }), element("small", {}, namesOf(layer.images), ": ", stepCell(layer)));
    });
    const more = content.layers - content.places.length;
    if (more > 0) items.push(element("li", {}, `and ${count(more)} more`));
    return element(
      "details",
      {},
      element("summary", {}, foreign(`/${content.places[0].path}`, { class: "path" })),
      element("ul", {}, ...items),
    );
  };
  fillTable(byId("duplicates"), {
    caption:
      duplicates.length === 0
        ? "No file is in two layers."
        : `The same files in several layers cost ${bytes(all)}, these most; move them into a layer that images share`,
    headings: [{ text: "costs", right: true }, { text: "size", right: true }, { text: "layers", right: true }, "file"],
    named: 3,
    rows: duplicates.map((content) => [
      bytes(content.extra_bytes),
      bytes(content.size_bytes),
      count(content.layers),
      places(content),
    ]),
  });
}
