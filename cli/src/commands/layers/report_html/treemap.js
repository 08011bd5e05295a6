// The map of bytes of one image: folders in folders, files coloured by layer.

const MOST_HEAVIEST = 15;
// In pixels: a folder's title and the gap around what is in it; below what size there is no label, no size beside a
// folder's name, nothing inside of a folder, nothing at all.
const TITLE = 18;
const GAP = 2;
const LABEL = { width: 44, height: 15 };
const WIDE_TITLE = 110;
const OPEN = { width: 44, height: 44 };
const LEAST_TILE = 1.5;

// Neighbours in the stack get hues that are far apart; after a turn or so they come lighter or darker.
function paint(tile, layer) {
  tile.style.setProperty("--hue", (220 + layer * 137.5) % 360);
  tile.style.setProperty("--shift", (layer >> 3) % 2);
}

function startTreemap() {
  const map = byId("treemap");
  const select = byId("map-image");
  let image;
  let tree;
  let at;
  let onlyLayer = null;
  // What each element of the map shows.
  let shown = new Map();

  fillSelect(select, labels);
  select.addEventListener("change", () => choose(Number(select.value)));

  function choose(number) {
    image = images[number];
    tree = treeOf(weights[number]);
    at = tree.root;
    filter(null);
  }

  function filter(layer) {
    onlyLayer = layer;
    sumTree(tree.nodes, layer);
    if (at.bytes === 0) at = tree.root;
    drawLayers();
    draw();
  }

  // Afterwards the keyboard is still in the map: at the folder one comes from, or the first.
  function zoom(folder) {
    const from = at;
    at = folder;
    draw();
    const tile = elementOf(from);
    if (tile) moveFocus(tile);
    else (map.querySelector(".top") ?? map).focus({ preventScroll: true });
    say(at);
  }

  function elementOf(node) {
    return [...shown].find(([, each]) => each === node)?.[0];
  }

  function draw() {
    shown = new Map();
    const box = { x: 0, y: 0, width: map.clientWidth, height: map.clientHeight };
    const tiles = [];
    layOut(at, box, tiles);
    map.replaceChildren(...tiles);
    const first = map.querySelector(".top");
    if (first !== null) first.tabIndex = 0;
    drawPath();
    drawFolder();
    say(at);
  }

  function layOut(folder, box, tiles) {
    const nodes = heaviestFirst(folder);
    const boxes = squarify(nodes, box);
    boxes.forEach((each, index) => {
      if (each.width < LEAST_TILE || each.height < LEAST_TILE) return;
      let node = nodes[index];
      // Folders that hold one folder and nothing else are one, as a/b/c.
      const names = [node.name];
      while (node.files !== undefined) {
        const [only, ...others] = heaviestFirst(node);
        if (others.length > 0 || only.files === undefined) break;
        node = only;
        names.push(node.name);
      }
      const isFolder = node.files !== undefined;
      const isOpen = isFolder && each.width >= OPEN.width && each.height >= OPEN.height;
      const hasSize = isOpen ? each.width >= WIDE_TITLE : each.height >= 2 * LABEL.height;
      const tile = makeTile(node, each, names.join("/"), hasSize);
      tiles.push(tile);
      tile.classList.toggle("top", isFolder && folder === at);
      if (isOpen) {
        tile.classList.add("open");
        const inside = {
          x: each.x + GAP,
          y: each.y + TITLE,
          width: each.width - 2 * GAP,
          height: each.height - TITLE - GAP,
        };
        layOut(node, inside, tiles);
      } else {
        paint(tile, isFolder ? heaviestLayer(node) : node.layer);
        tile.classList.toggle("wasted", node.wasted * 2 > node.bytes);
      }
    });
  }

  function makeTile(node, { x, y, width, height }, label, hasSize) {
    const hasLabel = width >= LABEL.width && height >= LABEL.height;
    const texts = hasLabel ? [foreign(label)] : [];
    if (hasLabel && hasSize) texts.push(element("small", {}, bytes(node.bytes)));
    const tile =
      node.files === undefined
        ? element("div", { class: "tile" }, ...texts)
        : button(`${pathOf(node)}, ${bytes(node.bytes)}`, { class: "tile", tabindex: -1 }, ...texts);
    Object.assign(tile.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
    shown.set(tile, node);
    return tile;
  }

  function drawPath() {
    const crumbs = [];
    for (let folder = at; folder !== null; folder = folder.parent) {
      const name = folder.parent === null ? labels[image.number] : folder.name;
      const content = folder === at ? foreign(name, { "aria-current": "location" }) : button(`Zoom out to ${pathOf(folder)}`, { onclick: () => zoom(folder) }, foreign(name));
      crumbs.unshift(element("li", {}, content));
    }
    byId("map-path").replaceChildren(...crumbs);
  }

  function drawFolder() {
    const nodes = heaviestFirst(at).slice(0, MOST_HEAVIEST);
    const name = (node) =>
      node.files === undefined
        ? element("span", { class: "layer" }, swatch(node.layer), foreign(node.name))
        : button(`Zoom in to ${pathOf(node)}`, { class: "link", onclick: () => zoom(node) }, foreign(`${node.name}/`));
    fillTable(byId("map-folder"), {
      caption: `Heaviest in ${pathOf(at)}`,
      headings: ["name", { text: "files", right: true }, { text: "of it", right: true }, { text: "wasted", right: true }],
      rows: nodes.map((node) => [name(node), bytes(node.bytes), percent(node.bytes, at.bytes), node.wasted > 0 ? bytes(node.wasted) : ""]),
    });
  }

  function drawLayers() {
    const wasted = new Map();
    for (const node of tree.nodes) {
      if (node.isWasted) wasted.set(node.layer, (wasted.get(node.layer) ?? 0) + node.size);
    }
    const rows = image.layers.map((layer, number) => {
      const isOnly = onlyLayer === number;
      const only = button(`Show layer ${number} only`, { class: "only", "aria-pressed": String(isOnly) }, swatch(number), `${number}`);
      only.addEventListener("click", () => {
        filter(isOnly ? null : number);
        byId("map-layers").querySelectorAll("button")[number].focus();
      });
      const sharedBy = layersByDigest.get(layer.digest).images.length - 1;
      const lost = wasted.get(number);
      return [
        only,
        layer.foreign ? "kept elsewhere" : stepCell(layer),
        bytes(layer.file_bytes),
        lost === undefined ? "" : bytes(lost),
        bytes(layer.compressed_bytes),
        sharedBy === 0 ? "" : counted(sharedBy, "image"),
      ];
    });
    fillTable(byId("map-layers"), {
      caption: "Layers, lowest first",
      headings: ["layer", "made by", { text: "files", right: true }, { text: "wasted", right: true }, { text: "stored", right: true }, "also in"],
      rows,
    });
  }

  function swatch(layer) {
    const made = element("span", { class: "swatch", "aria-hidden": "true" });
    paint(made, layer);
    return made;
  }

  function say(node) {
    const parts = [foreign(pathOf(node), { class: "path" }), ` ${bytes(node.bytes)}`];
    if (node.files === undefined) {
      parts.push(`, layer ${node.layer}: `, foreign(step(image.layers[node.layer])));
      if (node.isWasted) parts.push(", wasted");
    } else if (node.wasted > 0) {
      parts.push(`, ${bytes(node.wasted)} of it wasted`);
    }
    byId("map-status").replaceChildren(...parts);
  }

  // A file's tile leads to its folder.
  function folderAt(target) {
    const tile = target.closest(".tile");
    const node = tile && shown.get(tile);
    if (!node) return null;
    return node.files === undefined ? node.parent : node;
  }

  map.addEventListener("click", (event) => {
    const folder = folderAt(event.target);
    if (folder !== null && folder !== at) zoom(folder);
  });
  for (const kind of ["pointerover", "focusin"]) {
    map.addEventListener(kind, (event) => {
      const node = shown.get(event.target.closest(".tile"));
      if (node) say(node);
    });
  }
  map.addEventListener("pointerleave", () => say(at));
  map.addEventListener("keydown", (event) => {
    const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Escape" && at.parent !== null) zoom(at.parent);
    else if (event.key in directions) {
      const next = neighbour(map.querySelectorAll(".top"), document.activeElement, directions[event.key]);
      if (next) moveFocus(next);
    } else return;
    event.preventDefault();
  });

  // One folder of the map is reached by Tab, the others beside it from there.
  function moveFocus(next) {
    map.querySelector('[tabindex="0"]')?.setAttribute("tabindex", "-1");
    next.tabIndex = 0;
    next.focus({ preventScroll: true });
  }

  let width = map.clientWidth;
  new ResizeObserver(() => {
    if (map.clientWidth === width) return;
    width = map.clientWidth;
    draw();
  }).observe(map);
  choose(0);
}

// The nearest of `tiles` that begins further in a direction than `from`.
function neighbour(tiles, from, [right, down]) {
  const corner = (tile) => ({ x: tile.offsetLeft, y: tile.offsetTop });
  const start = corner(from);
  let best = null;
  let least = Infinity;
  for (const tile of tiles) {
    const { x, y } = corner(tile);
    const ahead = (x - start.x) * right + (y - start.y) * down;
    const aside = Math.abs((x - start.x) * down) + Math.abs((y - start.y) * right);
    const distance = ahead + 2 * aside;
    if (tile !== from && ahead > 0 && distance < least) [best, least] = [tile, distance];
  }
  return best;
}
