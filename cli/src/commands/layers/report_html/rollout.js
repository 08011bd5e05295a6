// What a node pulls.

// Pulls the images of these numbers, one after the other, to a node that has `present`: what each adds, and every layer of them.
function simulate(numbers, present) {
  const has = new Set(present);
  const layers = new Map();
  const pulls = numbers.map((number) => {
    const image = images[number];
    const missing = [...image.digests].filter((digest) => !has.has(digest));
    for (const digest of image.digests) {
      const known = layers.get(digest) ?? { digest, isPulled: !has.has(digest), images: [] };
      known.images.push(number);
      layers.set(digest, known);
    }
    missing.forEach((digest) => has.add(digest));
    return { number, bytes: bytesOf(missing) + image.document_bytes };
  });
  return { pulls, layers: [...layers.values()] };
}

function startRollout() {
  let order = images.map((image) => image.number);
  const onNode = new Set();
  const deployed = new Set(order);
  // Images of --have: a node has them, they are not deployed.
  const others = analysis.have ?? [];
  const othersOnNode = new Set(others.keys());

  function draw() {
    const present = [
      ...[...onNode].flatMap((number) => [...images[number].digests]),
      ...[...othersOnNode].flatMap((number) => others[number].layers),
    ];
    const { pulls, layers } = simulate(order.filter((number) => deployed.has(number)), present);
    drawImages(pulls);
    drawLayers(layers);
    const pulled = pulls.reduce((sum, pull) => sum + pull.bytes, 0);
    const missing = layers.filter((layer) => layer.isPulled).length;
    byId("rollout-total").replaceChildren(
      element("strong", {}, bytes(pulled)),
      ` pulled for ${counted(pulls.length, "image")}: ${counted(missing, "layer")} pulled, ${count(layers.length - missing)} present`,
    );
  }

  function drawImages(pulls) {
    let sum = 0;
    const added = new Map(pulls.map((pull) => [pull.number, [bytes(pull.bytes), bytes((sum += pull.bytes))]]));
    const rows = order.map((number, place) => [
      moves(number, place),
      foreign(labels[number], { title: images[number].reference }),
      check(onNode, number, `${labels[number]} is on the node`, `has-${number}`),
      check(deployed, number, `Deploy ${labels[number]}`, `deploy-${number}`),
      ...(added.get(number) ?? ["", ""]),
    ]);
    const rest = others.map((other, number) => [
      "",
      foreign(other.reference),
      check(othersOnNode, number, `${other.reference} is on the node`, `other-${number}`),
      "",
      "",
      "",
    ]);
    const focused = document.activeElement?.id;
    fillTable(byId("rollout-images"), {
      headings: ["order", "image", "has", "deploy", { text: "pulls", right: true }, { text: "so far", right: true }],
      named: 1,
      rows: [...rows, ...rest],
    });
    if (focused) byId(focused)?.focus();
  }

  function check(set, number, label, id) {
    const input = element("input", { type: "checkbox", "aria-label": label, id, checked: set.has(number) });
    input.addEventListener("change", () => {
      if (input.checked) set.add(number);
      else set.delete(number);
      draw();
    });
    return input;
  }

  function moves(number, place) {
    const move = (to, sign, name) =>
      button(`Move ${labels[number]} ${name}`, { id: `${name}-${number}`, disabled: order[to] === undefined, onclick: () => swap(place, to) }, sign);
    return element("span", { class: "moves" }, move(place - 1, "↑", "up"), move(place + 1, "↓", "down"));
  }

  function swap(from, to) {
    [order[from], order[to]] = [order[to], order[from]];
    draw();
  }

  function drawLayers(layers) {
    layers.sort((a, b) => Number(b.isPulled) - Number(a.isPulled));
    fillTable(byId("rollout-layers"), {
      caption: layers.length === 0 ? "No layer is needed." : "Layers of what is deployed",
      headings: ["", { text: "stored", right: true }, "layer", "made by", "for"],
      named: 2,
      rows: layers.map(({ digest, isPulled, images: users }) => {
        const layer = layersByDigest.get(digest);
        const state = isPulled ? "pulled" : "present";
        return [element("span", { class: `state ${state}` }, state), bytes(layer.compressed_bytes), digestCell(digest), stepCell(layer), namesOf(users)];
      }),
    });
  }

  const preset = (id, deploys) =>
    byId(id).addEventListener("click", () => {
      order = images.map((image) => image.number);
      onNode.clear();
      othersOnNode.clear();
      deployed.clear();
      if (deploys) order.forEach((number) => deployed.add(number));
      draw();
    });
  preset("rollout-all", true);
  preset("rollout-none", false);
  draw();
}
