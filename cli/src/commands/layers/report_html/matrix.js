// What images share, by pair.

function startMatrix() {
  const all = images.map((image) => image.number);
  const shared = images.map((one) => images.map((other) => bytesOf(sharedDigests(one, other))));
  const table = byId("matrix");
  let order = { rows: all, columns: all };
  // The pair that is shown, and the column that rows are sorted by.
  let chosen = alikeTogether(shared).slice(0, 2);
  let sortedBy = null;

  function draw() {
    const head = order.columns.map((column) =>
      element(
        "th",
        { scope: "col", class: "right", "aria-sort": column === sortedBy ? "descending" : false },
        button(`Sort rows by what they share with ${labels[column]}`, { "data-sort": column, title: labels[column] }, `${column + 1}`),
      ),
    );
    const rows = order.rows.map((row) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, element("span", { class: "number" }, `${row + 1}`), foreign(labels[row], { title: images[row].reference })),
        ...order.columns.map((column) => cell(row, column)),
      ),
    );
    table.replaceChildren(
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "image"), ...head)),
      element("tbody", {}, ...rows),
    );
  }

  function cell(row, column) {
    const part = shared[row][column];
    const whole = shared[row][row];
    if (row === column) return element("td", { class: "own" }, `${bytes(whole)}\nitself`);
    const label = `${labels[row]} and ${labels[column]} share ${bytes(part)}, ${percent(part, whole)} of ${labels[row]}`;
    const isChosen = chosen[0] === row && chosen[1] === column;
    const show = button(
      label,
      { class: part === 0 ? "none" : "some", "data-row": row, "data-column": column, "aria-pressed": String(isChosen) },
      `${percent(part, whole)}\n${bytes(part)}`,
    );
    show.style.setProperty("--share", whole === 0 ? 0 : part / whole);
    return element("td", {}, show);
  }

  function showPair() {
    const [row, column] = chosen;
    const digests = sharedDigests(images[row], images[column]);
    const layers = digests.map((digest) => layersByDigest.get(digest));
    layers.sort((a, b) => b.compressed_bytes - a.compressed_bytes);
    const part = shared[row][column];
    const list = element("table", {});
    fillTable(list, {
      headings: [{ text: "stored", right: true }, "layer", "made by"],
      named: 1,
      rows: layers.map((layer) => [bytes(layer.compressed_bytes), digestCell(layer.digest), stepCell(layer)]),
    });
    const title = element(
      "h3",
      {},
      foreign(labels[row]),
      " and ",
      foreign(labels[column]),
      ` share ${counted(layers.length, "layer")}, ${bytes(part)}`,
    );
    const parts = [row, column].map((image) => [percent(part, shared[image][image]), " of ", foreign(labels[image])]);
    byId("pair").replaceChildren(
      title,
      element("p", {}, ...parts[0], ", ", ...parts[1], "."),
      ...(layers.length > 0 ? [element("div", { class: "scroll" }, list)] : []),
    );
  }

  table.addEventListener("click", (event) => {
    const target = event.target.closest("button");
    if (target === null) return;
    const { sort, row, column } = target.dataset;
    if (sort !== undefined) {
      sortedBy = Number(sort);
      order = { ...order, rows: [...all].sort((a, b) => shared[sortedBy][b] - shared[sortedBy][a]) };
      draw();
      table.querySelector(`[data-sort="${sort}"]`).focus();
      return;
    }
    table.querySelector('[aria-pressed="true"]')?.setAttribute("aria-pressed", "false");
    target.setAttribute("aria-pressed", "true");
    chosen = [Number(row), Number(column)];
    showPair();
  });
  byId("matrix-order").addEventListener("change", (event) => {
    const orders = {
      given: () => all,
      alike: () => alikeTogether(shared),
      name: () => [...all].sort((a, b) => labels[a].localeCompare(labels[b])),
    };
    const numbers = orders[event.target.value]();
    order = { rows: numbers, columns: numbers };
    sortedBy = null;
    draw();
  });
  draw();
  showPair();
}

// Begins with the two images that are most alike; then always the one most like the last.
function alikeTogether(shared) {
  const alike = (a, b) => {
    const union = shared[a][a] + shared[b][b] - shared[a][b];
    return union === 0 ? 1 : shared[a][b] / union;
  };
  const left = new Set(shared.keys());
  const take = (image) => {
    left.delete(image);
    return image;
  };
  const best = (score) => [...left].reduce((best, image) => (score(image) > score(best) ? image : best));
  const nearest = (image) => Math.max(0, ...[...left].map((other) => (other === image ? 0 : alike(image, other))));
  const order = [take(best(nearest))];
  while (left.size > 0) {
    const last = order.at(-1);
    order.push(take(best((image) => alike(last, image))));
  }
  return order;
}
