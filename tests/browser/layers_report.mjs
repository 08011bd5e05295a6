// Uses a report as a person would and prints what it showed, as JSON: node layers_report.mjs CHROMIUM PAGE

import { pathToFileURL } from "node:url";
import { open } from "./chromium.mjs";

const [chromium, file] = process.argv.slice(2);
const page = await open(chromium, pathToFileURL(file).href);
const text = (selector) => page.evaluate(`document.querySelector(${JSON.stringify(selector)}).innerText`);
const texts = (selector) => page.evaluate(`[...document.querySelectorAll(${JSON.stringify(selector)})].map((each) => each.innerText)`);
const seen = {};

// Every pull of one image by a node that has nothing, or one other.
seen.pulls = await page.evaluate(`images.flatMap((image) =>
  [null, ...images.filter((other) => other !== image)].map((have) => ({
    image: image.reference,
    have: have === null ? [] : [have.reference],
    bytes: simulate([image.number], have === null ? [] : have.digests).pulls[0].bytes,
  })))`);
seen.mapped = await page.evaluate(`weights.map((rows) => {
  const { root, nodes } = treeOf(rows);
  sumTree(nodes, null);
  return { file_bytes: root.bytes, wasted_bytes: root.wasted };
})`);

await page.click('#matrix [data-row="0"][data-column="1"]');
seen.pair = await text("#pair h3");
seen.pairParts = await text("#pair p");
await page.click('#matrix [data-sort="2"]');
seen.likeTheThird = await texts("#matrix tbody th bdi");

seen.hatched = await page.evaluate('document.querySelectorAll("#treemap .tile.wasted").length');
await page.click('#treemap button[aria-label^="/usr,"], #treemap button[aria-label^="/usr/"]');
seen.zoomedByMouse = [await texts("#map-path li"), await texts("#map-folder tbody tr")];
await page.press("Escape");
seen.zoomedOut = await texts("#map-path li");
await page.press("ArrowRight");
seen.focused = await page.evaluate("document.activeElement.getAttribute('aria-label')");
await page.press("Enter");
seen.zoomedByKey = await texts("#map-path li");
await page.click("#map-path button");
await page.click("#map-layers tbody tr:nth-child(2) button");
seen.oneLayer = await texts("#map-folder tbody tr");

seen.wasted = await texts("#wasted tbody tr");
seen.twins = await texts("#twins h3");

seen.rollout = await text("#rollout-total");
await page.click("#rollout-none");
seen.nothing = await text("#rollout-total");
await page.click("#has-0");
await page.click("#deploy-1");
seen.secondGivenFirst = await text("#rollout-total");
seen.layers = await texts("#rollout-layers tbody tr td:first-child");

await page.resize(390);
seen.widthOnPhone = await page.evaluate("document.documentElement.scrollWidth");
seen.errors = page.errors;
await page.close();
console.log(JSON.stringify(seen));
